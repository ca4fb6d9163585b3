"""From features to what every atom carries: moments, and how they respond."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ase.data import atomic_numbers
from jaxtyping import Array, Float

from jles.bloch.weighted import bloch_vectors, bloch_weight
from jles.electrostatics.multipoles import Multipoles, summed_channels
from jles.electrostatics.response.induction import Response, positive
from jles.models.backbones.cace import Features
from jles.models.backbones.radial import envelope
from jles.models.config import HEADS, ModelConfig, ScreeningConfig
from jles.models.heads import FlowReadout, MomentReadout, PolarizabilityReadout
from jles.models.readouts import Readout
from jles.observables.screening import gauge_sign, hidden_permittivity, sum_polarizabilities
from jles.structures.structure import Structure

_TURNING = {"dipoles": "vectors", "quadrupoles": "tensors"}
"""Which of the backbone's features a moment is made of."""


class Latent(NamedTuple):
    """Permanent moments and their response; None where the model has none."""

    moments: Multipoles
    response: Response | None


class LatentHeads:
    """All read-outs of a model but that of the energy; `params` has one entry for each."""

    def __init__(self, config: ModelConfig):
        self._config = config
        self._readouts = {}
        self._flows = config.charges is not None and config.charges.method == "flow"
        if self._flows:
            self._readouts["charges"] = FlowReadout(config.charges)
        elif config.charges is not None:
            self._readouts["charges"] = Readout(config.charges, config.charges.outputs)
        for name in _TURNING.keys() & set(config.heads):
            self._readouts[name] = MomentReadout(getattr(config, name))
        if config.charge_softness is not None:
            self._readouts["charge_softness"] = Readout(config.charge_softness)
        if config.polarizability is not None:
            self._readouts["polarizability"] = PolarizabilityReadout(config.polarizability)

    def init(self, key, features: Features) -> dict:
        """Parameters of every read-out; those of the charges are the same whatever else is."""
        params = {}
        for number, name in enumerate(("charges", *HEADS)):
            if name in self._readouts:
                one = jax.random.fold_in(key, number) if number else key
                inputs = self._inputs(name, features)
                if name == "charges" and self._flows:
                    lone = jnp.zeros((len(features.invariants), 1), int)
                    inputs += (lone, lone.astype(features.invariants.dtype))
                variables = self._readouts[name].init(one, *inputs)
                params[name] = dict(variables)["params"]
        return params

    def values(self, params, name: str, features: Features, *around) -> Array:
        """What the read-out `name` says of every atom, padding included."""
        inputs = self._inputs(name, features)
        return self._readouts[name].apply({"params": params[name]}, *inputs, *around)

    def _charges(self, params, features, structure, bloch=None):
        """As read, zero on padding, (atoms, channels)."""
        around = ()
        if self._flows:
            vectors = bloch_vectors(structure, bloch)
            distance = jnp.sqrt(jnp.sum(vectors**2, axis=-1))
            reach = envelope(distance, self._config.backbone) * structure.neighbor_mask
            around = structure.neighbor_index, reach, bloch_weight(vectors, bloch)
        return at_atoms(self.values(params, "charges", features, *around), structure.mask)

    def latent(
        self,
        params,
        features: Features,
        structure: Structure,
        bloch: Float[Array, " 3"] | None = None,
        still: Features | None = None,
    ) -> Latent:
        """Moments and response of a structure, zero on padding; of directly read charges.

        Where derivatives are carried along `bloch`, `still` are the features that carry none: what
        is spread over the whole structure to make the total charge right comes from nowhere.
        """
        config, mask = self._config, structure.mask
        still = features if still is None else still

        def read(name):
            if name not in self._readouts:
                return None
            return at_atoms(self.values(params, name, features), mask)

        def softness_of(features):
            if config.charge_softness is None:
                return None
            values = self.values(params, "charge_softness", features)[:, 0]
            # The read-out's own scale multiplies what softplus makes of it, not before.
            scale = config.charge_softness.scale
            return at_atoms(positive(values / scale, scale), mask)

        charges, softness = (
            self._charges(params, features, structure, bloch),
            softness_of(features),
        )
        if config.charges.total != "free":
            missing = structure.total_charge - jnp.sum(self._charges(params, still, structure))
            if config.charges.total == "softness":
                total = jnp.sum(softness_of(still))
                charges += (missing / jnp.where(total > 0.0, total, 1.0) * softness)[:, None]
            else:
                count = jnp.maximum(jnp.sum(mask), 1) * charges.shape[1]
                charges += at_atoms(jnp.full_like(charges, missing / count), mask)
        if not config.heads:
            return Latent(Multipoles(charges), None)
        moments = Multipoles(charges[:, 0], read("dipoles"), read("quadrupoles"))
        response = Response(
            softness,
            read("polarizability"),
            config.response.mode,
            config.response.conserve_charge,
        )
        return Latent(moments, response if response.answers else None)

    def _inputs(self, name: str, features: Features) -> tuple:
        if name in _TURNING:
            return features.invariants, getattr(features, _TURNING[name])
        return (features,) if name == "polarizability" else (features.invariants,)


def at_atoms(values, mask):
    """`values` at atoms, zero on padding."""
    return jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)


def physical_factor(latent: Latent, structure: Structure, config: ScreeningConfig):
    """What latent moments are multiplied by to be physical ones, see `ScreeningConfig`."""
    charges = summed_channels(latent.moments.charges)
    factor = jnp.ones((), charges.dtype)
    if config.positive is not None:
        chosen = structure.numbers == atomic_numbers[config.positive]
        factor = gauge_sign(charges, chosen, structure.mask)
    if config.epsilon_infinity is not None:
        total = None
        if latent.response is not None and latent.response.polarizabilities is not None:
            total = sum_polarizabilities(latent.response.polarizabilities)
        volume = jnp.abs(jnp.linalg.det(structure.cell))
        hidden = hidden_permittivity(config.epsilon_infinity, total, volume)
        # The volume of a slab's cell is that of its vacuum: no permittivity follows from it.
        bulk = structure.periodic & (structure.open_axis < 0)
        factor = factor * jnp.where(bulk, jnp.sqrt(hidden), 1.0)
    return factor.astype(charges.dtype)
