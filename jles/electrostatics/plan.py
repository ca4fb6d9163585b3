"""Host plan of a sum: which sums are compiled, and how large their tables are."""

import math
from collections.abc import Mapping
from typing import NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jles.electrostatics.cost import direct_cost, mesh_cost, pair_cost
from jles.electrostatics.sums.kgrid import (
    SMALLER,
    SPHERE_TOLERANCE,
    KGrid,
    kgrid_overflow,
    merge_kgrids,
    plan_kgrid,
)
from jles.electrostatics.sums.mesh import (
    MeshPlan,
    check_accuracy,
    fast_size,
    mesh_is_too_small,
    plan_mesh,
    points_per_wavevector,
)
from jles.electrostatics.sums.slab import (
    least_slab_height,
    plan_slab_height,
    slab_cell,
    slab_cell_on_host,
)
from jles.errors import InputError
from jles.sum_method import SumMethod

_OTHER_NAMES = {"ewald": "direct", "pme": "mesh"}

MEMORY_LIMIT = 8 * 2**30
"""Bytes. A plan whose tables of the reciprocal sum alone would need more is refused."""


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

    A crystal or slab has a `grid`, with or without a `mesh`; a cluster has `cluster`. A batch
    that mixes crystals and clusters has both, and each structure selects its own. An empty plan
    sums nothing: it belongs to a model without a long-range part.

    Attributes:
        grid: k-vectors inside the cutoff. Without a `mesh` they are summed directly.
        mesh: points of the particle mesh. If given, the mesh is used; `grid` then only says
            what a direct sum would need, for `merge_plans`.
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
        """The method of the reciprocal sum, "direct" or "mesh"; None if there is none."""
        if not self.periodic:
            return None
        return "direct" if self.mesh is None else "mesh"

    def for_batch(self) -> "SumPlan":
        """The same plan without axis and height of a slab, which differ within a batch."""
        return self if self.slab is None else self._replace(slab=SlabPlan())


def describe_plan(plan: SumPlan, accuracy: float | None = None) -> str:
    """The plan in words, for logs and notes."""
    sums = []
    if plan.method == "direct":
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
        InputError: one periodic direction only, a cell without volume, an unknown method, an
            accuracy out of range, or tables that need more than `MEMORY_LIMIT`.
    """
    method = check_method(method)
    check_accuracy(accuracy)
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
    if method == "auto":
        atoms = len(positions)
        if direct_cost(atoms, grid, rank) < mesh_cost(atoms, mesh, rank):
            mesh = None
    plan = SumPlan(grid, mesh, slab)
    check_memory(plan, f"k_max {k_max}", SMALLER)
    return plan


def check_method(method) -> str:
    """The method's name in a config: "direct", "mesh" or "auto".

    Raises:
        InputError: an unknown name.
    """
    known = isinstance(method, str)
    name = _OTHER_NAMES.get(method, method) if known else None
    if name not in get_args(SumMethod):
        shown = repr(method) if known else f"a {type(method).__name__}"
        names = "'direct' (or 'ewald'), 'mesh' (or 'pme') or 'auto'"
        raise InputError(f"method is {shown}; it must be {names}")
    return name


def plan_cost(plan: SumPlan, atoms: int, rank: int = 0) -> float:
    """Measured cost of energy and gradient of one structure, in units of benchmarks/."""
    cost = pair_cost(atoms) if plan.cluster else 0.0
    if plan.mesh is not None:
        return cost + mesh_cost(atoms, plan.mesh, rank)
    return cost + (direct_cost(atoms, plan.grid, rank) if plan.grid is not None else 0.0)


def check_memory(plan: SumPlan, cause: str, remedy: str) -> None:
    """Refuses a plan whose tables need more than `MEMORY_LIMIT`.

    Raises:
        InputError: "`cause` needs … GiB …; `remedy`".
    """
    if not plan.periodic:
        return
    if plan.mesh is not None:
        what, size = "particle mesh", 24 * np.prod(np.array(plan.mesh.sizes, float))
    else:
        what, size = "direct sum", 32 * np.prod(np.array(plan.grid, float) + 1)
    if size > MEMORY_LIMIT:
        raise InputError(
            f"{cause} needs {size / 2**30:.0f} GiB for the {what} of a cell, more than "
            f"{MEMORY_LIMIT / 2**30:.0f} GiB; {remedy}"
        )


def merge_plans(plans) -> SumPlan:
    """The smallest plan that serves every structure of a batch.

    If some structures are planned for the direct sum and some for the mesh, all are summed
    directly, which is exact for each of them. `check_memory` tells whether that is possible.
    """
    plans = [plan.for_batch() for plan in plans]
    meshes = [plan.mesh for plan in plans if plan.mesh is not None]
    mesh = None
    if meshes and not any(plan.method == "direct" for plan in plans):
        mesh = MeshPlan(*(max(axis) for axis in zip(*meshes, strict=True)))
    grids = [plan.grid for plan in plans if plan.grid is not None]
    if grids:
        # A mesh that was made without a grid may be used for any wave it holds.
        grids += [largest_grid(p.mesh) for p in plans if p.mesh is not None and p.grid is None]
    return SumPlan(
        grid=merge_kgrids(grids) if grids else None,
        mesh=mesh,
        slab=SlabPlan() if any(plan.slab is not None for plan in plans) else None,
        cluster=any(plan.cluster for plan in plans),
    )


def largest_grid(mesh: MeshPlan) -> KGrid:
    """The largest indices that a mesh holds, many more than it sums to its accuracy."""
    return KGrid(*((n - 2) // 2 for n in mesh.sizes))


def grow_plan(plan: SumPlan, factor: float) -> SumPlan:
    """A plan for a cell whose edges are longer by `factor`."""
    grid, mesh = plan.grid, plan.mesh
    if grid is not None:
        grid = KGrid(*(math.ceil(factor * n) for n in grid))
    if mesh is not None:
        mesh = MeshPlan(*(fast_size(factor * n) for n in mesh.sizes), mesh.order)
    return plan._replace(grid=grid, mesh=mesh)


def plan_is_too_small(
    plan: SumPlan, cell, k_max: float, *, positions=None, sigma: float = 1.0
) -> bool:
    """Whether a structure that has changed needs a new plan; on the host.

    Either the plan misses k-vectors of the cell, or the slab has grown so much that its images
    come too close.

    Args:
        plan: of one structure.
        cell: rows are lattice vectors, angstrom.
        k_max: cutoff, 1/angstrom.
        positions: angstrom; needed for slabs only.
        sigma: smearing width of the plan, angstrom; read for slabs only.

    Raises:
        InputError: the plan is that of a slab, and there are no positions; or it is that of a
            batch with slabs, each of which has a height of its own.
    """
    if plan.slab is not None:
        if plan.slab.height is None:
            raise InputError(
                "plan is one of a batch, in which every slab has a height of its own; check "
                "the plan of each structure"
            )
        if positions is None:
            raise InputError(
                "plan is one of a slab, whose height must suffice for its atoms: pass "
                "positions=positions, and sigma=sigma if that is not 1"
            )
        if slab_is_low(plan, cell, {"sigma": sigma}, plan.slab, positions, np):
            return True
    return misses_waves(plan, cell, k_max)


def misses_waves(plan: SumPlan, cell, k_max: float) -> bool:
    """Whether the plan misses k-vectors of the cell; on the host, arguments as above."""
    if plan.slab is not None:
        cell = slab_cell_on_host(cell, *plan.slab)
    if plan.mesh is not None:
        return mesh_is_too_small(plan.mesh, cell, k_max)
    return plan.grid is not None and kgrid_overflow(plan.grid, cell, k_max)


def plan_serves(plan: SumPlan, cell, options: Mapping, slab: SlabPlan) -> Bool[Array, ""]:
    """Whether a plan serves a cell that may have changed, traced; see `longest_edges`.

    Args:
        plan: static.
        cell: rows are lattice vectors, angstrom.
        options: with `k_max`, `sigma`, `accuracy` and `rank`, as the plan was made.
        slab: of the structure; read if the plan is that of a slab, which is summed in a cell
            of this height.
    """
    if not plan.periodic:
        return jnp.ones((), bool)
    if plan.slab is not None:
        cell = slab_cell(jnp.asarray(cell), *slab)
    limits = {name: options[name] for name in ("k_max", "sigma", "accuracy", "rank")}
    edges = jnp.linalg.norm(cell, axis=1)
    return jnp.all(edges < jnp.asarray(longest_edges(plan, **limits), edges.dtype))


def slab_is_low(
    plan: SumPlan, cell, options: Mapping, slab: SlabPlan | None, positions, xp=jnp
) -> np.bool_ | Bool[Array | np.ndarray, ""]:
    """Whether a slab has grown so much that its images come too close.

    Args:
        plan: static.
        cell: rows are lattice vectors, angstrom.
        options: with `sigma`.
        slab: the cell that the structure is summed in; not read if the plan has no slab.
        positions: of all atoms, angstrom.
        xp: `numpy` for arrays that are not traced.
    """
    if plan.slab is None:
        return xp.zeros((), bool)
    least = least_slab_height(cell, positions, slab.axis, options["sigma"], xp)
    return slab.height < least


def longest_edges(
    plan: SumPlan, *, k_max: float, sigma: float, accuracy: float, rank: int
) -> np.ndarray:
    """Cell edges (angstrom) that a plan serves: every edge must be shorter than its entry.

    A longer edge has k-vectors that the direct sum misses, or needs more points than a `mesh`
    has for its accuracy. Arguments as in `plan_sum`.
    """
    if plan.mesh is not None:
        _, ratio = points_per_wavevector(k_max, sigma, accuracy, rank)
        return np.array(plan.mesh.sizes) * 2.0 * math.pi / (ratio * k_max)
    if plan.grid is not None:
        radius = k_max * (1.0 + 0.5 * SPHERE_TOLERANCE)
        return (np.array(plan.grid) + 1.0) * 2.0 * math.pi / radius
    return np.full(3, np.inf)
