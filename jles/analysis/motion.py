"""Sums over the atoms of runs, read few atoms at a time: centre of mass, self-diffusion."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.analysis.estimators.diffusion import diffusion_coefficient, element_series
from jles.analysis.estimators.transport import Estimate
from jles.analysis.run import Record, Run


def weighted_sum(
    run: Run, kind: str, weights: Float[np.ndarray, " atoms"], least: int = 2
) -> Record:
    """The sum over atoms of recorded vectors times weights, (frames, 3).

    Args:
        run: with vectors of atoms of this kind.
        kind: the group, "positions" or "velocities".
        weights: of the atoms.
        least: the smallest number of frames that is accepted.
    """
    total = 0.0
    for atoms, record in run.in_parts(kind, least):
        total = total + np.einsum("i,fia->fa", weights[atoms], record.values)
    return record._replace(values=total)


def centre_of_mass(run: Run) -> Record:
    """Path of the centre of mass, (frames, 3) angstrom."""
    return weighted_sum(run, "positions", run.masses / run.masses.sum())


def self_diffusion(runs: Sequence[Run], lag: int) -> dict[int, Estimate]:
    """Diffusion coefficient of every element, angstrom^2/fs, by atomic number.

    Positions are relative to the centre of mass, which drifts under a stochastic thermostat.

    Args:
        runs: of the same atoms, with positions recorded at the same interval.
        lag: the slope is taken between this many frames and twice as many.
    """
    parts = defaultdict(list)
    for run in runs:
        centre = centre_of_mass(run).values[:, None]
        totals = defaultdict(float)
        for atoms, record in run.in_parts("positions"):
            paths = record.values - centre
            found = element_series(run.numbers[atoms], paths, record.interval, lag)
            for number, series in found.items():
                totals[number] = totals[number] + series
        for number, series in totals.items():
            parts[number].append(series / np.sum(run.numbers == number))
    return {number: diffusion_coefficient(parts[number]) for number in sorted(parts)}
