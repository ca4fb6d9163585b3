r"""The polarization of a run against time.

It is the integral of the recorded current dP/dt, through the first recorded polarization. The
dipole moment of the charges in a cell misses charge that crosses the cell boundary, and is
ambiguous once atoms have diffused; the current from Born charges is not (docs/theory.md,
Polarization of a crystal). Runs without a current give the recorded polarization itself.

In a cell h that changes (rows are lattice vectors) the polarization is :math:`P = \tilde P h`,
and the recorded current J leaves out that P moves with the cell: the integral is that of
:math:`J h^{-1} = d\tilde P/dt`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jles.analysis.conditions import WITH_CELL, cells
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
    boxes = _boxes(run, current.steps)
    integral = cumulative(_reduced(current.values, boxes), current.interval)
    path = current._replace(values=integral)
    if run.has("polarization"):
        path = _through_first_frame(path, run)
    return Moment(path._replace(values=_cartesian(path.values, boxes)), "current")


def shared_source(runs: Sequence[Run]) -> str | None:
    """What all runs recorded: "current", or else "polarization"; None if there is neither.

    Raises:
        InputError: some runs recorded only the current and others only the polarization.
    """
    for kind in ("current", "polarization"):
        if all(run.has(kind) for run in runs):
            return kind
    if all(run.has("current") or run.has("polarization") for run in runs):
        lacking = next(run for run in runs if not run.has("current"))
        raise InputError(
            f"{lacking.path}: holds no current, another run no polarization; record the "
            "current in all of them, or analyse them separately"
        )
    return None


def in_mean_cell(run: Run, record: Record) -> Record:
    """The polarization as if the cell always had its mean shape.

    Its changes do not depend on the branch of P, which otherwise moves with the cell.
    """
    boxes = _boxes(run, record.steps)
    mean = np.broadcast_to(boxes.mean(axis=0), boxes.shape)
    return record._replace(values=_cartesian(_reduced(record.values, boxes), mean))


def relative_to(run: Run, record: Record, zero: Float[np.ndarray, " 3"]) -> Record:
    """The polarization less `zero`, which moves with the cell.

    Args:
        run: the run.
        record: its polarization.
        zero: polarization of the symmetric structure in the cell of the first frame, e
            angstrom.
    """
    boxes = _boxes(run, record.steps)
    reduced = np.broadcast_to(_reduced(zero[None], boxes[:1]), record.values.shape)
    return record._replace(values=record.values - _cartesian(reduced, boxes))


def volumes(run: Run, record: Record) -> Float[np.ndarray, " frames"]:
    """Volume of the cell at the frames of a record, angstrom^3."""
    return np.abs(np.linalg.det(at_steps(cells(run), record.steps)))


def _boxes(run: Run, steps) -> Float[np.ndarray, "frames 3 3"]:
    """Cells at these steps; unit matrices for a run whose cell is fixed or was not recorded."""
    none = np.broadcast_to(np.eye(3), (len(steps), 3, 3))
    if not any(run.has(kind) for kind in WITH_CELL):
        return none
    found = cells(run)
    return at_steps(found, steps) if np.ptp(found.values, axis=0).any() else none


def _reduced(vectors, boxes) -> Float[np.ndarray, "frames 3"]:
    """Vectors in units of the lattice vectors."""
    return np.linalg.solve(np.swapaxes(boxes, 1, 2), vectors[..., None])[..., 0]


def _cartesian(reduced, boxes) -> Float[np.ndarray, "frames 3"]:
    return np.einsum("fa,fab->fb", reduced, boxes)


def _through_first_frame(path: Record, run: Run) -> Record:
    """The reduced path, shifted to agree with the first recorded polarization since its start.

    Later frames may miss charge that has crossed the cell boundary.
    """
    recorded = run.read("polarization")
    since = int(np.searchsorted(recorded.steps, path.steps[0]))
    frame = min(since, len(recorded.steps) - 1)
    step = recorded.steps[[frame]]
    known = _reduced(recorded.values[[frame]], _boxes(run, step))
    return path._replace(values=path.values + known - at_steps(path, step, "current"))


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


def no_current(run: Run) -> list[str]:
    """A warning if a crystal has a polarization, but no current; else nothing."""
    if run.has("current") or not run.has("polarization") or not run.pbc.all():
        return []
    warning = (
        f"warning: {run.path}: holds no current; the recorded polarization leaves out charge "
        "that crosses the boundary; record `current`"
    )
    return [warning]


def agreement(run: Run) -> list[str]:
    """A line on the deviation of the recorded polarization from the integrated current.

    Without a current it is the warning of `no_current`.
    """
    if not (run.has("current") and run.has("polarization")):
        return no_current(run)
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
