"""Mean temperature and volume of runs, and what runs that are averaged must share."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jles.analysis.estimators.units import ATOMIC_MASS, BOLTZMANN
from jles.analysis.run import Record, Run
from jles.errors import InputError

_ALIKE = 0.05
"""Mean temperatures and volumes may differ by this fraction without a warning."""

_REMEMBERED = 128
"""Runs whose means are kept, since warnings and averages both need them."""


class Conditions(NamedTuple):
    """Averages over runs that are analysed together."""

    temperature: float
    """K"""
    volume: float
    """angstrom^3"""


def conditions(runs: Sequence[Run], temperature: float | None = None) -> Conditions:
    """Mean temperature, unless given, and mean volume of the runs, weighted by their length."""
    if temperature is not None and not temperature > 0.0:
        raise InputError(f"--temperature must be positive (K), got {temperature}")
    return Conditions(temperature_of(runs, temperature), _average(runs, mean_volume))


def check_alike(runs: Sequence[Run]) -> list[str]:
    """Warnings if runs that are averaged have different mean temperatures or volumes.

    Raises:
        InputError: they are of different atoms.
    """
    for run in runs[1:]:
        if not np.array_equal(run.numbers, runs[0].numbers):
            raise InputError(
                f"{run.path}: other atoms than those of {runs[0].path}; analyse them separately"
            )
    if len(runs) == 1:
        return []
    temperatures = _unlike("temperatures", [_known(mean_temperature, run) for run in runs], "K")
    return temperatures + _unlike(
        "volumes", [_known(mean_volume, run) for run in runs], "angstrom^3"
    )


def _unlike(name: str, values: list[float | None], unit: str) -> list[str]:
    """A warning if known values differ; else nothing."""
    known = [value for value in values if value is not None]
    if not known or max(known) <= (1.0 + _ALIKE) * min(known):
        return []
    warning = (
        f"warning: the mean {name} of the runs are {min(known):.4g} to {max(known):.4g} "
        f"{unit}; the result is an average over them"
    )
    return [warning]


def _known(mean: Callable[[Run], float], run: Run) -> float | None:
    """A mean of a run; None if it was not recorded, or a volume has no meaning."""
    try:
        return mean(run)
    except InputError:
        return None


def check_no_field(runs: Sequence[Run], why: str) -> None:
    """Refuses runs in a field; `why` says what needs equilibrium without one."""
    for run in runs:
        if run.has("thermo") and np.any(run.read("thermo", "field").values):
            raise InputError(f"{run.path}: was run in a field; {why} only without a field")


@lru_cache(_REMEMBERED)
def mean_temperature(run: Run) -> float:
    """Mean temperature, K: as recorded, or from the velocities.

    Without `thermo` there are 3N degrees of freedom under `langevin`, and else 3N - 3, the
    centre of mass at rest, as in the dynamics.
    """
    if run.has("thermo"):
        return float(np.mean(run.read("thermo", "temperature").values))
    if run.has("velocities"):
        twice_kinetic = 0.0
        for atoms, record in run.in_parts("velocities"):
            squares = np.einsum("fia,fia->i", record.values, record.values)
            twice_kinetic += ATOMIC_MASS * run.masses[atoms] @ squares / len(record.steps)
        moves = run.ensemble == "langevin" or len(run.masses) == 1
        freedoms = 3 * len(run.masses) - (0 if moves else 3)
        return float(twice_kinetic) / (freedoms * BOLTZMANN)
    raise InputError(
        f"{run.path}: the temperature was not recorded (`record: {{thermo: 10}}` in the md "
        "config); give it with --temperature"
    )


def temperature_of(runs: Sequence[Run], given: float | None = None) -> float:
    """The given temperature, or the mean of the runs, weighted by their length, K."""
    if given is not None:
        return given
    return _average(runs, mean_temperature)


def _average(runs: Sequence[Run], mean: Callable[[Run], float]) -> float:
    return float(
        np.average([mean(run) for run in runs], weights=[run.duration for run in runs])
    )


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


@lru_cache(_REMEMBERED)
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
