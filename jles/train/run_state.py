"""The state that a resumed run continues from; its checkpoints after and within an epoch."""

from collections.abc import Sequence
from typing import NamedTuple

from jles.errors import ConfigError
from jles.train.checkpoints import Checkpoints
from jles.train.losses import Errors, PerLabel
from jles.train.step import TrainState


class Within(NamedTuple):
    """The finished part of an epoch.

    Attributes:
        batches: that were taken.
        loss: sum of their losses.
        errors: sum of their errors.
    """

    batches: int = 0
    loss: float = 0.0
    errors: Errors = Errors(*[PerLabel()] * 3)  # noqa: RUF009


class Counters(NamedTuple):
    """Plain values that a resumed run continues from."""

    epoch: int
    step: int
    best_loss: float
    best_epoch: int
    within: Within = Within()  # noqa: RUF009


class LoopState(NamedTuple):
    """Arrays that a resumed run continues from."""

    state: TrainState
    best: dict
    plateau: NamedTuple


def save_after_epoch(checkpoints: Checkpoints, run: LoopState, counters: Counters) -> None:
    """Saves "last", and "best" if it has changed."""
    host = _plain(counters)
    checkpoints.save("last", counters.epoch, run, host)
    # The step is that of its own epoch, which tells whether the best has changed since.
    validated = counters.best_epoch >= 0
    if validated and checkpoints.newest("best") != counters.best_epoch + 1:
        checkpoints.save("best", counters.best_epoch + 1, run.best, host)


def save_within(
    checkpoints: Checkpoints, run: LoopState, counters: Counters, lengths: Sequence[int]
) -> None:
    """Saves "within", the state in the middle of an epoch of batches of these lengths."""
    host = _plain(counters) | {"lengths": list(lengths)}
    checkpoints.save("within", counters.step, run, host)


def _plain(counters: Counters) -> dict:
    """For JSON, which has no infinity."""
    batches, loss, errors = counters.within
    within = [batches, loss, *(list(part) for part in errors)]
    return counters._asdict() | {"best_loss": str(counters.best_loss), "within": within}


def _read_counters(host: dict) -> tuple[Counters, list[int] | None]:
    """The counters, and the lengths of the batches of an epoch that is not finished."""
    within = Within()
    if "within" in host:  # earlier versions did not save it
        batches, loss, *errors = host["within"]
        if len(errors) == 2:  # earlier versions had squared errors as the only loss
            errors.append(errors[0])
        within = Within(batches, loss, Errors(*(PerLabel(*part) for part in errors)))
    best = float(host["best_loss"]), host["best_epoch"]
    return Counters(host["epoch"], host["step"], *best, within), host.get("lengths")


def restore(checkpoints: Checkpoints, run: LoopState, lengths: Sequence[int]):
    """The newer of the last checkpoints after an epoch and within one.

    Args:
        checkpoints: of the run.
        run: gives shapes and dtypes.
        lengths: of the batches of every bucket.

    Raises:
        InputError: as `Checkpoints.restore`; the newer one is within an epoch whose batches had
            other lengths, so that the rest of its frames cannot be found.
    """
    names = [name for name in ("last", "within") if checkpoints.newest(name) is not None]
    found = [checkpoints.restore(name, run, _read_counters) for name in names]
    run, (counters, before) = max(found, key=lambda one: one[1][0].step)
    if before not in (None, list(lengths)):
        raise ConfigError(
            f"parallel: the run stopped within epoch {counters.epoch + 1}, whose batches held "
            f"{_listed(before)} structures; with these devices they hold {_listed(lengths)}: "
            "resume with as many devices as before"
        )
    return run, counters


def _listed(lengths: Sequence[int]) -> str:
    return ", ".join(map(str, lengths))
