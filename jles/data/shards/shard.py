"""Writing and reading the frames of one shard."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from jles.data.frames import Frame
from jles.data.shards.layout import (
    FORMAT,
    REBUILD,
    VERSION,
    check_version,
    label_widths,
)
from jles.errors import InputError
from jles.files import HDF5_ERRORS


def write_shard(path: Path, frames: Sequence[Frame]) -> None:
    """Writes frames that have the same labels, all with a state or all without."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "frames": len(frames)})
        for name in _arrays(frames[0]):
            parts = [_arrays(frame)[name] for frame in frames]
            file.create_dataset(name, data=np.concatenate(parts))


def checksum(frame: Frame) -> int:
    """CRC-32 of the arrays of a frame that its shard holds."""
    value = 0
    for name, array in sorted(_arrays(frame).items()):
        value = zlib.crc32(np.ascontiguousarray(array), zlib.crc32(name.encode(), value))
    return value


def _arrays(frame: Frame) -> dict[str, np.ndarray]:
    """The arrays of a frame in a shard, with a first axis of atoms or of one frame."""
    arrays = {
        "numbers": np.asarray(frame.numbers, np.uint8),
        "positions": np.asarray(frame.positions, np.float64),
    }
    if frame.state is not None:
        count = len(frame.numbers)
        arrays["state"] = np.broadcast_to(np.asarray(frame.state, np.float64), (count,))
    for name, value in frame.labels.items():
        per_atom, shape = label_widths()[name]
        rows = len(frame.numbers) if per_atom else 1
        arrays[f"labels/{name}"] = np.asarray(value, np.float64).reshape(rows, *shape)
    return arrays


class Shard:
    """An open shard. Frames are read one at a time, wherever they are."""

    def __init__(self, path: Path):
        self._path = Path(path)
        try:
            self._file = h5py.File(path, "r")
        except HDF5_ERRORS as error:
            raise self._damaged(error) from None
        try:
            check_version(self._file, path)
            labels = self._file.get("labels", {})
            self._labels = {name: labels[name] for name in sorted(labels)}
            self._numbers, self._positions = self._file["numbers"], self._file["positions"]
            self._state = self._file.get("state")
        except HDF5_ERRORS as error:
            self._file.close()
            raise self._damaged(error) from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def read(self, row: int, first: int, atoms: int, checked: int, **known) -> Frame:
        """One frame.

        Args:
            row: its place among the frames.
            first: place of its first atom.
            atoms: how many it has.
            checked: its checksum.
            **known: fields of `Frame` that the index holds.

        Raises:
            InputError: the file is damaged; names it and the frame.
        """
        part = slice(first, first + atoms)
        try:
            labels = {}
            for name, values in self._labels.items():
                per_atom, _ = label_widths()[name]
                labels[name] = values[part] if per_atom else np.asarray(values[row])
            numbers = self._numbers[part].astype(np.int32)
            positions = self._positions[part]
            state = None if self._state is None else self._state[part]
        except HDF5_ERRORS as error:
            raise self._damaged(error) from None
        frame = Frame(numbers=numbers, positions=positions, labels=labels, state=state, **known)
        if checksum(frame) != checked:
            raise InputError(
                f"{self._path}: damaged at its frame {row} ({known['source']}); {REBUILD}"
            )
        return frame

    def _damaged(self, error) -> InputError:
        if isinstance(error, InputError):
            return error
        reason = " ".join(str(error).split())[:120]
        return InputError(f"{self._path}: damaged ({reason}); {REBUILD}")
