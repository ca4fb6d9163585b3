"""A run on disk: its trajectory is read lazily, one quantity at a time."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from jles.errors import InputError
from jles.files import HDF5_ERRORS, TRAJECTORY, TRAJECTORY_FORMAT, TRAJECTORY_VERSION
from jles.journal import journal_of, unchanged

_NUMBERS_AT_ONCE = 2**23
"""Components of vectors read at once; padded spectra of them hold four times as many."""


class Record(NamedTuple):
    """Equally spaced frames of one quantity."""

    values: Float[np.ndarray, "frames *shape"]
    steps: Int[np.ndarray, " frames"]
    """Time steps of the run, 0 its start."""
    interval: float
    """Time between two frames, fs."""

    @property
    def length(self) -> float:
        """Time from the first frame to the last, fs."""
        return (len(self.steps) - 1) * self.interval


@dataclass(frozen=True, eq=False)
class Run:
    """A run on disk; nothing but its head is read before `read` is called.

    Each opened run is equal to itself only, so that means over it can be cached.

    Frames that are written after it was opened are left out, so that all that is read of a run
    that still goes on belongs together.
    """

    path: Path
    """The directory that `jles md` wrote."""
    timestep: float
    """fs"""
    numbers: Int[np.ndarray, " atoms"]
    masses: Float[np.ndarray, " atoms"]
    """u"""
    pbc: Bool[np.ndarray, " 3"]
    frames: Mapping[str, int]
    """Number of frames of every group when the run was opened."""
    skip: float = 0.0
    """Time skipped at the start, fs."""
    ensemble: str = ""
    """Kind of the ensemble; empty if the file does not say it."""

    def has(self, kind: str) -> bool:
        """Whether frames of this kind were recorded."""
        return self.frames.get(kind, 0) > 0

    @property
    def duration(self) -> float:
        """Time from the end of the skipped part to the last frame of any kind, fs."""
        with _opened(self.path) as file:
            last = max(file[kind]["step"][n - 1] for kind, n in self.frames.items() if n > 0)
        return float(last) * self.timestep - self.skip

    def read(self, kind: str, name: str | None = None, least: int = 2, atoms=None) -> Record:
        """Frames of one data set of a group.

        Args:
            kind: the group, as the `record` section of the md config names it.
            name: the data set in it; by default it has the name of the group.
            least: the smallest number of frames that is accepted.
            atoms: a slice of the second axis; by default all of it.

        Raises:
            InputError: nothing of this kind was recorded, too few frames, or unequal intervals.
        """
        self._check_recorded(kind)
        with _opened(self.path) as file:
            group = file[kind]
            data, steps = group[name or kind], group["step"][: self.frames[kind]]
            first = int(np.searchsorted(steps, self.skip / self.timestep - 1e-9))
            self._check_steps(kind, steps[first:], least)
            values = (
                data[first : len(steps)] if atoms is None else data[first : len(steps), atoms]
            )
        interval = float(steps[first + 1] - steps[first]) * self.timestep
        return Record(np.asarray(values, np.float64), steps[first:], interval)

    def in_parts(self, kind: str, least: int = 2) -> Iterator[tuple[slice, Record]]:
        """Frames of a data set of atoms, few atoms at a time to bound the memory.

        Args:
            kind: the group and its data set.
            least: the smallest number of frames that is accepted.

        Yields:
            A slice of the atoms, and their frames.
        """
        frames = len(self.read(kind, least=least, atoms=slice(0, 1)).steps)
        count = max(_NUMBERS_AT_ONCE // (3 * frames), 1)
        for first in range(0, len(self.numbers), count):
            atoms = slice(first, first + count)
            yield atoms, self.read(kind, least=least, atoms=atoms)

    def _check_recorded(self, kind: str) -> None:
        if not self.has(kind):
            raise InputError(
                f"{self.path / TRAJECTORY}: holds no {kind}; record it by "
                f"`record: {{{kind}: 1}}` (steps between frames) in the md config"
            )

    def _check_steps(self, kind: str, steps, least: int) -> None:
        where = f"{self.path / TRAJECTORY}: {kind}"
        if len(steps) < max(least, 2):
            after = f" after the first {self.skip:g} fs" if self.skip else ""
            raise InputError(
                f"{where}: {len(steps)} frame(s){after}, at least {max(least, 2)} are needed; "
                "run longer or record more often"
            )
        if np.any(np.diff(steps) != steps[1] - steps[0]):
            raise InputError(f"{where}: frames are not equally spaced in time")


def open_run(path, skip: float = 0.0) -> Run:
    """The run in a directory, without its first `skip` fs.

    Raises:
        InputError: no such directory, no trajectory in it, one of another format, or one
            without frames.
    """
    path = Path(path)
    with _opened(path) as file:
        found = file.attrs.get("format"), int(file.attrs.get("version", 0))
        if found != (TRAJECTORY_FORMAT, TRAJECTORY_VERSION):
            raise InputError(
                f"{path / TRAJECTORY}: format {found[0]!r}, version {found[1]}; "
                f"this program reads {TRAJECTORY_FORMAT!r}, version {TRAJECTORY_VERSION}"
            )
        timestep = float(file.attrs["timestep"])
        if not timestep > 0.0:
            raise InputError(
                f"{path / TRAJECTORY}: a minimisation has no time axis; nothing to analyse"
            )
        frames = _frames(file)
        if not any(frames.values()):
            raise InputError(
                f"{path / TRAJECTORY}: holds no frames; the run stopped before its first block "
                "(continue it with `jles md ... --resume`) or records nothing"
            )
        return Run(
            path,
            timestep,
            np.asarray(file["numbers"]),
            np.asarray(file["masses"], np.float64),
            np.asarray(file["pbc"], bool),
            frames,
            float(skip),
            str(file.attrs.get("ensemble", "")),
        )


def _frames(file: h5py.File) -> dict[str, int]:
    """By group; a run that was killed while it wrote may have more steps than values."""
    groups = {kind: part for kind, part in file.items() if isinstance(part, h5py.Group)}
    return {kind: min(map(len, group.values()), default=0) for kind, group in groups.items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    file = path / TRAJECTORY
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the directory that `jles md` wrote")
    try:
        # A run that was killed while it wrote leaves a journal of what is still to be done.
        journal = journal_of(file).exists()
        whole = unchanged(file) if journal else contextlib.nullcontext(file)
        with whole as source, _hdf5(file, source) as opened:
            yield opened
    except InputError:
        raise
    except HDF5_ERRORS as error:
        raise InputError(
            f"{file}: damaged, or being written at this moment ({' '.join(str(error).split())})"
        ) from None


def _hdf5(file: Path, source) -> h5py.File:
    try:
        # No lock is taken, so that a simulation can be analysed while it runs.
        return h5py.File(source, "r", locking=False)
    except OSError as error:
        raise InputError(f"{file}: not a readable HDF5 file ({error})") from None
