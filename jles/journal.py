"""Changes of a file that are made completely or not at all, also if the process is killed.

HDF5 changes a file by several writes, and between them the file may be unreadable. Here HDF5
writes into memory, and its changes reach the file in three steps:

1. New bytes are written after the end of the file. Its old content does not refer to them.
2. Changes of existing bytes are written to a journal beside the file. The journal is renamed to
   its final name when it is complete.
3. The changes of the journal are made in the file, and the journal is removed.

A journal that is found later must be complete; its changes are made again.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from jles.errors import InputError


class Change(NamedTuple):
    """Bytes, and where in the file they begin."""

    start: int
    data: bytes

    def within(self, first: int, last: int) -> "Change":
        """The part between two positions of the file; may be empty."""
        start = min(max(self.start, first), last)
        return Change(start, self.data[start - self.start : max(last - self.start, 0)])


class Overlay(io.RawIOBase):
    """A file with changes in memory: writes are added to them, reads see them.

    Args:
        base: file object of the unchanged file; it is read only.
        changes: later ones overwrite earlier ones.
        size: of the changed file; by default that of `base`.
    """

    def __init__(self, base: BinaryIO, changes=(), size: int | None = None):
        self._base, self.changes = base, list(changes)
        self.old_size = base.seek(0, io.SEEK_END)
        self.size = self.old_size if size is None else size
        self._at, self._kept = 0, min(self.old_size, self.size)

    def readinto(self, buffer) -> int:
        """Fills the buffer; behind the end of the file with zeros, as HDF5 expects."""
        view, first = memoryview(buffer).cast("B"), self._at
        last = first + len(view)
        self._base.seek(first)
        old = self._base.read(max(min(last, self._kept) - first, 0))
        view[:] = old + bytes(len(view) - len(old))
        for change in self.changes:
            if change.start >= last:
                continue
            part = change.within(first, last)
            view[part.start - first : part.start - first + len(part.data)] = part.data
        self._at = last
        return len(view)

    def write(self, data) -> int:
        """Adds a change."""
        self.changes.append(Change(self._at, bytes(data)))
        self._at += len(data)
        self.size = max(self.size, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position; from the start or the end of the file."""
        self._at = offset + (self.size if whence == io.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Cuts or extends the changed file."""
        size = self._at if size is None else size
        if size < self.size:
            self._kept = min(self._kept, size)
            self.changes = [change.within(0, size) for change in self.changes]
        self.size = size
        return size


@contextlib.contextmanager
def changed(path: Path) -> Iterator[Overlay]:
    """A file object whose changes are written to `path` at the end, unless there was an error.

    Raises:
        OSError: the disk is full; the content of the file is as it was.
    """
    found = _read(path)
    if found is not None:
        _finish(path, *found)
    with path.open("rb") as base:
        overlay = Overlay(base)
        yield overlay
    _commit(path, overlay)


@contextlib.contextmanager
def unchanged(path: Path) -> Iterator[Overlay]:
    """A file object to read `path`, with the changes of a journal if there is one."""
    changes, size = _read(path) or ((), None)
    with path.open("rb") as base:
        yield Overlay(base, changes, size)


def journal_of(path: Path) -> Path:
    """The name of the journal of a file."""
    return path.with_name(f"{path.name}.journal")


def _commit(path: Path, overlay: Overlay) -> None:
    end, size = overlay.old_size, overlay.size
    behind = [change.within(end, max(end, size)) for change in overlay.changes]
    within = [change.within(0, end) for change in overlay.changes]
    within = [change for change in within if change.data]
    with path.open("r+b", buffering=0) as file:
        try:
            _apply(file, behind)
            _write(path, within, size)
        except OSError:
            file.truncate(end)
            raise
    _finish(path, within, size)


def _finish(path: Path, changes: list[Change], size: int) -> None:
    """Makes the changes of a complete journal and removes it."""
    with path.open("r+b", buffering=0) as file:
        _apply(file, changes)
        file.truncate(size)
    journal_of(path).unlink()


def _apply(file: io.FileIO, changes: list[Change]) -> None:
    for change in changes:
        rest = memoryview(change.data)
        file.seek(change.start)
        while rest:
            rest = rest[file.write(rest) :]


def _write(path: Path, changes: list[Change], size: int) -> None:
    """Writes a journal: the size of the file, the places of the changes, their bytes."""
    places = [number for change in changes for number in (change.start, len(change.data))]
    head = np.array([len(changes), size, *places], np.int64)
    journal = journal_of(path)
    partial = journal.with_name(f"{journal.name}.partial")
    # Not flushed to the disk: this survives the process, not a power failure.
    partial.write_bytes(b"".join([head.tobytes(), *(change.data for change in changes)]))
    os.replace(partial, journal)


def _read(path: Path) -> tuple[list[Change], int] | None:
    """Changes and size of a journal; None if there is none.

    Raises:
        InputError: the journal is incomplete.
    """
    try:
        raw = journal_of(path).read_bytes()
    except FileNotFoundError:
        return None
    try:
        count, size = np.frombuffer(raw, np.int64, 2).tolist()
        places = np.frombuffer(raw, np.int64, 2 * count, 16).reshape(-1, 2)
        ends = 16 * (count + 1) + np.cumsum(places[:, 1])
        complete = size > 0 and len(raw) == (ends[-1] if count else 16)
    except ValueError:
        complete = False
    if not complete:
        raise InputError(
            f"{journal_of(path)}: is incomplete, as after a power failure; remove it if {path} "
            "can be read without it"
        )
    return [
        Change(start, raw[end - length : end])
        for (start, length), end in zip(places.tolist(), ends.tolist(), strict=True)
    ], size
