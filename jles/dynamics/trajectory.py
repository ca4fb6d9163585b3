"""The trajectory file: one HDF5 group per kind of record, extended block by block.

The file is closed between blocks, and `jles.journal` makes every change of it completely or not
at all. A process that is killed at any moment leaves all frames of earlier blocks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jles.dynamics.engine import RecordedFrames
from jles.dynamics.records import unit_of
from jles.errors import InputError
from jles.files import (
    HDF5_ERRORS,
    NO_ROOM,
    TRAJECTORY_FORMAT,
    TRAJECTORY_VERSION,
    atomic_path,
)
from jles.journal import changed, journal_of, unchanged

_CHUNK_BYTES = 2**16


class Trajectory:
    """Writes `trajectory.h5`.

    Args:
        path: file to write.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def create(self, attributes: dict, arrays: dict[str, np.ndarray]) -> None:
        """Creates the file with attributes of the root and arrays that do not change."""
        journal_of(self.path).unlink(missing_ok=True)
        with self._errors(), atomic_path(self.path) as new, _hdf5(new, "w") as file:
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
        with self._changed() as file:
            for name, part in frames.items():
                group = file.require_group(name)
                group.attrs["interval"] = intervals[name]
                for key, values in {"step": part.steps, **part.values}.items():
                    _grow(group, key, values)

    def counts(self) -> dict[str, int]:
        """Number of frames of every kind."""
        with self._read() as file:
            return _counts(file)

    def truncate(self, counts: dict[str, int]) -> None:
        """Keeps the first frames of every kind, as many as `counts` says.

        Raises:
            InputError: the file has fewer frames.
        """
        with self._changed() as file:
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
        with self._read() as file:
            if kind not in file:
                return [np.zeros(0) for _ in keys]
            return [file[kind][key][:] for key in keys]

    def constants(self, names) -> dict[str, np.ndarray]:
        """Those arrays that do not change, by name; absent ones are left out."""
        with self._read() as file:
            return {name: file[name][:] for name in names if name in file}

    @contextmanager
    def _changed(self) -> Iterator:
        with self._errors(), changed(self.path) as raw, _hdf5(raw, "r+") as file:
            yield file

    @contextmanager
    def _read(self) -> Iterator:
        with self._errors(), unchanged(self.path) as raw, _hdf5(raw, "r") as file:
            yield file

    @contextmanager
    def _errors(self) -> Iterator:
        try:
            yield
        except InputError:
            raise
        except HDF5_ERRORS as error:
            raise _as_input_error(self.path, error) from None


def _hdf5(file, mode: str):
    import h5py

    # Without a lock another process may read the file while the run writes it.
    return h5py.File(file, mode, locking=False)


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
