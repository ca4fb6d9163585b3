"""The owner of every atom: regions of the cell with equal numbers of atoms."""

import numpy as np
from jaxtyping import Float, Int

from jles.structures.neighbors import complete_cell, wrap


def regions(
    positions: Float[np.ndarray, "atoms 3"], cell: Float[np.ndarray, "3 3"], pbc, count: int
) -> list[Int[np.ndarray, " own"]]:
    """Divides the atoms among `count` owners.

    The atoms are cut in two along the direction in which they extend farthest, and so are both
    parts, until there is one for each owner. Numbers of atoms differ by at most one.

    Args:
        positions: angstrom; need not be wrapped.
        cell: rows are lattice vectors, angstrom; not read without periodic directions.
        pbc: three booleans.
        count: at most the number of atoms.

    Returns:
        For every owner its atoms in ascending order.
    """
    pbc = np.asarray(pbc, bool)
    box = complete_cell(cell, pbc) if pbc.any() else np.eye(3)
    wrapped, _ = wrap(np.asarray(positions, np.float64), box, pbc)
    normals = np.linalg.inv(box)
    # Distances from the planes through the origin, angstrom.
    heights = wrapped @ (normals / np.linalg.norm(normals, axis=0))
    sizes = [len(heights) * (n + 1) // count - len(heights) * n // count for n in range(count)]
    return _cut(heights, np.arange(len(heights)), sizes)


def _cut(heights, atoms, sizes: list[int]) -> list[Int[np.ndarray, " own"]]:
    if len(sizes) == 1:
        return [np.sort(atoms)]
    first = len(sizes) // 2
    along = heights[atoms]
    axis = np.argmax(np.ptp(along, axis=0))
    order = atoms[np.argsort(along[:, axis], kind="stable")]
    place = sum(sizes[:first])
    return _cut(heights, order[:place], sizes[:first]) + _cut(
        heights, order[place:], sizes[first:]
    )
