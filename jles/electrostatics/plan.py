"""Host plan of a sum: which sums are compiled, and how large their tables are."""

import math
from typing import Literal, NamedTuple

import numpy as np

from jles.electrostatics.sums.kgrid import (
    SPHERE_TOLERANCE,
    KGrid,
    kgrid_overflow,
    merge_kgrids,
    plan_kgrid,
)
from jles.electrostatics.sums.mesh import (
    MeshPlan,
    fast_size,
    mesh_is_too_small,
    plan_mesh,
    points_per_wavevector,
)
from jles.electrostatics.sums.slab import plan_slab_height, slab_cell_on_host
from jles.errors import InputError

Method = Literal["direct", "mesh", "auto"]

METHODS = {"ewald": "direct", "pme": "mesh", "direct": "direct", "mesh": "mesh", "auto": "auto"}
"""Accepted names of a method, and the name it has in a model's config."""

MEMORY_LIMIT = 8 * 2**30
"""Bytes. A plan whose tables of the reciprocal sum alone would need more is refused."""

_UNITS_PER_WAVE = 6.6e-9
_UNITS_PER_ATOM = 4.0e-5
_UNITS_PER_POINT = 5.0e-7
"""Measured costs of energy and gradient in units of benchmarks/, see docs/electrostatics.md."""


class SlabPlan(NamedTuple):
    """The cell a slab is summed in.

    Both fields are None in a batch, where every structure has its own values; see `Boundary`.

    Attributes:
        axis: lattice vector that is not periodic, 0 to 2.
        height: height of the cell, angstrom.
    """

    axis: int | None = None
    height: float | None = None


class SumPlan(NamedTuple):
    """Static plan of the electrostatic sums of a structure or of a batch of structures.

    A crystal or slab has a `grid` or a `mesh`, a cluster has `cluster`. A batch that mixes
    crystals and clusters has both, and each structure selects its own. An empty plan sums
    nothing: it belongs to a model without a long-range part.

    Attributes:
        grid: k-vectors of the direct reciprocal sum.
        mesh: points of the particle mesh, which replaces `grid`.
        slab: set if any structure is a slab.
        cluster: whether any structure is a cluster, summed over pairs.
    """

    grid: KGrid | None = None
    mesh: MeshPlan | None = None
    slab: SlabPlan | None = None
    cluster: bool = False

    @property
    def periodic(self) -> bool:
        """Whether there is a reciprocal sum."""
        return self.grid is not None or self.mesh is not None

    @property
    def method(self) -> str | None:
        """How the reciprocal sum is done, "direct" or "mesh"; None if there is none."""
        if not self.periodic:
            return None
        return "direct" if self.mesh is None else "mesh"

    def for_batch(self) -> "SumPlan":
        """The same plan without axis and height of a slab, which differ within a batch."""
        return self if self.slab is None else self._replace(slab=SlabPlan())


def describe_plan(plan: SumPlan, accuracy: float | None = None) -> str:
    """The plan in words, for logs and notes."""
    sums = []
    if plan.grid is not None:
        sums.append(f"direct reciprocal sum, indices up to {'x'.join(map(str, plan.grid))}")
    if plan.mesh is not None:
        points = "x".join(map(str, plan.mesh.sizes))
        error = "" if accuracy is None else f", relative force error about {accuracy:g}"
        sums.append(
            f"particle mesh of {points} points, splines of order {plan.mesh.order}{error}"
        )
    if plan.cluster:
        sums.append("sum over pairs")
    return " and ".join(sums) or "no long-range sum"


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
            f"pbc is {flags.tolist()}, periodic in one direction only; sums of wires are not "
            "implemented: use three periodic directions (crystal), two (slab) or none (cluster)"
        )
    return axes


def plan_sum(
    cell,
    positions,
    pbc,
    *,
    k_max: float,
    sigma: float = 1.0,
    method: str = "direct",
    accuracy: float = 1e-5,
    rank: int = 0,
    margin: float = 0.0,
) -> SumPlan:
    """Chooses the sum of one structure and the size of its tables.

    Args:
        cell: rows are lattice vectors, angstrom, (3, 3); ignored for clusters, as is the row of
            a slab's open direction.
        positions: angstrom; a slab's extent along its normal counts, so it must not be wrapped
            there.
        pbc: a boolean or three.
        k_max: cutoff, 1/angstrom.
        sigma: smearing width, angstrom.
        method: "direct", "mesh" or "auto", which takes the cheaper one by measured cost;
            "ewald" and "pme" are other names of the first two.
        accuracy: relative error of the forces of the particle mesh; see `plan_mesh`.
        rank: highest moment, 0 to 2: charges, dipoles, quadrupoles.
        margin: relative growth of the cell edges to leave room for, e.g. 0.1 for NPT runs.

    Raises:
        InputError: one periodic direction only, a cell without volume, an unknown method, or
            tables that need more than `MEMORY_LIMIT`.
    """
    method = check_method(method)
    axes = open_axes(pbc)
    if len(axes) == 3:
        return SumPlan(cluster=True)
    slab = None
    cell = np.asarray(cell, np.float64)
    if axes:
        slab = SlabPlan(axes[0], plan_slab_height(cell, positions, axes[0], sigma))
        cell = slab_cell_on_host(cell, *slab)
    grid = plan_kgrid(cell, k_max, margin)
    mesh = None
    if method != "direct":
        mesh = plan_mesh(cell, k_max, sigma=sigma, accuracy=accuracy, rank=rank, margin=margin)
    if method == "auto" and _direct_is_cheaper(len(positions), grid, mesh):
        mesh = None
    if mesh is None:
        _check_memory(32 * np.prod(np.array(grid, float) + 1), "direct sum", k_max)
        return SumPlan(grid, None, slab)
    _check_memory(24 * np.prod(np.array(mesh.sizes, float)), "particle mesh", k_max)
    return SumPlan(None, mesh, slab)


def check_method(method: str) -> str:
    """The method's name in a config: "direct", "mesh" or "auto".

    Raises:
        InputError: an unknown name.
    """
    if method not in METHODS:
        known = "'direct' (or 'ewald'), 'mesh' (or 'pme') or 'auto'"
        raise InputError(f"method is {method!r}; it must be {known}")
    return METHODS[method]


def _direct_is_cheaper(atoms: int, grid: KGrid, mesh: MeshPlan) -> bool:
    waves = np.prod(np.array(grid, float) + 1)
    direct = _UNITS_PER_WAVE * atoms * waves
    return bool(direct < _UNITS_PER_ATOM * atoms + _UNITS_PER_POINT * np.prod(mesh.sizes))


def _check_memory(size: float, what: str, k_max: float) -> None:
    if size > MEMORY_LIMIT:
        raise InputError(
            f"k_max {k_max} needs {size / 2**30:.0f} GiB for the {what} of this cell, more "
            f"than {MEMORY_LIMIT / 2**30:.0f} GiB; take a smaller k_max or cell"
        )


def merge_plans(plans) -> SumPlan:
    """The smallest plan that serves every structure of a batch.

    If some structures are planned for the direct sum and some for the mesh, all are summed
    directly, which is exact for each of them.
    """
    plans = [plan.for_batch() for plan in plans]
    meshes = [plan.mesh for plan in plans if plan.mesh is not None]
    grids = [plan.grid for plan in plans if plan.grid is not None]
    mesh = None
    if meshes and not grids:
        mesh = MeshPlan(*(max(axis) for axis in zip(*meshes, strict=True)))
    elif meshes:
        # A mesh of n points holds indices up to (n - 2) / 2, see plan_mesh.
        grids += [KGrid(*((n - 2) // 2 for n in each.sizes)) for each in meshes]
    return SumPlan(
        grid=merge_kgrids(grids) if grids else None,
        mesh=mesh,
        slab=SlabPlan() if any(plan.slab is not None for plan in plans) else None,
        cluster=any(plan.cluster for plan in plans),
    )


def grow_plan(plan: SumPlan, factor: float) -> SumPlan:
    """A plan for a cell whose edges are longer by `factor`."""
    grid, mesh = plan.grid, plan.mesh
    if grid is not None:
        grid = KGrid(*(math.ceil(factor * n) for n in grid))
    if mesh is not None:
        mesh = MeshPlan(*(fast_size(factor * n) for n in mesh.sizes), mesh.order)
    return plan._replace(grid=grid, mesh=mesh)


def plan_is_too_small(plan: SumPlan, cell, k_max: float) -> bool:
    """Whether the plan misses k-vectors of the cell, which needs a new plan then."""
    if plan.slab is not None:
        cell = slab_cell_on_host(cell, *plan.slab)
    if plan.grid is not None:
        return kgrid_overflow(plan.grid, cell, k_max)
    return plan.mesh is not None and mesh_is_too_small(plan.mesh, cell, k_max)


def longest_edges(
    plan: SumPlan, *, k_max: float, sigma: float, accuracy: float, rank: int
) -> np.ndarray:
    """Cell edges (angstrom) that a plan serves: every edge must be shorter than its entry.

    A longer edge has k-vectors that a `grid` misses, or needs more points than a `mesh` has for
    its accuracy. Arguments as in `plan_sum`.
    """
    if plan.mesh is not None:
        _, ratio = points_per_wavevector(k_max, sigma, accuracy, rank)
        return np.array(plan.mesh.sizes) * 2.0 * math.pi / (ratio * k_max)
    if plan.grid is not None:
        radius = k_max * (1.0 + 0.5 * SPHERE_TOLERANCE)
        return (np.array(plan.grid) + 1.0) * 2.0 * math.pi / radius
    return np.full(3, np.inf)
