"""The long-range energy of a structure as a quadratic form of its latent moments."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.equilibration import Equilibrium, equilibrate_charges
from jles.electrostatics.ewald import prepare_ewald, reciprocal_energy
from jles.electrostatics.multipoles import Multipoles, self_energy
from jles.electrostatics.realspace import cluster_energy
from jles.electrostatics.response import positive
from jles.electrostatics.slab import slab_cell, slab_correction
from jles.errors import InputError
from jles.models.config import ElectrostaticsConfig
from jles.structures.structure import Structure

HARDNESS_SCALE = 10.0
"""V/e: hardness that a read-out of zero stands for, and the unit of electronegativity."""


def long_range_interaction(
    structure: Structure, config: ElectrostaticsConfig
) -> Callable[[Multipoles], Array]:
    """Energy (eV) of moments at the atoms: a crystal's, a slab's or a cluster's.

    In a mixed batch each structure has the one that is right for it.

    Raises:
        InputError: the structure was built without a plan for the sum.
    """
    if structure.grid is None and not structure.cluster:
        raise InputError(
            "the structure was built without a long-range plan; give build_structure a k_max"
        )
    sigma, remove_self = config.sigma, config.remove_self
    if structure.grid is not None:
        # One compilation serves crystals and slabs: the correction costs next to nothing.
        is_slab = structure.open_axis >= 0
        upright = slab_cell(structure.cell, structure.open_axis, structure.slab_height)
        cell = jnp.where(is_slab, upright, structure.cell)
        ewald = prepare_ewald(
            structure.positions,
            cell,
            sigma=sigma,
            k_max=config.k_max,
            grid=structure.grid,
            cutoff=config.cutoff,
        )

    def lattice(moments: Multipoles) -> Array:
        energy = reciprocal_energy(ewald, moments)
        correction = slab_correction(moments, structure.positions, cell, structure.open_axis, sigma)
        energy += jnp.where(is_slab, correction, 0.0)
        return energy - self_energy(moments, sigma) if remove_self else energy

    def cluster(moments: Multipoles) -> Array:
        return cluster_energy(
            moments,
            structure.positions,
            sigma=sigma,
            remove_self=remove_self,
            pair_offset=config.pair_offset,
        )

    def either(moments: Multipoles) -> Array:
        return jnp.where(structure.periodic, lattice(moments), cluster(moments))

    if structure.grid is None:
        return cluster
    return either if structure.cluster else lattice


def long_range_energy(
    charges: Float[Array, "atoms channels"], structure: Structure, config: ElectrostaticsConfig
) -> Float[Array, ""]:
    """Energy (eV) of latent charges, see `long_range_interaction`."""
    return long_range_interaction(structure, config)(Multipoles(charges))


def equilibrated_charges(
    values: Float[Array, "atoms 2"], structure: Structure, config: ElectrostaticsConfig
) -> Equilibrium:
    """Charges of least energy for electronegativities and hardnesses that a read-out gives.

    Hardness is positive by construction, and what an atom's smeared charge has with itself is
    added to it where the lattice sum leaves that out: the minimum then always exists. The charges
    sum to the structure's `total_charge`.
    """
    electronegativity = HARDNESS_SCALE * values[:, 0]
    hardness = positive(values[:, 1], HARDNESS_SCALE)
    if config.remove_self:
        unit = Multipoles(jnp.ones(1, values.dtype))
        hardness += 2.0 * self_energy(unit, config.sigma)
    # Padding must carry no charge.
    hardness = jnp.where(structure.mask, hardness, jnp.inf)
    return equilibrate_charges(
        long_range_interaction(structure, config),
        electronegativity,
        hardness,
        total_charge=structure.total_charge,
    )
