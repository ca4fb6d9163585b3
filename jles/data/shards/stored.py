"""The frames of a directory of shards, of which only the index is in memory."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from jles.data.frames import Frame, LabelKeys, Outline, read_frames
from jles.data.shards.build import digest
from jles.data.shards.layout import INDEX, REBUILD, Index, is_shards, read_index
from jles.data.shards.shard import Shard
from jles.errors import InputError
from jles.structures.distances import DistanceRange

_OPEN = 64
"""Shards that are kept open."""


class StoredFrames(Sequence[Outline]):
    """Frames of a directory of shards, in the order of the files that they came from.

    Items are outlines, which need no reading. It can be sent to another process.

    Args:
        folder: the directory.

    Attributes:
        folder: the directory.
        index: of all frames in it.
        chosen: places in the index of the frames that belong to this sequence.

    Raises:
        InputError: as `read_index`.
    """

    def __init__(self, folder, index: Index | None = None, chosen: np.ndarray | None = None):
        self.folder = Path(folder)
        self.index = read_index(folder) if index is None else index
        self.chosen = np.arange(len(self.index)) if chosen is None else chosen
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, n) -> Outline:
        place = int(self.chosen[n])
        columns = self.index.columns
        counts = self.index.formulas[columns.formula[place]]
        has = columns.labels[place]
        labels = {name: None for bit, name in enumerate(self.index.labels) if has >> bit & 1}
        if "energy" in labels:
            labels["energy"] = np.asarray(columns.energy[place])
        return Outline(
            np.repeat(self.index.elements, counts), labels=labels, **self._known(place)
        )

    def __getstate__(self):
        return self.__dict__ | {"_open": OrderedDict()}

    def reopened(self) -> "StoredFrames":
        """The same frames, read through files of its own, for another thread."""
        return StoredFrames(self.folder, self.index, self.chosen)

    def distinct(self) -> "StoredFrames":
        """One frame of each kind: formula, cell, charge and labels."""
        kinds = np.stack(
            [self.column(name) for name in ("formula", "cell", "labels", "total_charge")]
        )
        _, first = np.unique(kinds, axis=1, return_index=True)
        return self.take(np.sort(first))

    def take(self, places: np.ndarray) -> "StoredFrames":
        """The frames at these places of this sequence."""
        return StoredFrames(self.folder, self.index, self.chosen[places])

    def read(self, n: int) -> Frame:
        """The frame with number `n` of this sequence.

        Raises:
            InputError: its shard is damaged, of another version or gone.
        """
        place, columns = int(self.chosen[n]), self.index.columns
        return self._shard(int(columns.shard[place])).read(
            row=int(columns.row[place]),
            first=int(columns.first[place]),
            atoms=int(columns.atoms[place]),
            checked=int(columns.checksum[place]),
            gives_charge=bool(columns.gives_charge[place]),
            **self._known(place),
        )

    def column(self, name: str) -> np.ndarray:
        """A column of the index, of the frames of this sequence."""
        return getattr(self.index.columns, name)[self.chosen]

    def counts(self, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
        """Most neighbours of an atom, and sum of all neighbours, of every frame.

        Between two cutoffs of the index, the larger one gives an upper bound.

        Raises:
            InputError: the cutoff is larger than all of the index.
        """
        cutoffs = self.index.cutoffs
        at = int(np.searchsorted(cutoffs, cutoff))
        if at == len(cutoffs):
            known = ", ".join(f"{value:g}" for value in cutoffs)
            raise InputError(
                f"{self.folder}: neighbours were counted within {known} angstrom, the model's "
                f"cutoff is {cutoff:g}; build the shards again with --cutoff {cutoff:g}"
            )
        return self.column("neighbors")[:, at], self.column("edges")[:, at]

    def check(self) -> None:
        """Compares every shard with its SHA-256.

        Raises:
            InputError: the first shard that differs.
        """
        for name, _, expected in self.index.shards:
            if digest(self.folder / name) != expected:
                raise InputError(f"{self.folder / name}: its SHA-256 has changed; {REBUILD}")

    def digest(self) -> str:
        """A short digest of the index, which holds that of every shard."""
        return digest(self.folder / INDEX)[:16]

    def distance_range(self, cutoff: float) -> DistanceRange:
        """Shortest distances within a cutoff, angstrom.

        Those of two elements are of all frames of the directory, also of others than these: the
        index has them for the whole. The shortest distance of a structure is of these frames.
        """
        found = self.index.distances
        shortest = np.zeros((len(chemical_symbols),) * 2)
        places = np.ix_(self.index.elements, self.index.elements)
        shortest[places] = np.where(found < cutoff, found, 0.0)
        nearest = self.column("shortest")
        return DistanceRange(shortest, float(nearest.max(where=nearest < cutoff, initial=0.0)))

    def _known(self, place: int) -> dict:
        columns, cell = self.index.columns, self.index.columns.cell[place]
        file = self.index.files[columns.file[place]]
        return {
            "cell": self.index.cells[cell],
            "pbc": self.index.pbc[cell],
            "total_charge": float(columns.total_charge[place]),
            "source": f"{file}, frame {columns.number[place]}",
        }

    def _shard(self, number: int) -> Shard:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= _OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[number] = Shard(self.folder / self.index.shards[number][0])
        return self._open[number]


class WholeFrames(Sequence[Frame]):
    """Stored frames as a sequence of `Frame`, each read when it is asked for.

    Args:
        stored: the frames.
    """

    def __init__(self, stored: StoredFrames):
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, n):
        if isinstance(n, slice):
            return WholeFrames(self._stored.take(np.arange(len(self))[n]))
        return self._stored.read(n)


def only_shards(files: Sequence[str]) -> StoredFrames | None:
    """The frames of a directory of shards that is the only one of `files`; None for files.

    Raises:
        InputError: shards beside others, or as `StoredFrames`.
    """
    shards = [file for file in files if is_shards(file)]
    if not shards:
        return None
    if len(files) > 1:
        raise InputError(
            f"{shards[0]}: is a directory of shards and must stand alone; "
            "jles data build takes any number of files"
        )
    return StoredFrames(files[0])


def open_frames(path, keys: LabelKeys) -> Sequence[Frame]:
    """The frames of a file, or of a directory of shards, which are read one at a time.

    Args:
        path: of the file or directory.
        keys: names of the labels in a file; those of shards were named when they were built.

    Raises:
        InputError: as `read_frames` and `StoredFrames`.
    """
    return WholeFrames(StoredFrames(path)) if is_shards(path) else read_frames(path, keys)
