"""Distances: units by plausibility, short pairs, atoms on the same spot."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from jles.data.check.remark import Remark, some
from jles.data.frames import Frame
from jles.errors import InputError
from jles.structures.doubts import doubtful_unit, nearest_over_radii
from jles.structures.neighbors import find_neighbors

_REACH = 3.0
"""Nearest neighbours are looked for up to this distance, angstrom."""

_SHORT = 0.6
_MANY_ATOMS = 200


class Distances(NamedTuple):
    """Short distances of a data set.

    Attributes:
        pairs: by "A-B", all distances up to 3 angstrom.
        nearest: distance of the nearest neighbour over the sum of the covalent radii, for every
            atom that has one within 3 angstrom.
        alone: number of atoms without one.
        usable: for every frame, whether no two atoms are on the same spot.
        remarks: on atoms on the same spot and on distances shorter than bonds.
    """

    pairs: dict[str, np.ndarray]
    nearest: np.ndarray
    alone: int
    usable: list[bool]
    remarks: list[Remark]


def measure(frames: Sequence[Frame]) -> Distances:
    """Distances of all frames."""
    pairs, nearest, alone, usable, remarks, short = {}, [], 0, [], [], []
    for frame in frames:
        try:
            table = find_neighbors(frame.positions, frame.cell, frame.pbc, _REACH)
        except InputError as error:
            remarks.append(Remark(f"{frame.source}: {error}", serious=True))
            usable.append(False)
            continue
        usable.append(True)
        here = np.broadcast_to(np.arange(len(frame.numbers))[:, None], table.index.shape)
        i, j = here[table.mask], table.index[table.mask]
        there = frame.positions[j] + table.shift[table.mask] @ frame.cell
        apart = np.linalg.norm(there - frame.positions[i], axis=-1)
        nearest.append(nearest_over_radii(frame.numbers, i, j, apart))
        alone += len(frame.numbers) - len(nearest[-1])
        _collect(pairs, frame.numbers, i, j, apart)
        radii = covalent_radii[frame.numbers]
        ratio = apart / (radii[i] + radii[j])
        if len(ratio) and ratio.min() < _SHORT:
            worst = np.argmin(ratio)
            short.append(
                (ratio[worst], _pair_in_words(frame, i[worst], j[worst], apart[worst]))
            )
    if short:
        # Ascending order: the shortest are named.
        texts = [text for _, text in sorted(short)]
        remarks.append(
            Remark(f"{len(short)} frames have pairs much shorter than a bond: {some(texts)}")
        )
    joined = {name: np.concatenate(parts) for name, parts in sorted(pairs.items())}
    found = np.concatenate(nearest) if nearest else np.zeros(0)
    return Distances(joined, found, alone, usable, remarks)


def _pair_in_words(frame, i, j, apart) -> str:
    symbols = [f"{chemical_symbols[frame.numbers[n]]} {n}" for n in (i, j)]
    return f"{frame.source} ({symbols[0]} and {symbols[1]}, {apart:.2f} angstrom)"


def _collect(pairs, numbers, i, j, apart) -> None:
    """Adds the distances of a frame, each pair once, to those of its elements."""
    once = i <= j
    low, high = np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])
    for a, b in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        name = f"{chemical_symbols[a]}-{chemical_symbols[b]}"
        pairs.setdefault(name, []).append(apart[once & (low == a) & (high == b)])


def units_of_length(distances: Distances) -> Iterator[Remark]:
    """Doubts about the unit of the positions, from the nearest neighbours."""
    if len(distances.nearest) < distances.alone:
        yield Remark(
            f"{distances.alone} atoms have no neighbour within 3 angstrom: are they isolated, "
            "or are positions in bohr (0.529177 angstrom)?"
        )
    if doubt := doubtful_unit(distances.nearest):
        yield Remark(doubt)


def boundaries(frames: Sequence[Frame]) -> Iterator[Remark]:
    """Doubts about cells and periodic directions."""
    wires = [frame.source for frame in frames if frame.pbc.sum() == 1]
    if wires:
        yield Remark(
            f"{len(wires)} frames are periodic in one direction, which no sum of jles "
            f"supports: {some(wires)}",
            serious=True,
        )
    boxed = [f.source for f in frames if not f.pbc.any() and abs(np.linalg.det(f.cell)) > 1.0]
    if boxed:
        yield Remark(
            f"{len(boxed)} frames have a cell but pbc F F F; they are read as molecules in "
            f"vacuum: {some(boxed)}"
        )
    bare = [f for f in frames if not f.pbc.any() and not f.cell.any()]
    large = [frame.source for frame in bare if len(frame.numbers) > _MANY_ATOMS]
    if large:
        yield Remark(
            f"{len(large)} frames of more than {_MANY_ATOMS} atoms have no cell; is it "
            f"missing? {some(large)}"
        )
    if bare and len(bare) < len(frames):
        names = some(frame.source for frame in bare)
        yield Remark(
            f"{len(bare)} of {len(frames)} frames have no cell; is it missing? {names}"
        )


def duplicates(frames: Sequence[Frame]) -> Iterator[Remark]:
    """Frames with the same atoms at the same places, to 1e-4 angstrom."""
    first, same, different = {}, [], []
    for frame in frames:
        twin = first.setdefault(_fingerprint(frame), frame)
        if twin is frame:
            continue
        text = f"{frame.source} = {twin.source}"
        (same if _same_labels(frame, twin) else different).append(text)
    if different:
        yield Remark(
            f"{len(different)} frames repeat a structure with other labels: {some(different)}",
            serious=True,
        )
    if same:
        yield Remark(
            f"{len(same)} frames are duplicates; training and validation may share them: "
            f"{some(same)}"
        )


def _fingerprint(frame: Frame):
    # Adding zero turns -0.0 into 0.0.
    places = np.round(frame.positions, 4) + 0.0
    cell = np.round(frame.cell, 4) + 0.0
    state = str(frame.state)
    parts = (frame.numbers, places, cell, frame.pbc)
    return (*(part.tobytes() for part in parts), frame.total_charge, state)


def _same_labels(one: Frame, other: Frame) -> bool:
    """Whether the labels that both have agree to 1e-4 of eV per atom, eV/angstrom, ..."""
    for name in one.labels.keys() & other.labels.keys():
        scale = len(one.numbers) if name == "energy" else 1
        if np.max(np.abs(one.labels[name] - other.labels[name])) > 1e-4 * scale:
            return False
    return True
