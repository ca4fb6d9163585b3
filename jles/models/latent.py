"""From features to what every atom carries: moments, and how they respond."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ase.data import atomic_numbers
from jaxtyping import Array

from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response import Response, positive
from jles.models.cace import Features
from jles.models.config import HEADS, ModelConfig, ScreeningConfig
from jles.models.heads import MomentReadout, PolarizabilityReadout
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
        if config.charges is not None:
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
                variables = self._readouts[name].init(one, *self._inputs(name, features))
                params[name] = dict(variables)["params"]
        return params

    def values(self, params, name: str, features: Features) -> Array:
        """What the read-out `name` says of every atom, padding included."""
        inputs = self._inputs(name, features)
        return self._readouts[name].apply({"params": params[name]}, *inputs)

    def latent(
        self, params, features: Features, structure: Structure, still: Features | None = None
    ) -> Latent:
        """Moments and response of a structure, zero on padding; of directly read charges.

        Where derivatives are carried, `still` are the features that carry none: what is spread
        over the whole structure to make the total charge right comes from nowhere.
        """
        config, mask = self._config, structure.mask

        def read(name):
            if name not in self._readouts:
                return None
            return at_atoms(self.values(params, name, features), mask)

        charges = read("charges")
        if config.charges.total == "shift":
            given = charges
            if still is not None:
                given = at_atoms(self.values(params, "charges", still), mask)
            charges += at_atoms(even_shift(given, structure), mask)
        if not config.heads:
            return Latent(Multipoles(charges), None)
        moments = Multipoles(charges[:, 0], read("dipoles"), read("quadrupoles"))
        softness = None
        if config.charge_softness is not None:
            values = self.values(params, "charge_softness", features)[:, 0]
            # The read-out's own scale multiplies what softplus makes of it, not before.
            scale = config.charge_softness.scale
            softness = at_atoms(positive(values / scale, scale), mask)
        response = Response(
            softness, read("polarizability"), config.response.mode, config.response.conserve_charge
        )
        return Latent(moments, response if response.answers else None)

    def _inputs(self, name: str, features: Features) -> tuple:
        if name in _TURNING:
            return features.invariants, getattr(features, _TURNING[name])
        return (features,) if name == "polarizability" else (features.invariants,)


def at_atoms(values, mask):
    """`values` at atoms, zero on padding."""
    return jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)


def even_shift(charges, structure: Structure):
    """What every atom must be given for (atoms, channels) to sum to the total charge."""
    missing = structure.total_charge - jnp.sum(charges)
    count = jnp.maximum(jnp.sum(structure.mask), 1) * charges.shape[1]
    return jnp.full_like(charges, missing / count)


def physical_factor(latent: Latent, structure: Structure, config: ScreeningConfig):
    """What latent moments are multiplied by to be physical ones, see `ScreeningConfig`."""
    charges = latent.moments.charges.reshape(len(structure.mask), -1).sum(axis=1)
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
        factor = factor * jnp.where(structure.periodic, jnp.sqrt(hidden), 1.0)
    return factor.astype(charges.dtype)
