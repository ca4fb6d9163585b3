"""The trajectory file: one HDF5 group per kind of record, extended block by block.

The file is closed between blocks. A process that is killed while it computes leaves a complete
file; a process that is killed while it writes may lose the frames of that block.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jles.dynamics.engine import RecordedFrames
from jles.dynamics.records import unit_of
from jles.errors import InputError
from jles.files import HDF5_ERRORS, NO_ROOM, TRAJECTORY_FORMAT, TRAJECTORY_VERSION

_CHUNK_BYTES = 2**16
_METADATA_BYTES = 2**20


class Trajectory:
    """Writes `trajectory.h5`.

    Args:
        path: file to write.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def create(self, attributes: dict, arrays: dict[str, np.ndarray]) -> None:
        """Creates the file with attributes of the root and arrays that do not change."""
        with self._open("w") as file:
            file.attrs.update(
                attributes | {"format": TRAJECTORY_FORMAT, "version": TRAJECTORY_VERSION}
            )
            for name, array in arrays.items():
                file[name] = array
            file["masses"].attrs["unit"] = "u"

    def append(self, frames: dict[str, RecordedFrames], intervals: dict[str, int]) -> None:
        """Appends frames of every kind.

        Raises:
            InputError: the disk is full; earlier frames are intact.
        """
        _reserve(self.path, sum(map(_bytes_of, frames.values())))
        with self._open("a") as file:
            for name, part in frames.items():
                group = file.require_group(name)
                group.attrs["interval"] = intervals[name]
                for key, values in {"step": part.steps, **part.values}.items():
                    _grow(group, key, values)

    def counts(self) -> dict[str, int]:
        """Number of frames of every kind."""
        with self._open("r") as file:
            return _counts(file)

    def truncate(self, counts: dict[str, int]) -> None:
        """Keeps the first frames of every kind, as many as `counts` says.

        Raises:
            InputError: the file has fewer frames.
        """
        with self._open("r+") as file:
            found = _counts(file)
            for name, keep in counts.items():
                if found.get(name, 0) < keep:
                    raise InputError(
                        f"{self.path}: {found.get(name, 0)} frames of /{name}, but the "
                        f"checkpoint counts {keep}; the file was changed and the run cannot be "
                        "resumed"
                    )
            for name in found:
                for dataset in file[name].values():
                    dataset.resize(counts.get(name, 0), axis=0)

    def column(self, kind: str, *keys: str) -> list[np.ndarray]:
        """Whole datasets of one kind; empty arrays if that kind was not recorded."""
        with self._open("r") as file:
            if kind not in file:
                return [np.zeros(0) for _ in keys]
            return [file[kind][key][:] for key in keys]

    def constants(self, names) -> dict[str, np.ndarray]:
        """Those arrays that do not change, by name; absent ones are left out."""
        with self._open("r") as file:
            return {name: file[name][:] for name in names if name in file}

    @contextmanager
    def _open(self, mode: str) -> Iterator:
        import h5py

        try:
            # Without a lock another process may read the file while the run writes it.
            with h5py.File(self.path, mode, locking=False) as file:
                yield file
        except InputError:
            raise
        except HDF5_ERRORS as error:
            raise _as_input_error(self.path, error) from None


def _bytes_of(part: RecordedFrames) -> int:
    """Upper bound of what these frames add to the file."""
    arrays = part.steps, *part.values.values()
    return sum(array.nbytes + 2 * _CHUNK_BYTES + array[:1].nbytes for array in arrays)


def _reserve(path: Path, size: int) -> None:
    """Reserves disk space beyond the end of the file; HDF5 truncates the file on closing it.

    If the disk fills while HDF5 writes, the file can no longer be opened.

    Raises:
        InputError: the disk is full; the file is unchanged.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        before = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), before, size + _METADATA_BYTES)
        except OSError as error:
            os.ftruncate(file.fileno(), before)
            raise _as_input_error(path, error) from None


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
        dataset.attrs["unit"] = unit_of(key)
    dataset = group[key]
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


def _as_input_error(path: Path, error: Exception) -> InputError:
    """The error as one line. HDF5 gives the system's error number only in its text."""
    text = " ".join(str(error).split())
    number = getattr(error, "errno", None)
    full = number in NO_ROOM or any(f"errno = {n}," in text for n in NO_ROOM)
    if full:
        return InputError(
            f"{path}: no space left on the disk; earlier frames are intact: free some space "
            "and --resume"
        )
    return InputError(
        f"{path}: HDF5 cannot read or write it ({text}); if it is damaged, start anew in "
        "another --out"
    )
