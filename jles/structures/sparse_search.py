"""Pairs of atoms in wide, nearly empty structures, found with a k-d tree."""

import numpy as np

_FEW_CELLS = 100
_CELLS_PER_ATOM = 4
# vesin makes no more cells than this. Wider structures get larger cells; in a flat one the
# number along its thickness is then rounded to 0, and the process dies.
_MOST_CELLS = 1e5
_LEAST_ALONG = 4


def wants_tree(positions, box, pbc, cutoff: float) -> bool:
    """Whether `tree_pairs` should be used instead of vesin.

    vesin sorts atoms into cells as wide as the cutoff. In nearly empty slabs its time grows
    with the square of the number of cells. In flat structures of more than 10^5 cells it ends
    the process (version 0.6.2).

    Args:
        positions: wrapped, angstrom.
        box: rows are lattice vectors, angstrom; orthonormal along open directions.
        pbc: three booleans.
        cutoff: angstrom.
    """
    inverse = np.linalg.inv(box)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    extent = np.where(pbc, heights, np.ptp(positions @ inverse, axis=0))
    along = np.maximum(extent / cutoff, 1.0)
    cells = along.prod()
    sparse = cells > max(_FEW_CELLS, _CELLS_PER_ATOM * len(positions))
    thin = along.min() * np.cbrt(_MOST_CELLS / cells) < _LEAST_ALONG
    return bool(sparse or (cells > _MOST_CELLS and thin))


def tree_pairs(positions, box, pbc, cutoff: float):
    """All pairs within the cutoff, each in both directions; arguments as in `wants_tree`.

    Returns:
        receivers, senders, shifts of the senders (pairs, 3) and distances, angstrom.
    """
    from scipy.spatial import KDTree

    around, sender, shift = _images(positions, box, pbc, cutoff)
    found = KDTree(positions).sparse_distance_matrix(
        KDTree(around), cutoff, output_type="ndarray"
    )
    receivers, image, distances = found["i"], found["j"], found["v"]
    senders, shifts = sender[image], shift[image]
    other = (receivers != senders) | shifts.any(axis=1)
    return receivers[other], senders[other], shifts[other], distances[other]


def _images(positions, box, pbc, cutoff):
    """Atoms and images around them: positions, atom and shift of each."""
    inverse = np.linalg.inv(box)
    fractions = positions @ inverse
    reach = cutoff * np.linalg.norm(inverse, axis=0) + 1e-9
    low, high = fractions.min(axis=0) - reach, fractions.max(axis=0) + reach
    # No atom comes near by more steps; for a molecule inside a wide cell these are none.
    most = np.where(pbc, np.floor(np.ptp(fractions, axis=0) + reach), 0).astype(int)
    parts = []
    for step in np.indices(2 * most + 1).reshape(3, -1).T - most:
        moved = fractions + step
        near = ((moved >= low) & (moved <= high)) | ~np.asarray(pbc)
        atom = np.flatnonzero(near.all(axis=1))
        parts.append((positions[atom] + step @ box, atom, np.tile(step, (len(atom), 1))))
    return tuple(map(np.concatenate, zip(*parts, strict=True)))
