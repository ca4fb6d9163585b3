"""The sums over ranks for the lattice sum of crystals and slabs, and its energy.

A slab is summed in the cell of its plan, or in one that is given and may be traced.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles, self_energy
from jles.electrostatics.partial_sums import energy_of_sums, partial_sums
from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.electrostatics.sums.slab import slab_cell, slab_energy, slab_moments
from jles.models.config import ElectrostaticsConfig
from jles.typing import Cell, Positions


class RankSums(NamedTuple):
    """Sums over the atoms of a rank, or of all ranks.

    Attributes:
        waves: the structure factor, see `partial_sums`; None without latent charges.
        along: moments along the normal of a slab, see `slab_moments`; None in a crystal.
    """

    waves: Float[Array, "..."] | None
    along: Float[Array, "3 channels"] | None


def rank_sums(
    moments: Multipoles,
    positions: Positions,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
    slab: SlabPlan | None = None,
    centre: Float[Array, " 3"] | None = None,
) -> RankSums:
    """The part of some atoms; traced.

    Args:
        moments: of these atoms.
        positions: of these atoms, angstrom; along the open direction of a slab not wrapped.
        cell: rows are lattice vectors, angstrom.
        plan: static, of a crystal or slab.
        config: of the sum, static.
        slab: the cell that a slab is summed in; by default that of the plan.
        centre: see `slab_moments`; by default the origin.
    """
    if plan.slab is None:
        return RankSums(partial_sums(moments, positions, cell, plan), None)
    axis, height = plan.slab if slab is None else slab
    upright = slab_cell(cell, axis, height)
    waves = partial_sums(moments, positions, upright, plan._replace(slab=None))
    centre = jnp.zeros(3, cell.dtype) if centre is None else centre
    return RankSums(
        waves, slab_moments(moments, positions, upright, axis, config.sigma, centre)
    )


def energy_of_rank_sums(
    sums: RankSums,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
    slab: SlabPlan | None = None,
) -> Float[Array, ""]:
    """Energy (eV) of the sums of all ranks, self-interaction included; 0 without charges."""
    if sums.waves is None:
        return jnp.zeros((), cell.dtype)
    options = {"sigma": config.sigma, "k_max": config.k_max, "cutoff": config.cutoff}
    if plan.slab is None:
        return energy_of_sums(sums.waves, cell, plan, **options)
    axis, height = plan.slab if slab is None else slab
    upright = slab_cell(cell, axis, height)
    energy = energy_of_sums(sums.waves, upright, plan._replace(slab=None), **options)
    return energy + slab_energy(sums.along, upright, axis)


def without_self(
    energy: Float[Array, ""], moments: Multipoles, config: ElectrostaticsConfig
) -> Float[Array, ""]:
    """The energy (eV) less the self-energy of the moments where the model removes it."""
    if not config.remove_self:
        return energy
    return energy - config.self_terms * self_energy(moments, config.sigma)


def inner(first: RankSums, second: RankSums) -> Float[Array, ""]:
    """Sum of the products of all entries, such as of S and a derivative by S."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), first, second)
    return sum(jax.tree.leaves(products))
