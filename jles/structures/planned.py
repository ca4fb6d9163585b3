"""Sizes of structures whose positions are not in memory, as in a data set on disk."""

import numpy as np

from jles.electrostatics.plan import SumPlan, open_axes, plan_sum
from jles.electrostatics.sums.slab import area_vector
from jles.lattice import reduction
from jles.structures.sizes import Size


def slab_extent(positions, cell, pbc) -> float:
    """Extent along the normal of a slab, angstrom; 0 for crystals, wires and clusters."""
    if np.count_nonzero(pbc) != 2:
        return 0.0
    return float(np.ptp(np.asarray(positions, np.float64) @ _normal(cell, pbc)))


def planned_size(
    atoms: int, neighbors: int, cell, pbc, extent: float, *, k_max: float | None, **sums
) -> Size:
    """The size that `build_structure` gives a structure, or a larger one.

    Args:
        atoms: how many.
        neighbors: the most that an atom has.
        cell: rows are lattice vectors, angstrom.
        pbc: three booleans.
        extent: see `slab_extent`.
        k_max: of the reciprocal sum, 1/angstrom; None for a model without a long-range part.
        **sums: `sigma`, `method`, `accuracy` and `rank` of `build_structure`.

    Raises:
        InputError: as `plan_sum`.
    """
    size = Size(atoms, max(neighbors, 1))
    if k_max is None:
        return size
    if not np.any(pbc):
        return size._replace(plan=SumPlan(cluster=True))
    cell = reduction(cell, pbc) @ np.asarray(cell, np.float64)
    positions = np.zeros((atoms, 3))
    if len(open_axes(pbc)) == 1:
        # Rounding must not make the slab thinner.
        positions[-1] = extent * (1.0 + 1e-9) * _normal(cell, pbc)
    return size._replace(plan=plan_sum(cell, positions, pbc, k_max=k_max, **sums).for_batch())


def _normal(cell, pbc) -> np.ndarray:
    """Unit vector perpendicular to the two periodic vectors."""
    (axis,) = open_axes(pbc)
    normal = area_vector(np.asarray(cell, np.float64), axis)
    return normal / np.linalg.norm(normal)
