"""Reduction of skewed cells: other vectors of the same lattice, as short as possible."""

import numpy as np
from ase.geometry import minkowski_reduce
from jaxtyping import Int

SKEWED = 3.0
"""Cells whose edges multiply to more than this times their volume are reduced.

The ratio is one for a box and at most sqrt(2) for a reduced cell. The direct sum plans a box of
reciprocal indices proportional to the product of the edges.
"""

_NO_VOLUME = 1e9


def reduction(cell, pbc) -> Int[np.ndarray, "3 3"]:
    """Integers M of determinant 1 or -1 that make a skewed cell compact: `M @ cell`.

    The rows of `M @ cell` are a Minkowski-reduced basis of the lattice (Nguyen and Stehlé, ACM
    Trans. Algorithms 5, 46 (2009), as implemented in ASE). Vectors that are not periodic
    are not used and keep their place. M is the identity for a cell that is compact already.

    Args:
        cell: rows are lattice vectors, angstrom, (3, 3); the periodic ones independent.
        pbc: three booleans.
    """
    pbc = np.asarray(pbc, bool)
    periodic = np.asarray(cell, np.float64)[pbc]
    if len(periodic) < 2:
        return np.eye(3, dtype=np.int64)
    # The area or volume from singular values, which keep digits where a determinant cancels.
    size = np.prod(np.linalg.svd(periodic, compute_uv=False))
    ratio = np.prod(np.linalg.norm(periodic, axis=1)) / max(size, 1e-300)
    # Vectors without a volume are refused elsewhere.
    if not SKEWED < ratio < _NO_VOLUME:
        return np.eye(3, dtype=np.int64)
    return np.asarray(minkowski_reduce(np.asarray(cell, np.float64), pbc)[1], np.int64)


def inverse(matrix: Int[np.ndarray, "3 3"]) -> Int[np.ndarray, "3 3"]:
    """The inverse of an integer matrix of determinant 1 or -1, exactly."""
    return np.round(np.linalg.inv(matrix)).astype(np.int64)
