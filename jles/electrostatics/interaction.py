"""One quadratic form of the moments, whichever way it is summed: the operator of everything else.

Its gradient in the moments is the symmetric operator K of docs/theory.md: potential, minus the
field, half the field gradient. `SumPlan` is all that the host decides beforehand.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jles.electrostatics.multipoles import Multipoles, background_energy, self_energy
from jles.electrostatics.sums.cluster import cluster_energy
from jles.electrostatics.sums.ewald import prepare_ewald, reciprocal_energy
from jles.electrostatics.sums.kgrid import KGrid, kgrid_overflow, plan_kgrid
from jles.electrostatics.sums.mesh import (
    MeshPlan,
    mesh_energy,
    mesh_is_too_small,
    plan_mesh,
    prepare_mesh,
)
from jles.electrostatics.sums.slab import (
    plan_slab_height,
    slab_cell,
    slab_cell_on_host,
    slab_correction,
)
from jles.errors import InputError
from jles.typing import Cell, Positions, Scalar

MEMORY_LIMIT = 8 * 2**30
"""Bytes; a plan whose sums over k alone would need more is refused."""

_UNITS_PER_WAVE = 6.6e-9
_UNITS_PER_ATOM = 4.0e-5
_UNITS_PER_POINT = 5.0e-7
"""Measured cost of energy and gradient, in units of benchmarks/: see docs/electrostatics.md."""


class SumPlan(NamedTuple):
    """What a sum is made with; static: hash it, never trace it. A cluster has neither.

    Attributes:
        grid: k-vectors of the direct sum.
        mesh: of the particle mesh, instead of `grid`.
        slab_axis: the direction that is not periodic, of a slab.
        slab_height: of the cell that a slab is summed in, angstrom.
    """

    grid: KGrid | None = None
    mesh: MeshPlan | None = None
    slab_axis: int | None = None
    slab_height: float | None = None

    @property
    def periodic(self) -> bool:
        """Whether there is a reciprocal sum at all."""
        return self.grid is not None or self.mesh is not None


def open_axes(pbc) -> tuple[int, ...]:
    """Directions that are not periodic: none, one or three.

    Raises:
        InputError: one periodic direction, or `pbc` that is neither a boolean nor three.
    """
    flags = np.asarray(pbc)
    if flags.dtype.kind in "iu" and np.isin(flags, (0, 1)).all():
        flags = flags.astype(bool)
    if flags.shape not in ((), (3,)) or flags.dtype != bool:
        raise InputError(f"pbc must be True, False or three booleans, got {pbc}")
    axes = tuple(int(n) for n in np.flatnonzero(~np.broadcast_to(flags, 3)))
    if len(axes) == 2:
        raise InputError(
            f"pbc is {flags.tolist()}, periodic in one direction only; a wire has no sum here: "
            "use three periodic directions (crystal), two (slab) or none (cluster)"
        )
    return axes


def plan_sum(
    cell,
    positions,
    pbc,
    *,
    k_max: float,
    sigma: float = 1.0,
    method: Literal["ewald", "pme", "auto"] = "ewald",
    accuracy: float = 1e-5,
    rank: int = 0,
    margin: float = 0.0,
) -> SumPlan:
    """Chooses and sizes the sum on the host.

    Args:
        cell: rows are lattice vectors, angstrom, (3, 3); ignored for clusters, its open row for
            slabs.
        positions: angstrom; of slabs the extent along the normal counts, not wrapped.
        pbc: a boolean or three.
        k_max: cutoff, 1/angstrom.
        sigma: smearing width, angstrom.
        method: "auto" takes what costs less by measured cost.
        accuracy: of the particle mesh, see `plan_mesh`.
        rank: highest moment, 0 to 2: charges, dipoles, quadrupoles.
        margin: relative room for cells that grow.

    Raises:
        InputError: pbc in one direction only, a cell without volume, or sums over k that need
            more than `MEMORY_LIMIT`.
    """
    axes = open_axes(pbc)
    if len(axes) == 3:
        return SumPlan()
    axis = height = None
    cell = np.asarray(cell, np.float64)
    if axes:
        (axis,) = axes
        height = plan_slab_height(cell, positions, axis, sigma)
        cell = slab_cell_on_host(cell, axis, height)
    grid = plan_kgrid(cell, k_max, margin)
    mesh = None
    if method != "ewald":
        mesh = plan_mesh(cell, k_max, sigma=sigma, accuracy=accuracy, rank=rank, margin=margin)
    if method == "auto" and _direct_is_cheaper(len(positions), grid, mesh):
        mesh = None
    if mesh is None:
        _check_memory(32 * np.prod(np.array(grid, float) + 1), "direct sum", k_max)
        return SumPlan(grid, None, axis, height)
    _check_memory(24 * np.prod(np.array(mesh.sizes, float)), "particle mesh", k_max)
    return SumPlan(None, mesh, axis, height)


def _direct_is_cheaper(atoms: int, grid: KGrid, mesh: MeshPlan) -> bool:
    waves = np.prod(np.array(grid, float) + 1)
    direct = _UNITS_PER_WAVE * atoms * waves
    return bool(direct < _UNITS_PER_ATOM * atoms + _UNITS_PER_POINT * np.prod(mesh.sizes))


def _check_memory(size: float, what: str, k_max: float) -> None:
    if size > MEMORY_LIMIT:
        raise InputError(
            f"k_max {k_max} needs {size / 2**30:.0f} GiB for the {what} of this cell, more than "
            f"{MEMORY_LIMIT / 2**30:.0f} GiB; take a smaller k_max or cell"
        )


def plan_is_too_small(plan: SumPlan, cell, k_max: float) -> bool:
    """Whether a cell has outgrown its plan, which then misses k-vectors: plan again."""
    if plan.slab_axis is not None:
        cell = slab_cell_on_host(cell, plan.slab_axis, plan.slab_height)
    if plan.grid is not None:
        return kgrid_overflow(plan.grid, cell, k_max)
    return plan.mesh is not None and mesh_is_too_small(plan.mesh, cell, k_max)


def build_interaction(
    positions: Positions,
    cell: Cell | None,
    plan: SumPlan,
    *,
    sigma: Scalar,
    k_max: Scalar,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    remove_self: bool = True,
    background: Literal["smeared", "point"] = "smeared",
) -> Callable[[Multipoles], Array]:
    """The energy (eV) as a function of the moments alone; tables are made once, here.

    Args:
        positions: angstrom.
        cell: rows are lattice vectors, angstrom; None for clusters.
        plan: static.
        sigma: smearing width, angstrom.
        k_max: cutoff of the reciprocal sum, 1/angstrom.
        cutoff: see `ewald_energy`.
        remove_self: leave out what every multipole has with itself.
        background: of a charged crystal, see `multipoles.background_energy`.
    """
    if not plan.periodic:

        def cluster(moments: Multipoles) -> Array:
            return cluster_energy(moments, positions, sigma=sigma, remove_self=remove_self)

        return cluster
    is_slab = plan.slab_axis is not None
    if is_slab:
        cell = slab_cell(cell, plan.slab_axis, plan.slab_height)
    options = {"sigma": sigma, "k_max": k_max, "cutoff": cutoff}
    if plan.mesh is not None:
        mesh = prepare_mesh(positions, cell, plan=plan.mesh, **options)
    else:
        ewald = prepare_ewald(positions, cell, grid=plan.grid, **options)
    volume = jnp.abs(jnp.linalg.det(cell))

    def periodic(moments: Multipoles) -> Array:
        if plan.mesh is not None:
            energy = mesh_energy(mesh, moments, plan.mesh)
        else:
            energy = reciprocal_energy(ewald, moments)
        if is_slab:
            energy += slab_correction(moments, positions, cell, plan.slab_axis, sigma)
        elif background == "point":
            energy -= background_energy(jnp.sum(moments.charges, axis=0), volume, sigma)
        return energy - self_energy(moments, sigma) if remove_self else energy

    return periodic
