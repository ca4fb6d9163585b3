"""The long-range part of a model: enthalpy of the latent moments, in a field or without one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.interaction import Interaction, build_interaction
from jles.electrostatics.multipoles import Multipoles, self_energy
from jles.electrostatics.response.applied_field import (
    Enthalpy,
    enthalpy,
    from_centre,
    polarization,
    sum_of_dipoles,
)
from jles.electrostatics.response.equilibration import equilibrate_charges
from jles.electrostatics.response.induction import positive
from jles.errors import InputError
from jles.models.config import ElectrostaticsConfig, ModelConfig, ScreeningConfig
from jles.models.coupling import ChargeCoupling, net_charge_coupling
from jles.models.environment import Environment, Environments
from jles.models.latent import Latent, LatentHeads, physical_factor
from jles.products import matmul, vdot
from jles.structures.structure import Structure

HARDNESS_SCALE = 10.0
"""V/e: hardness that a read-out of zero stands for, and the unit of electronegativity."""


class LongRange:
    """Latent moments of a model, their enthalpy and their coupling to a field.

    Fields and moments are latent, except where physical ones are named: see `ScreeningConfig`.
    """

    def __init__(self, config: ModelConfig, environments: Environments, heads: LatentHeads):
        self._config, self._environments, self._heads = config, environments, heads
        self._coupling = ChargeCoupling(config, environments, heads)
        self._equilibrates = config.charges.kind == "equilibrated"

    def enthalpy(
        self, params: dict, environment: Environment, field: Float[Array, " 3"] | None = None
    ) -> Enthalpy:
        """Enthalpy (eV) of the latent moments, and the effective moments.

        Args:
            params: of the model.
            environment: of the structure.
            field: latent, V/angstrom; None for none.
        """
        config, structure = self._config, environment.structure
        if self._equilibrates:
            values = self._heads.values(params, "charges", environment)
            return equilibrated_enthalpy(values, structure, config.electrostatics, field)
        latent = self._heads.latent(params, environment)
        return enthalpy(
            long_range_interaction(structure, config.electrostatics),
            latent.moments,
            structure.positions,
            latent.response,
            field,
            periodic=structure.periodic if structure.plan.periodic else False,
            mask=structure.mask,
            coupling=self._coupling.at(params, structure),
        )

    def moments(self, params: dict, structure: Structure) -> Multipoles:
        """Effective moments: the permanent and the induced ones."""
        environment = self._environments(params, structure)
        if self._equilibrates or self._config.responds:
            return self.enthalpy(params, environment).effective
        return self._heads.latent(params, environment).moments

    def charges(self, params: dict, structure: Structure) -> Float[Array, "atoms channels"]:
        """Charges of the permanent moments, e."""
        if self._equilibrates:
            return self.moments(params, structure).charges[:, None]
        environment = self._environments(params, structure)
        charges = self._heads.latent(params, environment).moments.charges
        return charges.reshape(charges.shape[0], -1)

    def factor(self, params: dict, structure: Structure) -> Float[Array, ""]:
        """The factor from latent to physical moments.

        It is a property of the material: constant in positions and cell, though not in
        parameters.
        """
        if self._config.screening == ScreeningConfig():
            return jnp.ones((), structure.positions.dtype)
        structure = jax.lax.stop_gradient(structure)
        environment = self._environments(params, structure)
        if self._equilibrates:
            latent = Latent(self.enthalpy(params, environment).effective, None)
        else:
            latent = self._heads.latent(params, environment)
        bulk = structure.periodic & (structure.open_axis < 0)
        fixed = self._config.fixes_sign(structure.total_charge)
        known = structure.numbers, structure.mask, structure.cell, bulk, fixed
        return physical_factor(latent, *known, self._config.screening)

    def coupling(
        self,
        params: dict,
        structure: Structure,
        field: Float[Array, " 3"],
        local: bool = False,
    ) -> Float[Array, ""]:
        """E . P with the physical polarization, e angstrom times the unit of the field.

        With `local` the charges of a cluster have the derivatives of those of a crystal.
        """
        along = self._coupling_at(params, structure, local)(field)
        return along + net_charge_coupling(field, structure, local)

    def polarization(self, params: dict, structure: Structure) -> Float[Array, " 3"]:
        """Physical polarization, e angstrom."""
        axes = jnp.eye(3, dtype=structure.positions.dtype)
        coupling = self._coupling_at(params, structure)
        return jnp.stack(
            [coupling(axis) + net_charge_coupling(axis, structure) for axis in axes]
        )

    def _coupling_at(self, params, structure, local=False):
        """The function `field -> E . P`."""
        moments, factor = self.moments(params, structure), self.factor(params, structure)
        of_charges = self._coupling.at(params, structure, local)

        def coupling(field):
            along = vdot(field, sum_of_dipoles(moments.dipoles, field.dtype))
            along += of_charges(field, moments.charges)
            return factor * along

        return coupling


def long_range_interaction(structure: Structure, config: ElectrostaticsConfig) -> Interaction:
    """Energy (eV) of moments at the atoms of a crystal, slab or cluster.

    Each structure of a mixed batch takes the sum that its boundary asks for.

    Raises:
        InputError: the structure was built without a plan for the sum.
    """
    return build_interaction(
        structure.positions,
        structure.cell,
        structure.plan,
        sigma=config.sigma,
        k_max=config.k_max,
        cutoff=config.cutoff,
        remove_self=config.remove_self,
        self_terms=config.self_terms,
        pair_offset=config.pair_offset,
        boundary=structure.boundary,
        mask=structure.mask,
    )


def electronegativity_and_hardness(
    values: Float[Array, "atoms 2"],
) -> tuple[Float[Array, " atoms"], Float[Array, " atoms"]]:
    """Electronegativity, V, and hardness, V/e, of read-outs in units of `HARDNESS_SCALE`."""
    return HARDNESS_SCALE * values[:, 0], positive(values[:, 1], HARDNESS_SCALE)


def equilibrated_enthalpy(
    values: Float[Array, "atoms 2"],
    structure: Structure,
    config: ElectrostaticsConfig,
    field: Float[Array, " 3"] | None = None,
) -> Enthalpy:
    """Enthalpy of the charges that minimize the energy at the structure's `total_charge`.

    The hardness is positive by construction. Where the lattice sum leaves out the energy of
    each smeared charge with itself, that energy is added to the hardness, so a minimum always
    exists. A field acts on a cluster as the potential -E . r.

    Args:
        values: read-outs of electronegativity and hardness, in units of `HARDNESS_SCALE`.
        structure: one structure.
        config: of the sum.
        field: V/angstrom; None for none.

    Raises:
        InputError: a field in a crystal, through which such charges flow as in a metal.
    """
    if field is not None and structure.plan.periodic:
        raise InputError(
            "charges.kind 'equilibrated' has no response to a field in a crystal: charge flows "
            "through it as through a metal; use a cluster"
        )
    electronegativity, hardness = electronegativity_and_hardness(values)
    if config.remove_self:
        unit = Multipoles(jnp.ones(1, values.dtype))
        hardness += 2.0 * self_energy(unit, config.sigma)
    # Padding must have no charge.
    hardness = jnp.where(structure.mask, hardness, jnp.inf)
    places = from_centre(structure.positions, structure.mask)
    found = equilibrate_charges(
        long_range_interaction(structure, config),
        electronegativity,
        hardness,
        total_charge=structure.total_charge,
        applied_potential=None if field is None else matmul(places, field),
    )
    moments = Multipoles(found.charges)
    dipole = polarization(moments, structure.positions, structure.mask)
    return Enthalpy(found.energy, moments, dipole, None)
