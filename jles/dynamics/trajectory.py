"""The trajectory file: one HDF5 group for every kind of record, grown block by block.

The file is closed between blocks, so that a process that is killed while it computes leaves a
whole one; one that is killed while it writes may lose the frames of that block.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jles.dynamics.engine import Frames
from jles.dynamics.records import UNITS
from jles.errors import InputError
from jles.files import NO_ROOM, TRAJECTORY_FORMAT, TRAJECTORY_VERSION

_CHUNK_BYTES = 2**16
_METADATA_BYTES = 2**20


class Trajectory:
    """Writes `trajectory.h5`.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def create(self, attributes: dict, arrays: dict[str, np.ndarray]) -> None:
        """A new file with what does not change: attributes of the root, and arrays in it."""
        with self._open("w") as file:
            file.attrs.update(
                attributes | {"format": TRAJECTORY_FORMAT, "version": TRAJECTORY_VERSION}
            )
            for name, array in arrays.items():
                file[name] = array
            file["masses"].attrs["unit"] = "u"

    def append(self, frames: dict[str, Frames], intervals: dict[str, int]) -> None:
        """Adds frames of every kind.

        Raises:
            InputError: the disk is full; what was there before is as it was.
        """
        _reserve(self.path, sum(map(_bytes_of, frames.values())))
        with self._open("a") as file:
            for name, part in frames.items():
                group = file.require_group(name)
                group.attrs["interval"] = intervals[name]
                for key, values in {"step": part.steps, **part.values}.items():
                    _grow(group, key, values)

    def counts(self) -> dict[str, int]:
        """Frames of every kind."""
        with self._open("r") as file:
            return _counts(file)

    def truncate(self, counts: dict[str, int]) -> None:
        """Keeps only the first so many frames of every kind.

        Raises:
            InputError: there are fewer.
        """
        with self._open("a") as file:
            for name, have in _counts(file).items():
                keep = counts.get(name, 0)
                if have < keep:
                    raise InputError(
                        f"{self.path}: {have} frames of /{name}, but the checkpoint counts {keep}; "
                        "the file was changed: it cannot be resumed"
                    )
                for dataset in file[name].values():
                    dataset.resize(keep, axis=0)

    def column(self, kind: str, *keys: str) -> list[np.ndarray]:
        """Whole datasets of one kind; empty where there is none."""
        with self._open("r") as file:
            if kind not in file:
                return [np.zeros(0) for _ in keys]
            return [file[kind][key][:] for key in keys]

    @contextmanager
    def _open(self, mode: str) -> Iterator:
        import h5py

        try:
            # Someone who looks at the file while it grows must not stop the run.
            with h5py.File(self.path, mode, locking=False) as file:
                yield file
        except (OSError, RuntimeError) as error:
            raise _in_words(self.path, error) from None


def _bytes_of(part: Frames) -> int:
    """Most that these frames can add to the file."""
    arrays = part.steps, *part.values.values()
    return sum(array.nbytes + 2 * _CHUNK_BYTES + array[:1].nbytes for array in arrays)


def _reserve(path: Path, size: int) -> None:
    """Makes sure of room beyond the end of the file, which HDF5 gives back when it closes it.

    HDF5 that runs out of room in the middle of writing leaves a file that nobody can open.

    Raises:
        InputError: there is no room; the file is as it was.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        before = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), before, size + _METADATA_BYTES)
        except OSError as error:
            os.ftruncate(file.fileno(), before)
            raise _in_words(path, error) from None


def _counts(file) -> dict[str, int]:
    return {name: len(group["step"]) for name, group in file.items() if "step" in group}


def _grow(group, key: str, values: np.ndarray) -> None:
    if key not in group:
        shape = values.shape[1:]
        frame_bytes = max(1, int(np.prod(shape)) * values.dtype.itemsize)
        chunk = max(1, min(1024, _CHUNK_BYTES // frame_bytes))
        dataset = group.create_dataset(
            key, (0, *shape), values.dtype, maxshape=(None, *shape), chunks=(chunk, *shape)
        )
        dataset.attrs["unit"] = UNITS.get(key, "1")
    dataset = group[key]
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


def _in_words(path: Path, error: Exception) -> InputError:
    """HDF5 hides the system's error number in its text, and not always."""
    text = " ".join(str(error).split())
    number = getattr(error, "errno", None)
    full = number in NO_ROOM or any(f"errno = {n}," in text for n in NO_ROOM)
    if full:
        return InputError(
            f"{path}: no room left on the disk; the frames written before are in the file: free "
            "some space and --resume"
        )
    return InputError(f"{path}: HDF5 cannot read or write it ({text})")
