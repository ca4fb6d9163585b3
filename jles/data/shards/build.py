"""Building the shards of a data set in one pass over its files, in bounded memory."""

import hashlib
import os
import secrets
import shutil
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jles.data.frames import Frame, LabelKeys, absent, missing_label
from jles.data.selections import first_repeated
from jles.data.shards.layout import (
    CUTOFFS,
    INDEX,
    TYPES,
    Columns,
    Index,
    label_widths,
    shard_name,
    write_index,
)
from jles.data.shards.shard import checksum, write_shard
from jles.data.shards.sources import frames_of, vars_of
from jles.errors import InputError
from jles.files import NO_ROOM, unwritable
from jles.follow import ProgressBar
from jles.structures.labels import whole_labels
from jles.structures.neighbors import find_neighbors, table_distances
from jles.structures.planned import slab_extent

SHARD_BYTES = 64 * 2**20
"""Bytes of a shard; a few times as much is held in memory while shards are built."""

_ELEMENTS = 119


def build_shards(
    files: Sequence[str],
    out,
    keys: LabelKeys = LabelKeys(),  # noqa: B008 (immutable)
    cutoffs: Sequence[float] = CUTOFFS,
    shard_bytes: int = SHARD_BYTES,
    need: Sequence[str] = (),
) -> Index:
    """Writes the frames of files as a directory of shards.

    The directory appears under its name when it is complete.

    Args:
        files: see `frames_of`.
        out: the directory, which must not exist.
        keys: names of the labels in the files.
        cutoffs: for which neighbours are counted, angstrom.
        shard_bytes: approximate size of a shard.
        need: names of `LabelKeys` that at least one frame must have.

    Raises:
        InputError: a frame that cannot be read or whose state is no label of atoms (named), a
            directory that exists, a cutoff that is not positive, a label of `need` that no
            frame has, files with common frames, a full disk.
    """
    repeated = first_repeated(list(map(str, files)))
    if repeated is not None:
        raise InputError(f"{repeated}: names frames that an earlier file has; name each once")

    def numbered():
        stored = {*label_widths(), "total_charge", "state"}
        missing = [name for name in need if name in stored]
        with ProgressBar("file", len(files), brief=True) as bar:
            for number, file in enumerate(files):
                for count, frame in enumerate(frames_of(file, keys)):
                    missing = absent(missing, [frame])
                    yield number, count, frame
                bar.update(number + 1)
        for name in missing:
            raise InputError(missing_label(", ".join(map(str, files)), name, keys))

    return write_shards(numbered(), out, files, vars_of(keys), cutoffs, shard_bytes)


def write_shards(
    frames: Iterable[tuple[int, int, Frame]],
    out,
    files: Sequence[str],
    keys: dict[str, str],
    cutoffs: Sequence[float] = CUTOFFS,
    shard_bytes: int = SHARD_BYTES,
) -> Index:
    """As `build_shards`, from tuples (file, number in the file, frame)."""
    out = Path(out)
    if out.exists():
        raise InputError(f"{out}: exists already; choose another directory")
    if not cutoffs or not all(0.0 < cutoff < np.inf for cutoff in cutoffs):
        raise InputError(f"cutoffs must be positive (angstrom), got {list(cutoffs)}")
    work = out.with_name(f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise unwritable(out, error) from None
    try:
        builder = _Builder(
            work, tuple(sorted(set(cutoffs))), shard_bytes, keys.get("state", "state")
        )
        for file, number, frame in frames:
            builder.add(file, number, frame)
        index = builder.finish(tuple(map(str, files)), keys)
        write_index(work / INDEX, index)
        os.replace(work, out)
    except OSError as error:
        if error.errno not in NO_ROOM and not isinstance(error, PermissionError):
            raise
        raise unwritable(out, error) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return index


class _Pending(NamedTuple):
    """Frames of one kind that wait to be written, and their places in the index."""

    frames: list[Frame]
    places: list[int]


class _Builder:
    """Collects frames and writes a shard whenever enough of one kind have come."""

    def __init__(
        self, folder: Path, cutoffs: tuple[float, ...], shard_bytes: int, state_key: str
    ):
        self._folder, self._cutoffs, self._limit = folder, cutoffs, shard_bytes
        self._state_key = state_key
        self._names = tuple(label_widths())
        self._columns = {
            # Typed arrays: an index of millions of frames is built in little memory.
            name: array(np.dtype(TYPES[name]).char)
            for name in TYPES
        }
        self._pending: dict[tuple, _Pending] = {}
        self._bytes: dict[tuple, int] = {}
        self._shards: list[tuple[str, int, str]] = []
        self._formulas: dict[bytes, int] = {}
        self._cells: dict[bytes, int] = {}
        self._distances = np.full((_ELEMENTS, _ELEMENTS), np.inf)

    def add(self, file: int, number: int, frame: Frame) -> None:
        """Adds one more frame, behind all others."""
        frame = replace(frame, state=_state(frame, self._state_key))
        try:
            found = self._neighbors(frame)
        except InputError as error:
            raise InputError(f"{frame.source}: {error}") from None
        counts = np.bincount(frame.numbers, minlength=_ELEMENTS).astype(np.int32)
        cell = np.append(np.asarray(frame.cell, np.float64).reshape(-1), frame.pbc)
        has = sum(1 << n for n, name in enumerate(self._names) if name in frame.labels)
        row = {
            "shard": -1,
            "first": -1,
            "row": -1,
            "checksum": checksum(frame),
            "atoms": len(frame.numbers),
            "formula": self._formulas.setdefault(counts.tobytes(), len(self._formulas)),
            "cell": self._cells.setdefault(cell.tobytes(), len(self._cells)),
            "total_charge": frame.total_charge,
            "gives_charge": frame.gives_charge,
            "energy": float(frame.labels.get("energy", np.nan)),
            "labels": has,
            "extent": slab_extent(frame.positions, frame.cell, frame.pbc),
            "file": file,
            "number": number,
            **found,
        }
        place = len(self._columns["atoms"])
        for name, value in row.items():
            column = self._columns[name]
            column.extend(value) if isinstance(value, list) else column.append(value)
        kind = has, frame.state is not None
        pending = self._pending.setdefault(kind, _Pending([], []))
        pending.frames.append(frame)
        pending.places.append(place)
        self._bytes[kind] = self._bytes.get(kind, 0) + _size(frame)
        if self._bytes[kind] >= self._limit or sum(self._bytes.values()) >= 2 * self._limit:
            self._write(max(self._bytes, key=self._bytes.get))

    def finish(self, files: tuple[str, ...], keys: dict[str, str]) -> Index:
        """Writes what is left; returns the index."""
        for kind in list(self._pending):
            self._write(kind)
        count = len(self._columns["atoms"])
        columns = {
            name: np.array(values, TYPES[name]).reshape(
                (count, -1) if name in ("neighbors", "edges") else (count,)
            )
            for name, values in self._columns.items()
        }
        formulas = _table(self._formulas, np.int32, _ELEMENTS)
        elements = np.flatnonzero(formulas.any(axis=0))
        cells = _table(self._cells, np.float64, 12)
        return Index(
            columns=Columns(**columns),
            cutoffs=self._cutoffs,
            labels=self._names,
            keys=dict(keys),
            elements=elements.astype(np.int32),
            formulas=formulas[:, elements],
            cells=cells[:, :9].reshape(-1, 3, 3),
            pbc=cells[:, 9:].astype(bool),
            files=files,
            distances=self._distances[np.ix_(elements, elements)],
            shards=tuple(self._shards),
        )

    def _neighbors(self, frame: Frame) -> dict:
        """Neighbour counts for every cutoff, and the shortest distance."""
        table = find_neighbors(frame.positions, frame.cell, frame.pbc, self._cutoffs[-1])
        apart = table_distances(table, frame.positions, frame.cell)
        numbers = frame.numbers
        pairs = np.broadcast_to(numbers[:, None], apart.shape), numbers[table.index]
        np.minimum.at(self._distances, pairs, apart)
        # A search may round the distance of a pair at the cutoff differently.
        limits = [cutoff * (1.0 + 1e-9) for cutoff in self._cutoffs]
        counts = [np.sum(apart < limit, axis=1) for limit in limits]
        return {
            "shortest": float(apart.min(initial=np.inf)),
            "neighbors": [int(found.max()) for found in counts],
            "edges": [int(found.sum()) for found in counts],
        }

    def _write(self, kind: tuple) -> None:
        frames, places = self._pending.pop(kind)
        del self._bytes[kind]
        number = len(self._shards)
        path = self._folder / shard_name(number)
        write_shard(path, frames)
        first = 0
        for row, (frame, place) in enumerate(zip(frames, places, strict=True)):
            self._columns["shard"][place] = number
            self._columns["first"][place] = first
            self._columns["row"][place] = row
            first += len(frame.numbers)
        self._shards.append((path.name, path.stat().st_size, digest(path)))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(rows: dict[bytes, int], dtype, width: int) -> np.ndarray:
    return np.frombuffer(b"".join(rows), dtype).reshape(-1, width)


def _state(frame: Frame, key: str):
    """The label of every atom, or None where there is none.

    Raises:
        InputError: no labels of atoms; names the frame and the option for another key.
    """
    if frame.state is None:
        return None
    try:
        return whole_labels(frame.state, len(frame.numbers), key)
    except InputError as error:
        raise InputError(
            f"{frame.source}: {error}; --labels state=NAME takes another key, or none if no "
            "frame has NAME"
        ) from None


def _size(frame: Frame) -> int:
    labels = sum(np.asarray(value).nbytes for value in frame.labels.values())
    return frame.positions.nbytes + frame.numbers.nbytes + labels
