"""Survey of a data set, from which the sizes of a model and of its training are chosen."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from jles.data.frames import Frame, LabelKeys, Outline, read_frames, renamed
from jles.data.shards.stored import WholeFrames, only_shards
from jles.errors import InputError
from jles.structures.neighbors import find_neighbors, table_distances

REACH = 6.0
"""Neighbours are counted up to this distance, angstrom."""

_MOST_FRAMES = 40
_MOST_ATOMS = 1000


class Survey(NamedTuple):
    """Sizes, elements, labels and neighbour counts of a data set.

    Attributes:
        frames: how many.
        atoms: average number of atoms in a frame.
        most_atoms: in a frame.
        elements: chemical symbols, by atomic number.
        labels: number of frames that have each label.
        crystals: frames that are periodic in all directions.
        charged: frames whose `total_charge` is not zero.
        distances: of neighbours up to `REACH`, sorted, angstrom.
        sampled_atoms: whose neighbours `distances` holds.
    """

    frames: int
    atoms: float
    most_atoms: int
    elements: tuple[str, ...]
    labels: Counter[str]
    crystals: int
    charged: int
    distances: np.ndarray
    sampled_atoms: int

    def neighbors(self, cutoff: float) -> float:
        """Average number of neighbours of an atom within a cutoff up to `REACH`, angstrom."""
        return float(np.searchsorted(self.distances, cutoff)) / self.sampled_atoms


def survey(files: Sequence[str], keys: LabelKeys = LabelKeys()) -> Survey:  # noqa: B008
    """The survey of files, see `read_frames`, or of one directory of shards.

    Neighbours are counted in up to 40 frames, spread evenly over the data.

    Args:
        files: names.
        keys: names of the labels in the files; those of shards are known.

    Raises:
        InputError: as `read_frames` and `only_shards`; keys are named for shards.
    """
    stored = only_shards(files)
    if stored is None:
        return survey_frames([frame for file in files for frame in read_frames(file, keys)])
    if renamed(keys):
        raise InputError(f"{files[0]}: --labels is for files; shards know their labels")
    return survey_frames(stored, WholeFrames(stored))


def survey_frames(
    frames: Sequence[Frame | Outline], whole: Sequence[Frame] | None = None
) -> Survey:
    """The survey of frames.

    Args:
        frames: all of them.
        whole: the same with positions, where `frames` are outlines.

    Raises:
        InputError: two atoms of a frame are at the same position.
    """
    sizes = [len(frame.numbers) for frame in frames]
    numbers = sorted({int(z) for frame in frames for z in frame.numbers})
    distances, sampled = _distances(frames if whole is None else whole)
    return Survey(
        frames=len(frames),
        atoms=float(np.mean(sizes)),
        most_atoms=max(sizes),
        elements=tuple(chemical_symbols[z] for z in numbers),
        labels=Counter(name for frame in frames for name in frame.labels),
        crystals=sum(bool(frame.pbc.all()) for frame in frames),
        charged=sum(frame.total_charge != 0.0 for frame in frames),
        distances=distances,
        sampled_atoms=sampled,
    )


def _distances(frames: Sequence[Frame]) -> tuple[np.ndarray, int]:
    """Sorted distances of neighbours in a sample of frames, and its number of atoms."""
    every = -(-len(frames) // _MOST_FRAMES)
    found, atoms = [], 0
    for frame in frames[::every]:
        try:
            table = find_neighbors(frame.positions, frame.cell, frame.pbc, REACH)
        except InputError as error:
            raise InputError(f"{frame.source}: {error}") from None
        # The first atoms of a large frame are a sufficient sample of environments.
        first = slice(_MOST_ATOMS)
        apart = table_distances(table, frame.positions, frame.cell, first)
        found.append(apart[np.isfinite(apart)])
        atoms += len(apart)
    return np.sort(np.concatenate(found)), atoms
