"""The latent quantities of every atom: moments, and how they respond."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ase.data import atomic_numbers
from jaxtyping import Array, Bool, Float, Int

from jles.electrostatics.multipoles import Multipoles, summed_channels
from jles.electrostatics.response.induction import Response, positive
from jles.models.backbones.envelope import envelope
from jles.models.config import HEADS, FlowCharges, ModelConfig, ScreeningConfig
from jles.models.environment import Environment
from jles.models.heads import ElementReadout, FlowReadout, MomentReadout, PolarizabilityReadout
from jles.models.network import apply_network
from jles.models.readouts import Readout
from jles.observables.screening import gauge_sign, hidden_permittivity, sum_polarizabilities
from jles.typing import AtomMask, Cell, Charges, Scalar

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
        elif config.initial_charges:
            self._readouts["charges"] = ElementReadout(config.charges, config.elements)
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
        latent = self.unconstrained(params, environment)
        if self._config.charges.total == "free":
            return latent
        steady = latent if plain is None else self.unconstrained(params, plain)
        structure = environment.structure
        share = missing_share(steady, structure.mask, structure.total_charge, self._config)
        return with_share(latent, share, structure.mask, self._config)

    def unconstrained(self, params: dict, environment: Environment) -> Latent:
        """As `latent`, before the charges are made to sum to the total charge."""
        config, mask = self._config, environment.structure.mask

        def read(name):
            if name not in self._readouts:
                return None
            return at_atoms(self.values(params, name, environment), mask)

        charges = read("charges")
        softness = self._softness(params, environment)
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

    def _softness(self, params, environment):
        """Charge softness, e/V, zero on padding; None without the head."""
        if self._config.charge_softness is None:
            return None
        values = self.values(params, "charge_softness", environment)[:, 0]
        # The scale of the read-out multiplies the softplus, not its argument.
        scale = self._config.charge_softness.scale
        return at_atoms(positive(values / scale, scale), environment.structure.mask)

    def _inputs(self, name: str, environment: Environment) -> tuple:
        _, graph, features = environment
        if name == "charges" and self._flows:
            reach = envelope(graph.distances, self._config.backbone.envelope_of_edges)
            reach = reach * graph.present
            return features.invariants, graph, reach
        if name == "charges" and self._config.initial_charges:
            return features.invariants, graph.species
        if name in _MADE_OF:
            return features.invariants, getattr(features, _MADE_OF[name])
        return (features,) if name == "polarizability" else (features.invariants,)


def at_atoms(values, mask):
    """`values` at atoms, zero on padding."""
    return jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)


def missing_share(
    latent: Latent, mask: AtomMask, total_charge: Scalar, config: ModelConfig
) -> Float[Array, ""]:
    """What `with_share` needs for charges that sum to `total_charge` (e).

    Args:
        latent: of all atoms, `LatentHeads.unconstrained`.
        mask: False on padding.
        total_charge: e.
        config: of a model whose `charges.total` is not "free".
    """
    missing = total_charge - jnp.sum(latent.moments.charges)
    total = jnp.sum(_weights(latent, mask, config))
    return missing / jnp.where(total > 0.0, total, 1.0)


def with_share(
    latent: Latent, share: Float[Array, ""], mask: AtomMask, config: ModelConfig
) -> Latent:
    """Charges shifted by `share`, or by `share` times the softness of their atom."""
    charges = latent.moments.charges
    charges = charges + share * _weights(latent, mask, config)
    return latent._replace(moments=latent.moments._replace(charges=charges))


def _weights(latent: Latent, mask, config: ModelConfig) -> Array:
    softness = None if latent.response is None else latent.response.charge_softness
    return charge_weights(latent.moments.charges, softness, mask, config.charges.total)


def charge_weights(
    charges: Charges,
    softness: Float[Array, " atoms"] | None,
    mask: AtomMask,
    total: str,
) -> Charges:
    """Shares of the charges in what is missing in their sum, in the shape of `charges`.

    Args:
        charges: of all atoms or of some.
        softness: of their atoms, zero on padding; None without.
        mask: False on padding.
        total: "shift" or "softness", see `DirectCharges`.
    """
    if total == "softness":
        return softness.reshape(-1, *[1] * (charges.ndim - 1))
    return at_atoms(jnp.ones_like(charges), mask)


def physical_factor(
    latent: Latent,
    numbers: Int[Array, " atoms"],
    mask: AtomMask,
    cell: Cell,
    bulk: Bool[Array, ""],
    fixed: bool | Bool[Array, ""],
    config: ScreeningConfig,
) -> Float[Array, ""]:
    """The factor from latent to physical moments, see `ScreeningConfig`.

    Args:
        latent: of all atoms.
        numbers: atomic numbers.
        mask: False on padding.
        cell: rows are lattice vectors, angstrom.
        bulk: whether all directions are periodic. The volume of a slab's cell is that of its
            vacuum: no permittivity follows from it.
        fixed: whether the total charge fixes the sign, see `ModelConfig.fixes_sign`.
        config: of the model.
    """
    charges = summed_channels(latent.moments.charges)
    factor = jnp.ones((), charges.dtype)
    if config.positive is not None:
        chosen = numbers == atomic_numbers[config.positive]
        factor = jnp.where(fixed, 1.0, gauge_sign(charges, chosen, mask))
    if config.epsilon_infinity is not None:
        total = None
        if latent.response is not None and latent.response.polarizabilities is not None:
            total = sum_polarizabilities(latent.response.polarizabilities)
        volume = jnp.abs(jnp.linalg.det(cell))
        hidden = hidden_permittivity(config.epsilon_infinity, total, volume)
        factor = factor * jnp.where(bulk, jnp.sqrt(hidden), 1.0)
    return factor.astype(charges.dtype)
