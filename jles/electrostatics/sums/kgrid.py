"""Host plan of the reciprocal sum: the box of integers that holds all k inside the cutoff."""

import math
from typing import NamedTuple

import numpy as np

from jles.errors import InputError

SPHERE_TOLERANCE = 4e-6
"""A vector counts as inside if k^2 <= k_max^2 (1 + this).

Rounding, in float32 too, must not decide about a vector that lies exactly on the sphere.
"""


SMALLER = "take a smaller cell, or pbc F F F for molecules in vacuum, or a smaller k_max"
"""Remedy for a reciprocal sum that is too large, for errors."""

_MOST_INDICES = 1e5


class KGrid(NamedTuple):
    """Largest reciprocal index along each lattice vector; static."""

    n_a: int
    n_b: int
    n_c: int


def plan_kgrid(cell, k_max: float, margin: float = 0.0) -> KGrid:
    r"""Smallest index box that holds all k with :math:`|k| \le k_{max}`.

    The index of a vector k along axis d is :math:`k\cdot a_d / 2\pi`, at most
    :math:`k_{max} |a_d| / 2\pi`, for any cell of either handedness.

    Args:
        cell: rows are lattice vectors, angstrom, (3, 3).
        k_max: radius of the sphere, 1/angstrom.
        margin: relative growth of the cell edges to leave room for, e.g. 0.1 for NPT runs.

    Raises:
        InputError: cell with zero volume, or k_max not positive.
    """
    cell = np.asarray(cell, dtype=np.float64)
    if cell.shape != (3, 3):
        raise InputError(
            f"cell has shape {cell.shape}; it must be (3, 3), rows lattice vectors"
        )
    check_volume(cell)
    edges = np.linalg.norm(cell, axis=1)
    if not k_max > 0.0:
        raise InputError(f"k_max must be positive (1/angstrom), got {k_max}")
    # The sum uses the same tolerance to decide which vectors are inside.
    radius = k_max * math.sqrt(1.0 + 2.0 * SPHERE_TOLERANCE)
    needed = radius * edges * (1.0 + margin) / (2.0 * math.pi)
    if needed.max() > _MOST_INDICES:
        raise InputError(
            f"k_max {k_max} needs wavevector indices up to {needed.max():.2g} in a cell with "
            f"edges of {edges.max():.3g} angstrom, more than {_MOST_INDICES:g}; {SMALLER}"
        )
    counts = needed.astype(int)
    return KGrid(*(max(1, int(n)) for n in counts))


def check_volume(cell: np.ndarray) -> None:
    """Refuses a cell whose vectors are linearly dependent."""
    if not abs(np.linalg.det(cell)) > 1e-9 * np.prod(np.linalg.norm(cell, axis=1)):
        raise InputError(
            f"cell {cell.tolist()} has no volume; a periodic sum needs three vectors"
        )


def kgrid_overflow(grid: KGrid, cell, k_max: float) -> bool:
    """Whether `grid` misses k-vectors of `cell`, which needs a new plan then."""
    return any(need > have for need, have in zip(plan_kgrid(cell, k_max), grid, strict=True))


def merge_kgrids(grids) -> KGrid:
    """The smallest box that serves every structure of a batch."""
    return KGrid(*(max(axis) for axis in zip(*grids, strict=True)))
