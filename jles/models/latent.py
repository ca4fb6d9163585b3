"""The latent quantities of every atom: moments, and how they respond."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ase.data import atomic_numbers
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles, summed_channels
from jles.electrostatics.response.induction import Response, positive
from jles.models.backbones.envelope import envelope
from jles.models.config import HEADS, FlowCharges, ModelConfig, ScreeningConfig
from jles.models.environment import Environment
from jles.models.heads import FlowReadout, MomentReadout, PolarizabilityReadout
from jles.models.network import apply_network
from jles.models.readouts import Readout
from jles.observables.screening import gauge_sign, hidden_permittivity, sum_polarizabilities
from jles.structures.structure import Structure

_MADE_OF = {"dipoles": "vectors", "quadrupoles": "tensors"}
"""The equivariant features that each moment is made of."""


class Latent(NamedTuple):
    """Permanent moments and their response; None where the model has none."""

    moments: Multipoles
    response: Response | None


class LatentHeads:
    """All read-outs of a model except that of the energy; `params` has one entry for each."""

    def __init__(self, config: ModelConfig):
        self._config = config
        self._readouts = {}
        self._flows = isinstance(config.charges, FlowCharges)
        if self._flows:
            self._readouts["charges"] = FlowReadout(config.charges)
        elif config.charges is not None:
            self._readouts["charges"] = Readout(config.charges, config.charges.outputs)
        for name in _MADE_OF.keys() & set(config.heads):
            self._readouts[name] = MomentReadout(getattr(config, name))
        if config.charge_softness is not None:
            self._readouts["charge_softness"] = Readout(config.charge_softness)
        if config.polarizability is not None:
            self._readouts["polarizability"] = PolarizabilityReadout(config.polarizability)

    def init(self, key, environment: Environment) -> dict:
        """Parameters of every read-out; those of one head do not depend on the others."""
        params = {}
        for number, name in enumerate(("charges", *HEADS)):
            if name in self._readouts:
                one = jax.random.fold_in(key, number) if number else key
                variables = self._readouts[name].init(one, *self._inputs(name, environment))
                params[name] = dict(variables)["params"]
        return params

    def values(self, params: dict, name: str, environment: Environment) -> Array:
        """The read-out `name` of every atom, padding included."""
        inputs = self._inputs(name, environment)
        precision = self._config.precision
        return apply_network(self._readouts[name], params[name], *inputs, precision=precision)

    def latent(
        self, params: dict, environment: Environment, plain: Environment | None = None
    ) -> Latent:
        """Moments and response of a structure, zero on padding; not for equilibrated charges.

        Args:
            params: of the model.
            environment: of the structure.
            plain: the same with plain derivatives, where those of `environment` are
                Bloch-weighted. The shift that corrects the total charge is uniform, so it
                transports no charge: it is computed from `plain`.
        """
        config, mask = self._config, environment.structure.mask
        plain = environment if plain is None else plain

        def read(name):
            if name not in self._readouts:
                return None
            return at_atoms(self.values(params, name, environment), mask)

        charges = self._charges(params, environment)
        softness = self._softness(params, environment)
        if config.charges.total != "free":
            charges += self._shift(params, plain, softness, charges)
        if not config.heads:
            return Latent(Multipoles(charges), None)
        moments = Multipoles(charges[:, 0], read("dipoles"), read("quadrupoles"))
        response = Response(
            softness,
            read("polarizability"),
            config.response.mode,
            config.response.conserve_charge,
        )
        return Latent(moments, response if response.responds else None)

    def _charges(self, params, environment):
        """As read, zero on padding, (atoms, channels)."""
        return at_atoms(self.values(params, "charges", environment), environment.structure.mask)

    def _softness(self, params, environment):
        """Charge softness, e/V, zero on padding; None without the head."""
        if self._config.charge_softness is None:
            return None
        values = self.values(params, "charge_softness", environment)[:, 0]
        # The scale of the read-out multiplies the softplus, not its argument.
        scale = self._config.charge_softness.scale
        return at_atoms(positive(values / scale, scale), environment.structure.mask)

    def _shift(self, params, plain, softness, charges):
        """The shift that makes the charges sum to the total charge of the structure."""
        structure = plain.structure
        missing = structure.total_charge - jnp.sum(self._charges(params, plain))
        if self._config.charges.total == "softness":
            total = jnp.sum(self._softness(params, plain))
            return (missing / jnp.where(total > 0.0, total, 1.0) * softness)[:, None]
        count = jnp.sum(structure.mask, dtype=charges.dtype)
        count = jnp.maximum(count, 1.0) * charges.shape[1]
        return at_atoms(jnp.full_like(charges, missing / count), structure.mask)

    def _inputs(self, name: str, environment: Environment) -> tuple:
        _, graph, features = environment
        if name == "charges" and self._flows:
            reach = envelope(graph.distances, self._config.backbone.envelope_of_edges)
            reach = reach * graph.present
            return features.invariants, graph, reach
        if name in _MADE_OF:
            return features.invariants, getattr(features, _MADE_OF[name])
        return (features,) if name == "polarizability" else (features.invariants,)


def at_atoms(values, mask):
    """`values` at atoms, zero on padding."""
    return jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)


def physical_factor(
    latent: Latent, structure: Structure, config: ScreeningConfig
) -> Float[Array, ""]:
    """The factor from latent to physical moments, see `ScreeningConfig`."""
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
