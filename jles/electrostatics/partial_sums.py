r"""The reciprocal sum of atoms that are spread over devices.

The structure factor is a sum over atoms. Each device computes the part of its own atoms
(`partial_sums`), one `jax.lax.psum` adds the parts, and every device takes the energy from the
total (`energy_of_sums`). No device sees the atoms of another one. Both functions go into
`jax.shard_map`; gradients of the result are the sums' own, sharded as the atoms are.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles, as_multipoles, channels_first
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.ewald import ewald_tables, ewald_weights, squared_sum
from jles.electrostatics.sums.mesh import (
    density_energy,
    mesh_density,
    mesh_tiles,
    mesh_weights,
)
from jles.electrostatics.sums.structure_factor import structure_products
from jles.electrostatics.sums.table_products import reduce_moments
from jles.errors import InputError
from jles.typing import Cell, Charges, Positions, Scalar

PartialSums = Float[Array, "channels *sums"]
"""Products of cosines and sines, or the density on the mesh."""


def partial_sums(
    moments: Multipoles | Charges,
    positions: Positions,
    cell: Cell,
    plan: SumPlan,
    *,
    chunk: int | None = None,
) -> PartialSums:
    r"""The part of some atoms in the structure factor of a crystal.

    Of the direct sum these are :math:`\sum_i D_i` acting on products of cosines and sines of
    :math:`k\cdot r_i` (see `structure_products`); of the particle mesh it is the density on the
    mesh. Both are linear in the moments, and those of all atoms are the sum of those of any
    groups of atoms.

    Args:
        moments: of these atoms, `Multipoles` or charges (e); padding has moments 0.
        positions: of these atoms, angstrom; need not be wrapped.
        cell: rows are lattice vectors, angstrom; the same on every device.
        plan: static, from `plan_sum`, of a crystal.
        chunk: static; atoms per step of the direct sum, for memory.

    Raises:
        InputError: the plan is not that of a crystal.

    Example: the energy of two groups of atoms.

        >>> from jles.electrostatics.plan import plan_sum
        >>> charges = jnp.array([0.5, -0.8, 0.3])
        >>> positions = jnp.array([[0.0, 0.1, 0.2], [1.0, 1.5, 0.3], [2.0, 0.4, 2.9]])
        >>> cell = 4.0 * jnp.eye(3)
        >>> plan = plan_sum(cell, positions, True, k_max=3.0)
        >>> first = partial_sums(charges[:2], positions[:2], cell, plan)
        >>> second = partial_sums(charges[2:], positions[2:], cell, plan)
        >>> together = energy_of_sums(first + second, cell, plan, sigma=1.0, k_max=3.0)
        >>> all_atoms = partial_sums(charges, positions, cell, plan)
        >>> energy = energy_of_sums(all_atoms, cell, plan, sigma=1.0, k_max=3.0)
        >>> bool(jnp.isclose(together, energy))
        True
    """
    _check(plan)
    moments = as_multipoles(moments)
    if plan.mesh is not None:
        return mesh_density(mesh_tiles(positions, cell, plan.mesh), moments, plan.mesh)
    frame, tables = ewald_tables(positions, cell, plan.grid, chunk)
    return structure_products(reduce_moments(channels_first(moments), frame), tables)


def energy_of_sums(
    sums: PartialSums,
    cell: Cell,
    plan: SumPlan,
    *,
    sigma: Scalar,
    k_max: Scalar,
    cutoff: Literal["sharp", "smooth"] = "sharp",
) -> Float[Array, ""]:
    """The energy (eV) of `ewald_energy` or `pme_energy`, self-interaction included.

    Subtract the sum over all atoms of `self_energy` to remove the self-interaction.

    Args:
        sums: `partial_sums`, added up over all atoms.
        cell: as for `partial_sums`.
        plan: as for `partial_sums`.
        sigma: smearing width, angstrom.
        k_max: cutoff of the sum, 1/angstrom.
        cutoff: static.

    Raises:
        InputError: the plan is not that of a crystal.
    """
    _check(plan)
    cell = jnp.asarray(cell, sums.dtype)
    options = {"sigma": sigma, "k_max": k_max, "cutoff": cutoff}
    if plan.mesh is not None:
        return density_energy(sums, mesh_weights(cell, plan.mesh, **options))
    return squared_sum(sums, ewald_weights(cell, plan.grid, **options))


def _check(plan: SumPlan) -> None:
    if not plan.periodic or plan.cluster or plan.slab is not None:
        kind = "slab" if plan.slab is not None else "batch" if plan.periodic else "cluster"
        raise InputError(
            f"the plan is that of a {kind}; only the sum of a crystal (pbc all true) is a sum "
            "over atoms that can be split"
        )
