"""The long-range energy of a structure as a quadratic form of its latent moments."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.bloch.potential import carried_potential
from jles.electrostatics.interaction import Interaction, build_interaction
from jles.electrostatics.multipoles import Multipoles, self_energy
from jles.electrostatics.response.applied_field import Enthalpy, from_centre, polarization
from jles.electrostatics.response.equilibration import equilibrate_charges
from jles.electrostatics.response.induction import positive
from jles.errors import InputError
from jles.models.config import ElectrostaticsConfig
from jles.models.latent import Latent
from jles.structures.structure import Structure

HARDNESS_SCALE = 10.0
"""V/e: hardness that a read-out of zero stands for, and the unit of electronegativity."""


def long_range_interaction(structure: Structure, config: ElectrostaticsConfig) -> Interaction:
    """Energy (eV) of moments at the atoms of a crystal, slab or cluster.

    In a mixed batch each structure takes the sum that is right for it.

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
        pair_offset=config.pair_offset,
        boundary=structure.boundary,
    )


def equilibrated_enthalpy(
    values: Float[Array, "atoms 2"],
    structure: Structure,
    config: ElectrostaticsConfig,
    field: Float[Array, " 3"] | None = None,
) -> Enthalpy:
    """Enthalpy of charges of least energy for electronegativities and hardnesses of a read-out.

    Hardness is positive by construction, and what an atom's smeared charge has with itself is
    added to it where the lattice sum leaves that out: the minimum then always exists. The charges
    sum to the structure's `total_charge`. A cluster meets an applied field as the potential -E.r.

    Raises:
        InputError: a field in a crystal, through which such charges flow as in a metal.
    """
    if field is not None and structure.plan.periodic:
        raise InputError(
            "charges.method 'equilibrated' has no answer to a field in a crystal: charge flows "
            "through it as through a metal; only clusters have one"
        )
    electronegativity = HARDNESS_SCALE * values[:, 0]
    hardness = positive(values[:, 1], HARDNESS_SCALE)
    if config.remove_self:
        unit = Multipoles(jnp.ones(1, values.dtype))
        hardness += 2.0 * self_energy(unit, config.sigma)
    # Padding must carry no charge.
    hardness = jnp.where(structure.mask, hardness, jnp.inf)
    places = from_centre(structure.positions, structure.mask)
    found = equilibrate_charges(
        long_range_interaction(structure, config),
        electronegativity,
        hardness,
        total_charge=structure.total_charge,
        applied_potential=None if field is None else places @ field,
    )
    moments = Multipoles(found.charges)
    dipole = polarization(moments, structure.positions, structure.mask)
    return Enthalpy(found.energy, moments, dipole, None)


def carried_answer(
    latent: Latent,
    still: Latent,
    structure: Structure,
    config: ElectrostaticsConfig,
    bloch: Float[Array, " 3"] | None,
) -> Float[Array, " atoms"]:
    """Charges (e) that soft charges of a crystal answer with, in one shot; derivatives carried.

    NaN in a slab, whose potential `carried_potential` does not know.

    Args:
        latent: moments and response; carried where there is a `bloch`.
        still: the same, not carried: a mean over the crystal comes from nowhere.
        structure: the crystal.
        config: of the sum.
        bloch: see `jles.bloch.weighted`.
    """
    potential_fn = carried_potential(
        sigma=config.sigma,
        k_max=config.k_max,
        plan=structure.plan,
        cutoff=config.cutoff,
        remove_self=config.remove_self,
    )
    none = jnp.zeros(3, structure.positions.dtype)

    def potential(moments, wave):
        return potential_fn(moments, structure.positions, structure.cell, wave)

    local = potential(latent.moments, none if bloch is None else bloch)
    if latent.response.conserve_charge:
        softness = still.response.charge_softness
        total = jnp.sum(softness)
        mean = softness @ potential(still.moments, none) / jnp.where(total > 0.0, total, 1.0)
        local -= mean
    charges = -latent.response.charge_softness * local
    return jnp.where(structure.open_axis >= 0, jnp.nan, charges)
