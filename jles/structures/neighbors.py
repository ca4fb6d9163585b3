"""Host search for neighbours: NumPy in, NumPy out; vesin or a k-d tree finds the pairs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jles.errors import InputError
from jles.structures.sparse_search import tree_pairs, wants_tree

SAME_SPOT = 1e-3
"""Two atoms closer than this, angstrom, are a mistake in the input."""

MOST_NEIGHBORS = 20_000
"""Neighbours per atom, above which units must be wrong; they would also fill the memory."""

FARTHEST = 1e9
"""Coordinates beyond this, angstrom, are a mistake in the input."""

# Below this number of atoms threads cost more than they save.
_ATOMS_WORTH_THREADS = 2000


class NeighborTable(NamedTuple):
    """Neighbours receiver by receiver, padded to the largest number any atom has.

    The vector from `i` to its neighbour in slot `n` is
    `positions[index[i, n]] + shift[i, n] @ cell - positions[i]`. Slots of a row are ordered by
    (index, shift); padding slots come last, point at the atom itself and have mask False.
    """

    index: Int[np.ndarray, "atoms neighbors"]
    shift: Int[np.ndarray, "atoms neighbors 3"]
    mask: Bool[np.ndarray, "atoms neighbors"]


def find_neighbors(positions, cell, pbc, cutoff: float, ids=None) -> NeighborTable:
    """All neighbours with distance strictly below `cutoff`, periodic images included.

    Cells may be smaller than the cutoff and of either handedness, any directions may be
    periodic, and atoms may lie outside the cell. Shifts belong to the positions as given.

    Args:
        positions: Cartesian, angstrom, (atoms, 3); need not be wrapped.
        cell: rows are lattice vectors, angstrom, (3, 3); rows of directions that are not
            periodic are not used and may be zero.
        pbc: one boolean or three.
        cutoff: angstrom.
        ids: by which errors name the atoms; by default their index.

    Raises:
        InputError: a number is not finite, periodic vectors are linearly dependent, two atoms
            (or an atom and an image) are at the same position, or the cutoff is not positive.
    """
    ids = range(len(positions)) if ids is None else ids
    positions, cell, pbc = check_geometry(positions, cell, pbc, ids)
    if not 0.0 < cutoff < np.inf:
        raise InputError(f"cutoff must be positive (angstrom), got {cutoff}")
    if len(positions) == 0:
        return _table(0, np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3), int))
    _refuse_crowds(positions, cell, pbc, cutoff)
    wrapped, images = wrap(positions, cell, pbc)
    receivers, senders, shifts, distances = _search(wrapped, cell, pbc, cutoff)
    shifts = shifts + images[receivers] - images[senders]
    _refuse_same_spot(receivers, senders, shifts, distances, ids)
    return _table(len(positions), receivers, senders, shifts)


def table_distances(
    table: NeighborTable, positions, cell, rows=slice(None)
) -> Float[np.ndarray, "rows neighbors"]:
    """Distances (angstrom) of the neighbours of some atoms; infinite in padding slots.

    Args:
        table: neighbours of every atom.
        positions: of every atom, angstrom.
        cell: rows are lattice vectors, angstrom.
        rows: the atoms, by default all.
    """
    index, shift, mask = (array[rows] for array in table)
    positions = np.asarray(positions)
    there = positions[index] + shift @ np.asarray(cell, np.float64)
    apart = np.linalg.norm(there - positions[rows][:, None], axis=-1)
    return np.where(mask, apart, np.inf)


def rewrap_shifts(table: NeighborTable, images) -> Int[np.ndarray, "atoms neighbors 3"]:
    """Shifts of the same neighbours after every atom `i` moved by `-images[i] @ cell`."""
    images = np.asarray(images)
    shift = table.shift + images[table.index] - images[:, None, :]
    return np.where(table.mask[..., None], shift, 0).astype(np.int32)


def wrap(positions, cell, pbc):
    """Positions moved into the cell along periodic directions, and by how many cells.

    Returns:
        wrapped positions and integer `images`, both (atoms, 3):
        `positions = wrapped + images @ cell`.
    """
    if not np.any(pbc):
        return positions, np.zeros(positions.shape, np.int64)
    fractions = positions @ np.linalg.inv(complete_cell(cell, pbc))
    images = np.where(pbc, np.floor(fractions), 0.0)
    return positions - images @ cell, images.astype(np.int64)


def complete_cell(cell, pbc) -> Float[np.ndarray, "3 3"]:
    """The cell, rows of non-periodic directions replaced by unit vectors normal to the others.

    Raises:
        InputError: the periodic rows are zero or linearly dependent.
    """
    cell, pbc = np.asarray(cell, np.float64), np.asarray(pbc, bool)
    lengths = np.linalg.norm(cell[pbc], axis=1)
    spans = np.all(lengths > 0.0)
    if spans and pbc.any():
        spans = np.linalg.svd(cell[pbc] / lengths[:, None], compute_uv=False)[-1] > 1e-6
    if not spans:
        given = pbc & np.any(cell != 0.0, axis=1)
        slab = _letters(given) if given.sum() == 2 and not given[pbc].all() else ""
        remedy = f"{slab} (a slab)" if slab else "F F F"
        raise InputError(
            f"cell {cell.tolist()} has no volume, but pbc is {_letters(pbc)}; "
            f"give independent lattice vectors or set pbc to {remedy}"
        )
    completed = cell.copy()
    if not pbc.all():
        # The last rows of V^T in a full SVD are orthonormal to every periodic vector.
        completed[~pbc] = np.linalg.svd(cell[pbc], full_matrices=True)[2][pbc.sum() :]
    return completed


def _letters(pbc) -> str:
    return " ".join("FT"[int(p)] for p in pbc)


def volume_cell(cell, pbc) -> Float[np.ndarray, "3 3"]:
    """The cell that strains and traced searches act on: completed if it has no volume.

    Vectors of open directions that are independent of the others are kept.
    """
    if not np.any(pbc):
        return np.eye(3)
    return cell if np.all(pbc) or has_volume(cell) else complete_cell(cell, pbc)


def has_volume(cell) -> bool:
    """Whether the three vectors of a cell span a volume."""
    size = np.prod(np.linalg.norm(cell, axis=1))
    return bool(abs(np.linalg.det(cell)) > 1e-9 * size)


def check_geometry(positions, cell, pbc, ids=None):
    """Float64 positions (atoms, 3) and cell (3, 3), three booleans; all finite.

    Errors name atoms by `ids`, by default by their index.

    Raises:
        InputError: a wrong shape, a number that is not finite, or a coordinate beyond
            `FARTHEST`; the atom is named.
    """
    positions = np.asarray(positions, np.float64)
    cell = np.asarray(cell, np.float64)
    pbc = np.broadcast_to(np.asarray(pbc, bool), 3)
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise InputError(f"positions have shape {positions.shape}; they must be (atoms, 3)")
    if cell.shape != (3, 3):
        raise InputError(f"cell has shape {cell.shape}; it must be (3, 3), rows of vectors")
    ids = range(len(positions)) if ids is None else ids
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        name, values = ids[bad[0]], positions[bad[0]].tolist()
        raise InputError(f"position of atom {name} is {values}; it must be finite (angstrom)")
    far = np.flatnonzero((np.abs(positions) > FARTHEST).any(axis=1))
    if len(far):
        raise InputError(
            f"position of atom {ids[far[0]]} is {positions[far[0]].tolist()}; coordinates "
            f"must be below {FARTHEST:g} angstrom"
        )
    if not np.isfinite(cell).all():
        raise InputError(f"cell is {cell.tolist()}; it must be finite (angstrom)")
    if pbc.any():
        complete_cell(cell, pbc)
    return positions, cell, pbc


def _search(positions, cell, pbc, cutoff):
    """Full list of pairs: receivers, senders, shifts, distances."""
    whole = complete_cell(cell, pbc) if pbc.any() else np.eye(3)
    pairs = tree_pairs if wants_tree(positions, whole, pbc, cutoff) else _vesin_pairs
    i, j, shifts, distances = pairs(positions, whole, pbc, cutoff)
    inside = distances < cutoff
    return (
        i[inside].astype(np.int64),
        j[inside].astype(np.int64),
        shifts[inside].astype(np.int64),
        distances[inside],
    )


def _vesin_pairs(positions, box, pbc, cutoff):
    from vesin import NeighborList

    threads = 1 if len(positions) < _ATOMS_WORTH_THREADS else 0
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=threads)
    return search.compute(positions, box, tuple(map(bool, pbc)), "ijSd")


def _refuse_same_spot(receivers, senders, shifts, distances, ids):
    close = np.flatnonzero(distances < SAME_SPOT)
    if len(close) == 0:
        return
    i, j = ids[receivers[close[0]]], ids[senders[close[0]]]
    image = shifts[close[0]].tolist()
    where = f"atom {j}" if not any(image) else f"atom {j} in the periodic image {image}"
    raise InputError(
        f"atom {i} and {where} are {distances[close[0]]:.2g} angstrom apart; "
        "two atoms cannot be on the same spot"
    )


def _refuse_crowds(positions, cell, pbc, cutoff):
    if not pbc.all():
        return
    sphere = 4.0 / 3.0 * np.pi * cutoff**3
    expected = len(positions) / abs(np.linalg.det(cell)) * sphere
    if expected > MOST_NEIGHBORS:
        raise InputError(
            f"{len(positions)} atoms in a cell of {abs(np.linalg.det(cell)):.3g} angstrom^3 "
            f"means {expected:.3g} neighbours per atom within {cutoff} angstrom; "
            "are positions and cell in angstrom?"
        )


def _table(n_atoms, receivers, senders, shifts) -> NeighborTable:
    """A table from a list of pairs, each row ordered by (sender, shift)."""
    order = np.lexsort((*shifts.T[::-1], receivers * n_atoms + senders))
    receivers, senders, shifts = receivers[order], senders[order], shifts[order]
    counts = np.bincount(receivers, minlength=n_atoms)
    slots = np.arange(len(receivers)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = int(counts.max(initial=0))
    index = np.repeat(np.arange(n_atoms, dtype=np.int32)[:, None], width, axis=1)
    shift = np.zeros((n_atoms, width, 3), np.int32)
    index[receivers, slots] = senders
    shift[receivers, slots] = shifts
    return NeighborTable(index, shift, np.arange(width) < counts[:, None])
