"""Progress of a run: a bar on a terminal, lines elsewhere, and `log.csv`."""

import csv
import io
import math
import sys
from pathlib import Path

import numpy as np

from jles.errors import InputError
from jles.files import write_atomically
from jles.follow import ProgressBar, working_time

COLUMNS = {
    "step": "",
    "time": "ps",
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "conserved": "eV",
    "drift": "meV/atom/ps",
    "temperature": "K",
    "pressure": "eV/angstrom^3",
    "speed": "ns/day",
}
"""Columns of `log.csv` and their units."""

_SECONDS_OF_A_DAY = 86400.0


class Drift:
    """Drift of the conserved quantity: slope of a least-squares line through all records.

    Args:
        atoms: number of atoms; the drift is per atom.
    """

    def __init__(self, atoms: int):
        self._atoms = atoms
        self._first = None
        self._sums = np.zeros(5)

    def add(self, times, values) -> None:
        """Adds records; times in ps, values in eV."""
        t, e = np.asarray(times, np.float64), np.asarray(values, np.float64)
        if len(t) == 0:
            return
        if self._first is None:
            self._first = e[0]
        # Sums of differences from the first value lose no digits.
        e = e - self._first
        rows = np.stack([np.ones_like(t), t, e, t * t, t * e], axis=1)
        # One record after the other: the sums do not depend on where blocks end.
        self._sums = np.add.accumulate([self._sums, *rows])[-1]

    @property
    def slope(self) -> float:
        """Drift, meV/atom/ps; 0 with fewer than two times."""
        n, t, e, tt, te = self._sums
        spread = n * tt - t * t
        return 1e3 * (n * te - t * e) / spread / self._atoms if spread > 0.0 else 0.0


class Log:
    """Writes `log.csv`, one row per block that has a record of `thermo`."""

    def __init__(self, path: Path):
        self._path = Path(path)

    def start(self, up_to: int = -1) -> None:
        """Writes the header and keeps existing rows up to a step; later steps are run again."""
        titles = [f"{name} ({unit})" if unit else name for name, unit in COLUMNS.items()]
        lines = [_csv_line(titles)]
        if up_to >= 0 and self._path.exists():
            rows = self._path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
            lines += [row for row in rows if row.endswith("\n") and _step_of(row) <= up_to]
        write_atomically(self._path, "".join(lines))

    def append(self, row: dict) -> None:
        """Adds a row.

        Raises:
            InputError: the disk is full.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_csv_line([row[name] for name in COLUMNS]))
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be written ({error.strerror}); the last checkpoint is "
                "intact: free some space and --resume"
            ) from None


class MdProgress(ProgressBar):
    """Shows how far a run is, and measures its speed.

    Args:
        steps: length of the whole run.
        first: step to start or continue from.
        timestep: fs; None for a minimisation.
    """

    def __init__(self, steps: int, first: int, timestep: float | None):
        super().__init__("step", steps, first)
        self._first_step, self._timestep = first, timestep
        self._since, self._clock = first, working_time()

    def speed(self, step: int) -> float:
        """Speed in ns/day, without compilations and, later, without the first block.

        It is 0 for a minimisation.
        """
        now = working_time()
        days = max(now - self._clock, 1e-9) / _SECONDS_OF_A_DAY
        speed = 1e-6 * (step - self._since) * (self._timestep or 0.0) / days
        if self._since == self._first_step:
            self._clock, self._since = now, step
        return speed

    def show(self, step: int, row: dict) -> None:
        """Shows how far the run is, with the values of the last row of the log."""
        self.update(step, describe(row))


def describe(row: dict) -> str:
    """Temperature and drift, as far as they are known, and speed of one row, as text."""
    speed = f"{row['speed']:.3g} ns/day"
    if "temperature" not in row:
        return speed
    drift = "" if math.isnan(row["drift"]) else f"drift {row['drift']:.3g} meV/atom/ps  "
    return f"{row['temperature']:.4g} K  {drift}{speed}"


def _step_of(row: str) -> int:
    first = row.split(",", 1)[0]
    return int(first) if first.isdigit() else sys.maxsize


def _csv_line(values) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
