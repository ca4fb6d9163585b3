r"""The atoms that one MPI rank or one device evaluates, as padded arrays.

Both are called a rank here. A rank has its *own* atoms and *ghosts*, the atoms around them.
Features of an own atom after T passes through the network depend on atoms up to T hops away, a
hop being a pair within the cutoff. Atoms h hops away need features of T - h passes, so those
that are T hops away need only their element. Atoms up to T - 1 hops away are the *rows* of the
network; for a model without messages these are the own atoms alone. A neighbour that is no row
is represented by a row of its element without neighbours.

Each atom appears once, in any periodic image; neighbours are searched in the periodic cell.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jles.electrostatics.plan import SumPlan
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.config import FlowCharges, ModelConfig
from jles.structures.neighbors import NeighborTable, find_neighbors, table_distances
from jles.structures.skin import GROWTH, NEAR_GROWTH, ROUNDING
from jles.structures.structure import HostOrDevice

_ROOM = 1.1
"""Growth of the number of atoms that is left room for; a row costs time."""

_MULTIPLE = 8


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Domain:
    """Rows of one rank and their neighbours within cutoff + skin.

    Attributes:
        atom: of each row, its place among the positions of the rank.
        numbers: atomic number of each row; 0 for padding.
        own: True for own atoms, which are the first rows.
        neighbor: place of the neighbour in each slot, among the positions of the rank.
        sender: its row, or the row that represents its element.
        shift: its periodic image.
        present: False for padding slots.
        first: static; the own atoms are among this number of first rows.
        near: static; slots for the neighbours within the cutoff.
        plan: static; of the electrostatic sum.
    """

    atom: Int[HostOrDevice, " rows"]
    numbers: Int[HostOrDevice, " rows"]
    own: Bool[HostOrDevice, " rows"]
    neighbor: Int[HostOrDevice, "rows slots"]
    sender: Int[HostOrDevice, "rows slots"]
    shift: Int[HostOrDevice, "rows slots 3"]
    present: Bool[HostOrDevice, "rows slots"]
    first: int = field(metadata={"static": True})
    near: int = field(metadata={"static": True})
    plan: SumPlan = field(metadata={"static": True})


class Capacity(NamedTuple):
    """Sizes that are compiled.

    Attributes:
        atoms: positions, own atoms and ghosts.
        own: own atoms.
        rows: atoms with features, and one for each element.
        slots: neighbours of a row within cutoff + skin.
        near: neighbours of a row within the cutoff.
    """

    atoms: int = 0
    own: int = 0
    rows: int = 0
    slots: int = 0
    near: int = 0


class Reach(NamedTuple):
    """The surroundings of an atom that a model reads.

    Attributes:
        cutoff: angstrom.
        hops: distance of the farthest rows, in pairs within the cutoff: rounds of message
            passing, plus one for charges that flow.
        elements: atomic numbers that the model knows.
    """

    cutoff: float
    hops: int
    elements: tuple[int, ...]

    @property
    def receptive_field(self) -> float:
        """Distance beyond which no atom matters to an own atom, angstrom."""
        return self.cutoff * (self.hops + 1)


def reach_of(config: ModelConfig) -> Reach:
    """The reach of a model; charges that flow depend on the features of neighbours."""
    backbone = config.backbone
    flows = isinstance(config.charges, FlowCharges)
    return Reach(backbone.cutoff, backbone.messages_passed + int(flows), config.numbers)


def sees_more(config: ModelConfig) -> list[str]:
    """Keys for which atoms of a model depend on more than their surroundings, for errors.

    Ranks cannot share the atoms of such a model.
    """
    keys = {
        "backbone.kind 'foreign'": isinstance(config.backbone, ForeignConfig),
        "state": config.state is not None,
    }
    return [key for key, found in keys.items() if found]


class RankAtoms(NamedTuple):
    """Atoms of one rank on the host, each once; the first `own` ones are its own.

    Attributes:
        numbers: atomic numbers.
        positions: angstrom, in any periodic image.
        own: how many atoms are the rank's own.
        ids: by which errors name the atoms.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    own: int
    ids: Int[np.ndarray, " atoms"]


def build_domain(
    atoms: RankAtoms,
    cell: Float[np.ndarray, "3 3"],
    pbc,
    reach: Reach,
    plan: SumPlan,
    capacity: Capacity,
    *,
    skin: float,
) -> tuple[Domain, Capacity]:
    """Searches the neighbours of a rank's atoms and pads the lists.

    Args:
        atoms: of the rank.
        cell: rows are lattice vectors, angstrom.
        pbc: three booleans.
        reach: of the model.
        plan: of the electrostatic sum.
        capacity: of earlier lists; it grows if it must, which compiles again.
        skin: of the neighbour list, angstrom.

    Returns:
        The domain, of NumPy arrays, and its capacity.

    Raises:
        InputError: geometry that `find_neighbors` refuses.
    """
    table = find_neighbors(atoms.positions, cell, pbc, reach.cutoff + skin, atoms.ids)
    rows = rows_around(table, np.arange(atoms.own), reach.hops)
    need = needed(table, rows, atoms.own, atoms.positions, cell, reach)
    capacity = enough(capacity, need)
    return padded_domain(table, rows, atoms.own, atoms.numbers, reach, plan, capacity), capacity


def rows_around(
    table: NeighborTable, own: Int[np.ndarray, " own"], hops: int
) -> Int[np.ndarray, " rows"]:
    """The own atoms, in order, and then those up to `hops` hops away."""
    found = np.zeros(len(table.index), bool)
    found[own] = True
    for _ in range(hops):
        found[table.index[found][table.mask[found]]] = True
    found[own] = False
    return np.concatenate([own, np.flatnonzero(found)])


def needed(
    table: NeighborTable,
    rows: Int[np.ndarray, " rows"],
    own: int,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    reach: Reach,
) -> Capacity:
    """Sizes that a domain needs.

    Args:
        table: neighbours of all atoms within cutoff + skin.
        rows: atoms with features, see `rows_around`.
        own: how many of them are own atoms.
        positions: of all atoms, angstrom.
        cell: rows are lattice vectors, angstrom.
        reach: of the model.
    """
    near = table_distances(table, positions, cell, rows) < reach.cutoff * ROUNDING
    crowd = int(near.sum(axis=1).max(initial=0))
    count = len(rows) + len(reach.elements)
    return Capacity(len(positions), own, count, table.index.shape[1], crowd)


def padded_domain(
    table: NeighborTable,
    rows: Int[np.ndarray, " rows"],
    own: int,
    numbers: Int[np.ndarray, " atoms"],
    reach: Reach,
    plan: SumPlan,
    capacity: Capacity,
) -> Domain:
    """The domain of these rows, in NumPy arrays.

    Args:
        table: neighbours of all atoms within cutoff + skin.
        rows: atoms with features, see `rows_around`.
        own: how many of them are own atoms.
        numbers: of all atoms.
        reach: of the model.
        plan: of the electrostatic sum.
        capacity: sizes to pad to.
    """
    count, elements = len(rows), np.asarray(reach.elements)
    # The last rows represent the elements.
    lone = capacity.rows - len(elements)
    row_of = np.full(len(numbers), -1)
    row_of[rows] = np.arange(count)
    sender = np.where(row_of >= 0, row_of, element_rows(numbers, reach, capacity.rows))
    shape = (capacity.rows, capacity.slots)
    itself = np.repeat(np.arange(capacity.rows)[:, None], capacity.slots, axis=1)
    present = _padded(table.mask[rows], shape, False)
    neighbor = _padded(table.index[rows], shape, 0)
    senders = _padded(sender[table.index[rows]], shape, 0)
    row_numbers = _padded(numbers[rows], (capacity.rows,), 0)
    row_numbers[lone:] = elements
    return Domain(
        atom=_padded(rows, (capacity.rows,), 0).astype(np.int32),
        numbers=row_numbers.astype(np.int32),
        own=np.arange(capacity.rows) < own,
        neighbor=neighbor.astype(np.int32),
        sender=np.where(present, senders, itself).astype(np.int32),
        shift=_padded(table.shift[rows], (*shape, 3), 0).astype(np.int32),
        present=present,
        first=capacity.own,
        near=capacity.near,
        plan=plan,
    )


def element_rows(
    numbers: Int[np.ndarray, " atoms"], reach: Reach, rows: int
) -> Int[np.ndarray, " atoms"]:
    """The row that represents the element of each atom; the last of `rows` rows do so.

    Args:
        numbers: atomic numbers.
        reach: of the model.
        rows: how many there are.
    """
    elements = np.asarray(reach.elements)
    by_number = np.zeros(elements.max() + 1, np.int32)
    by_number[elements] = rows - len(elements) + np.arange(len(elements))
    return by_number[numbers]


def enough(capacity: Capacity, need: Capacity) -> Capacity:
    """The capacity, with entries that are too small replaced by ones with room to grow."""
    growth = Capacity(_ROOM, _ROOM, _ROOM, GROWTH, NEAR_GROWTH)
    entries = [
        have if have >= wanted > 0 else _round_up(factor * max(wanted, 1))
        for have, wanted, factor in zip(capacity, need, growth, strict=True)
    ]
    enough = Capacity(*entries)
    rows = max(enough.rows, enough.own)
    return enough._replace(rows=rows, slots=max(enough.slots, enough.near))


def _round_up(value: float) -> int:
    return _MULTIPLE * math.ceil(value / _MULTIPLE)


def _padded(array, shape, value) -> np.ndarray:
    result = np.full(shape, value, np.asarray(array).dtype)
    result[tuple(map(slice, np.shape(array)))] = array
    return result
