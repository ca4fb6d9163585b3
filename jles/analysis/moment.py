"""The polarization of a run against time.

It is the integral of the recorded current dP/dt, through the first recorded polarization. The
dipole moment of the charges in a cell misses charge that crosses the cell boundary, and is
ambiguous once atoms have diffused; the current from Born charges is not (docs/theory.md,
Polarization of a crystal). Runs without a current give the recorded polarization itself.
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
    """The polarization of the cell during a run."""

    record: Record
    """(frames, 3) e angstrom, continuous in time."""
    source: str
    """The group that gave the frames: "current" or "polarization"."""


def polarization_path(run: Run, source: str = "current") -> Moment:
    """The polarization at the frames of the current, or of the polarization without one.

    Args:
        run: with either recorded.
        source: "current" integrates the current, if there is one. The integral agrees with the
            first recorded polarization, or starts at zero if there is none. "polarization"
            takes the recorded polarization.

    The random forces of a stochastic thermostat leave an error in the integral. It grows like
    free diffusion times (gamma dt)^2/12 for frames dt apart.
    """
    if source == "polarization" or not run.has("current"):
        return Moment(run.read("polarization", least=LEAST_FRAMES), "polarization")
    current = run.read("current", least=LEAST_FRAMES)
    values = cumulative(current.values, current.interval)
    path = current._replace(values=values)
    if run.has("polarization"):
        path = _through_first_frame(path, run.read("polarization"))
    return Moment(path, "current")


def _through_first_frame(path: Record, recorded: Record) -> Record:
    """The path, shifted to agree with the first recorded polarization since its start.

    Later frames may miss charge that has crossed the cell boundary.
    """
    since = int(np.searchsorted(recorded.steps, path.steps[0]))
    frame = min(since, len(recorded.steps) - 1)
    (integral,) = at_steps(path, recorded.steps[[frame]], "current")
    return path._replace(values=path.values + recorded.values[frame] - integral)


def polarization_density(
    run: Run, source: str = "current"
) -> tuple[Moment, Float[np.ndarray, "frames 3"]]:
    """The polarization, and the same divided by the volume of each frame, e/angstrom^2."""
    moment = polarization_path(run, source)
    volumes = np.abs(np.linalg.det(at_steps(cells(run), moment.record.steps)))
    return moment, moment.record.values / volumes[:, None]


def at_steps(record: Record, steps, what: str = "cell") -> Float[np.ndarray, "frames *shape"]:
    """A record interpolated linearly at other steps; `what` names it in an error.

    Less than one interval before its first or after its last frame it is constant.

    Raises:
        InputError: steps lie further outside.
    """
    outside = max(record.steps[0] - steps[0], steps[-1] - record.steps[-1])
    if outside >= record.steps[1] - record.steps[0]:
        raise InputError(
            f"{what}: recorded in steps {record.steps[0]} to {record.steps[-1]} only, but "
            f"needed in {steps[0]} to {steps[-1]}"
        )
    columns = record.values.reshape(len(record.steps), -1).T
    found = [np.interp(steps, record.steps, column) for column in columns]
    return np.stack(found, axis=1).reshape(len(steps), *record.values.shape[1:])


def agreement(run: Run) -> list[str]:
    """A line on the deviation of the recorded polarization from the integrated current."""
    if not (run.has("current") and run.has("polarization")):
        return []
    recorded, path = run.read("polarization"), polarization_path(run).record
    apart = _spread(recorded.values - at_steps(path, recorded.steps, "current"))
    line = (
        f"polarization from the integrated current: spread {_spread(path.values):.4g} e "
        f"angstrom; the recorded moment differs from it by {apart:.2g} e angstrom"
    )
    return [line]


def _spread(values: Float[np.ndarray, "frames 3"]) -> float:
    """Root mean square distance from the mean."""
    return float(np.sqrt(np.mean(np.sum((values - values.mean(axis=0)) ** 2, axis=1))))
