"""Shortest distances between atoms: what a training set holds, and structures outside it."""

from collections.abc import Iterable
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float

from jles.errors import InputError
from jles.structures.structure import Structure

TOO_CLOSE = 0.8
"""Pairs closer than this times the shortest distance in the training data are reported."""

TOO_FAR = 1.5
"""So are structures whose shortest distance exceeds that of all training data by this."""

_TABLE = len(chemical_symbols)


class DistanceRange(NamedTuple):
    """Shortest distances in a data set, angstrom.

    Attributes:
        shortest: between atoms of two elements, by both atomic numbers; zero for pairs that no
            structure has.
        sparsest: the largest that the shortest distance of a structure is; zero if no structure
            has neighbours.
    """

    shortest: Float[np.ndarray, "elements elements"]
    sparsest: float

    def record(self) -> dict:
        """As plain values, by pairs of symbols."""
        pairs = combinations_with_replacement(np.flatnonzero(self.shortest.any(axis=1)), 2)
        names = {f"{chemical_symbols[a]}-{chemical_symbols[b]}": (a, b) for a, b in pairs}
        shortest = {
            name: round(float(self.shortest[pair]), 4)
            for name, pair in names.items()
            if self.shortest[pair] > 0.0
        }
        return {"shortest": shortest, "sparsest": round(self.sparsest, 4)}


def read_range(record: dict) -> DistanceRange | None:
    """The inverse of `DistanceRange.record`; None for an empty record, as old models have.

    Raises:
        InputError: it is no such record.
    """
    if not record:
        return None
    shortest = np.zeros((_TABLE, _TABLE))
    try:
        for name, value in record["shortest"].items():
            a, b = (atomic_numbers[symbol] for symbol in name.split("-"))
            shortest[a, b] = shortest[b, a] = value
        return DistanceRange(shortest, float(record["sparsest"]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"damaged ({type(error).__name__}: {error})") from None


def distance_range(structures: Iterable[Structure]) -> DistanceRange:
    """The range of structures on the host; neighbours beyond the cutoff are not seen."""
    shortest, sparsest = np.full((_TABLE, _TABLE), np.inf), 0.0
    for structure in structures:
        i, j, distances = edges(structure)
        if len(distances):
            numbers = np.asarray(structure.numbers)
            np.minimum.at(shortest, (numbers[i], numbers[j]), distances)
            sparsest = max(sparsest, float(distances.min()))
    return DistanceRange(np.where(np.isfinite(shortest), shortest, 0.0), sparsest)


def merged_range(one: DistanceRange, other: DistanceRange) -> DistanceRange:
    """The range of two data sets together."""
    both = (one.shortest > 0.0) & (other.shortest > 0.0)
    least, most = (f(one.shortest, other.shortest) for f in (np.minimum, np.maximum))
    return DistanceRange(np.where(both, least, most), max(one.sparsest, other.sparsest))


def outside(structure: Structure, known: DistanceRange) -> str | None:
    """Says how far a structure on the host is outside the range; None if it is inside."""
    i, j, distances = edges(structure)
    numbers = np.asarray(structure.numbers)
    if len(distances) == 0:
        is_sparse = np.count_nonzero(structure.mask) > 1 and known.sparsest > 0.0
        return "no atom has a neighbour within the cutoff" if is_sparse else None
    limits = known.shortest[numbers[i], numbers[j]]
    close = np.flatnonzero(distances < TOO_CLOSE * limits)
    if len(close):
        worst = close[np.argmin(distances[close] / limits[close])]
        pair = "-".join(
            chemical_symbols[z] for z in sorted((numbers[i[worst]], numbers[j[worst]]))
        )
        return (
            f"the {pair} distance of atoms {i[worst]} and {j[worst]} is "
            f"{distances[worst]:.3g} angstrom; it is at least {limits[worst]:.3g} in the "
            "training data"
        )
    if 0.0 < TOO_FAR * known.sparsest < distances.min():
        return (
            f"the shortest distance is {distances.min():.3g} angstrom; it is at most "
            f"{known.sparsest:.3g} in every structure of the training data"
        )
    return None


def edges(structure: Structure):
    """Receivers, senders and distances (angstrom) of all neighbours of a structure, NumPy."""
    i, slot = np.nonzero(structure.neighbor_mask)
    j = np.asarray(structure.neighbor_index)[i, slot]
    positions = np.asarray(structure.positions)
    cell = np.asarray(structure.cell)
    shift = np.asarray(structure.neighbor_shift)[i, slot].astype(cell.dtype) @ cell
    return i, j, np.linalg.norm(positions[j] + shift - positions[i], axis=1)
