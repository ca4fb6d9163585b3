"""The polarization of a run along time: the integral of the current where that was recorded.

The dipole moment of the charges in a cell knows nothing of charge that flows over its border, nor
of which image of a neighbour a charge went to once atoms have diffused; the current dP/dt from
Born charges does (docs/theory.md, Polarization of a crystal). So the recorded polarization gives
the start and the current the rest; the recorded polarization alone is taken where there is no
current.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jles.analysis.conditions import cells
from jles.analysis.estimators.transport import cumulative
from jles.analysis.run import Record, Run
from jles.errors import InputError

LEAST_FRAMES = 64


class Moment(NamedTuple):
    """The polarization of the cell along a run."""

    record: Record
    """(frames, 3) e angstrom, on the one branch that a run keeps to."""
    source: str
    """"current" or "polarization", the group that its frames are those of."""


def polarization_path(run: Run, source: str = "current") -> Moment:
    """The polarization at the frames of the current, or else of the polarization.

    Args:
        run: with either recorded.
        source: "current" where there is one, its integral starting at the recorded polarization or
            at zero; "polarization" for what was recorded as such.

    Each kick of a stochastic thermostat leaves an error in the integral, which drifts by
    (gamma dt)^2/12 of free diffusion, dt being the interval.
    """
    if source == "polarization" or not run.has("current"):
        return Moment(run.read("polarization", least=LEAST_FRAMES), "polarization")
    current = run.read("current", least=LEAST_FRAMES)
    values = cumulative(current.values, current.interval)
    if run.has("polarization"):
        values = values + at_steps(run.read("polarization"), current.steps[:1], "polarization")
    return Moment(current._replace(values=values), "current")


def polarization_density(
    run: Run, source: str = "current"
) -> tuple[Moment, Float[np.ndarray, "frames 3"]]:
    """The polarization and, per volume of the cell at its time, e/angstrom^2."""
    moment = polarization_path(run, source)
    volumes = np.abs(np.linalg.det(at_steps(cells(run), moment.record.steps)))
    return moment, moment.record.values / volumes[:, None]


def at_steps(record: Record, steps, what: str = "cell") -> Float[np.ndarray, "frames *shape"]:
    """A record at other steps, linear in between; `what` names it in an error.

    Steps before its first or after its last one, by less than its interval, have that one's.

    Raises:
        InputError: steps are farther outside.
    """
    outside = max(record.steps[0] - steps[0], steps[-1] - record.steps[-1])
    if outside >= record.steps[1] - record.steps[0]:
        raise InputError(
            f"{what}: recorded in steps {record.steps[0]} to {record.steps[-1]} only, but needed "
            f"in {steps[0]} to {steps[-1]}"
        )
    columns = record.values.reshape(len(record.steps), -1).T
    found = [np.interp(steps, record.steps, column) for column in columns]
    return np.stack(found, axis=1).reshape(len(steps), *record.values.shape[1:])


def agreement(run: Run) -> list[str]:
    """How far the recorded polarization is from the integrated current, if both are there."""
    if not (run.has("current") and run.has("polarization")):
        return []
    recorded, path = run.read("polarization"), polarization_path(run).record
    apart = _spread(recorded.values - at_steps(path, recorded.steps, "current"))
    line = (
        f"polarization from the integrated current: spread {_spread(path.values):.4g} e angstrom"
        f"; the recorded moment differs from it by {apart:.2g} e angstrom"
    )
    return [line]


def _spread(values: Float[np.ndarray, "frames 3"]) -> float:
    """Root mean square distance from the mean."""
    return float(np.sqrt(np.mean(np.sum((values - values.mean(axis=0)) ** 2, axis=1))))
