"""Mean temperature and volume of runs, and the interval that they share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jles.analysis.estimators.units import ATOMIC_MASS, BOLTZMANN
from jles.analysis.run import Record, Run
from jles.errors import InputError


class Conditions(NamedTuple):
    """Averages over runs that are analysed together."""

    temperature: float
    """K"""
    volume: float
    """angstrom^3"""


def conditions(runs: Sequence[Run], temperature: float | None = None) -> Conditions:
    """Mean temperature, unless given, and mean volume of the runs."""
    if temperature is not None and not temperature > 0.0:
        raise InputError(f"--temperature must be positive (K), got {temperature}")
    return Conditions(
        temperature_of(runs, temperature), float(np.mean([mean_volume(run) for run in runs]))
    )


def mean_temperature(run: Run) -> float:
    """Mean temperature, K: as recorded, or from the velocities.

    Without `thermo` there are 3N degrees of freedom under `langevin`, and else 3N - 3, the
    centre of mass at rest, as in the dynamics.
    """
    if run.has("thermo"):
        return float(np.mean(run.read("thermo", "temperature").values))
    if run.has("velocities"):
        velocities = run.read("velocities").values
        twice_kinetic = ATOMIC_MASS * np.einsum("i,fia->f", run.masses, velocities**2)
        moves = run.ensemble == "langevin" or len(run.masses) == 1
        freedoms = 3 * len(run.masses) - (0 if moves else 3)
        return float(np.mean(twice_kinetic)) / (freedoms * BOLTZMANN)
    raise InputError(
        f"{run.path}: the temperature was not recorded (`record: {{thermo: 10}}` in the md "
        "config); give it with --temperature"
    )


def temperature_of(runs: Sequence[Run], given: float | None = None) -> float:
    """The given temperature, or the mean of the runs, K."""
    if given is not None:
        return given
    return float(np.mean([mean_temperature(run) for run in runs]))


def title_temperature(runs: Sequence[Run], given: float | None) -> float | None:
    """The same for a title; None if a run did not record it."""
    try:
        return temperature_of(runs, given)
    except InputError:
        return None


WITH_CELL = ("thermo", "polarization", "positions", "polarizability")
"""Records that hold the cell."""


def cells(run: Run) -> Record:
    """Recorded cells, (frames, 3, 3) angstrom, from the first group that has them."""
    for kind in WITH_CELL:
        if run.has(kind):
            return run.read(kind, "cell")
    raise InputError(
        f"{run.path}: no cell was recorded; "
        f"record it by `record: {{thermo: 10}}` in the md config"
    )


def mean_volume(run: Run) -> float:
    """Mean volume, angstrom^3, of a run that is periodic in three directions."""
    if not run.pbc.all():
        flags = " ".join("FT"[int(periodic)] for periodic in run.pbc)
        raise InputError(
            f"{run.path}: pbc is {flags}; a volume needs three periodic directions"
        )
    return float(np.mean(np.abs(np.linalg.det(cells(run).values))))


def same_interval(records: Sequence[Record], runs: Sequence[Run]) -> float:
    """Time between frames, fs, of runs that are analysed together.

    Raises:
        InputError: it is not the same for all runs.
    """
    intervals = [record.interval for record in records]
    if not np.allclose(intervals, intervals[0], rtol=1e-9):
        listed = ", ".join(
            f"{run.path}: {interval:g} fs"
            for run, interval in zip(runs, intervals, strict=True)
        )
        raise InputError(
            f"runs recorded at different intervals ({listed}); analyse them separately"
        )
    return intervals[0]
