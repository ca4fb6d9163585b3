"""The training run: epochs, validation, checkpoints, metrics, and the model at the end."""

import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import yaml

from jles.config import read_yaml, to_dict
from jles.errors import InputError
from jles.files import write_atomically
from jles.models.store import save_model
from jles.pictures import learning_curve
from jles.train.checkpoints import Checkpoints
from jles.train.config import TrainConfig
from jles.train.log import MetricsLog
from jles.train.losses import LABELS, Errors, Weights, loss_of, root_mean_square
from jles.train.optimizer import at_epoch, build_optimizer, build_plateau, learning_rate
from jles.train.prepare import Prepared, needed_labels, planned_sums, prepare, to_list
from jles.train.progress import TrainingProgress
from jles.train.report import validation_pictures
from jles.train.step import Steps, TrainState, build_steps


class NotFiniteError(InputError):
    """A loss, a gradient or a validation error that is not finite."""


class Progress(NamedTuple):
    """Plain values that a resumed run goes on from."""

    epoch: int
    step: int
    best_loss: float
    best_epoch: int


class RunState(NamedTuple):
    """Arrays that a resumed run goes on from."""

    state: TrainState
    best: dict
    plateau: NamedTuple


def train(config: TrainConfig, out: Path, resume: bool = False) -> Path:
    """Runs a training to its end and writes the model directory.

    The order of batches, the learning rate and all else depend on the seed and the epoch alone,
    so a run killed at any moment and resumed writes the same metrics as one left alone.

    Args:
        config: the whole training file.
        out: directory of the run and of the model it ends with.
        resume: go on from the last checkpoint in `out`.

    Returns:
        `out`.

    Raises:
        InputError: bad data or keys, a run already in `out`, nothing to resume, a loss that is
            not finite (the last checkpoint stays), a full disk.
    """
    out = Path(out)
    with (
        jax.enable_x64(config.dtype == "float64"),
        Checkpoints(out / "checkpoints") as checkpoints,
    ):
        return _train(config, out, checkpoints, resume)


def _train(config: TrainConfig, out: Path, checkpoints: Checkpoints, resume: bool) -> Path:
    log = MetricsLog(out)
    _check_directory(config, out, log, resume)
    goes_on = resume and _has_checkpoint(config, out, log, checkpoints)
    prepared = prepare(config)
    for line in planned_sums(prepared):
        print(line, file=sys.stderr, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        write_atomically(out / "train.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
    optimizer = build_optimizer(config.optimizer)
    steps = build_steps(prepared.potential, optimizer, needed_labels(config))
    run = RunState(
        steps.init(prepared.params), prepared.params, build_plateau(config.optimizer).init()
    )
    run = jax.tree.map(jnp.asarray, run)
    progress = Progress(0, 0, math.inf, -1)
    if goes_on:
        run, progress = checkpoints.restore("last", run, _read_progress)
        run = jax.tree.map(jnp.asarray, RunState(*run))
    log.start(progress.epoch)
    run, progress = _epochs(config, out, prepared, steps, run, progress, log, checkpoints)
    _finish(config, out, prepared, run, progress, log)
    return out


def _epochs(config, out, prepared, steps, run, progress, log, checkpoints):
    with TrainingProgress(config.epochs, progress.epoch) as screen:
        for epoch in range(progress.epoch, config.epochs):
            try:
                run, progress, row = _advance(config, prepared, steps, run, progress, epoch)
            except NotFiniteError as error:
                kept = _keep_best(config, out, prepared, run, progress, log)
                raise InputError(f"{error}{kept}") from None
            log.append(row)
            screen.show(row)
            if (epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.epochs:
                _save_checkpoints(checkpoints, run, progress)
    return run, progress


def _save_checkpoints(checkpoints: Checkpoints, run: RunState, progress: Progress) -> None:
    host = progress._asdict() | {"best_loss": str(progress.best_loss)}
    checkpoints.save("last", progress.epoch, run, host)
    # Named after its own epoch, so that it shows whether the best has changed since.
    validated = progress.best_epoch >= 0
    if validated and checkpoints.newest("best") != progress.best_epoch + 1:
        checkpoints.save("best", progress.best_epoch + 1, run.best, host)


def _read_progress(host: dict) -> Progress:
    return Progress(host["epoch"], host["step"], float(host["best_loss"]), host["best_epoch"])


def _advance(config, prepared: Prepared, steps: Steps, run: RunState, progress, epoch):
    """One epoch and its validation; returns what came of run, progress and the metrics row."""
    state, step, row = _one_epoch(config, prepared, steps, run, progress, epoch)
    run = run._replace(state=state)
    best_loss, best_epoch = progress.best_loss, progress.best_epoch
    if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
        params = state.averaged if config.optimizer.ema else state.params
        errors = _validate(steps, params, prepared, epoch)
        loss = float(loss_of(errors, _weights(config, config.epochs - 1)))
        row |= {"valid_loss": loss} | _prefixed("valid", errors)
        plateau = build_plateau(config.optimizer)
        run = run._replace(plateau=plateau.update(run.plateau, jnp.asarray(loss)))
        if loss < best_loss:
            best_loss, best_epoch = loss, epoch
            run = run._replace(best=jax.tree.map(jnp.copy, params))
    return run, Progress(epoch + 1, step, best_loss, best_epoch), row


def _one_epoch(config, prepared: Prepared, steps: Steps, run, progress, epoch):
    """All batches of an epoch; returns the state, the step count and the metrics row."""
    weights = _weights(config, epoch)
    state, step, total, losses = run.state, progress.step, None, []
    scale = float(run.plateau.scale)
    for batch in prepared.train_loader.epoch((config.seed, epoch)):
        rate = learning_rate(config.optimizer, step, epoch, config.epochs, scale)
        # A young average forgets its start quickly.
        decay = min(config.optimizer.ema, (1.0 + step) / (10.0 + step))
        state, loss, errors = steps.train(
            state, batch.structure, batch.labels, weights, rate, decay
        )
        if not math.isfinite(float(loss)):
            raise NotFiniteError(_not_finite(epoch, batch, prepared.train_frames))
        total = errors if total is None else _add(total, errors)
        losses.append(float(loss))
        step += 1
    row = {
        "epoch": epoch,
        "step": step,
        "learning_rate": rate,
        "train_loss": float(np.mean(losses)),
    }
    return state, step, row | _prefixed("train", total)


def evaluate(steps: Steps, params, loader) -> Errors:
    """Errors of `params` over all batches of a loader."""
    total = None
    for batch in loader.epoch(None):
        errors = steps.evaluate(params, batch.structure, batch.labels)
        total = errors if total is None else _add(total, errors)
    return total


def _validate(steps: Steps, params, prepared: Prepared, epoch: int) -> Errors:
    """Errors on the validation frames; where they are not finite, the batch is looked for."""
    errors = evaluate(steps, params, prepared.valid_loader)
    if not all(math.isfinite(value) for value in errors):
        for batch in prepared.valid_loader.epoch(None):
            found = steps.evaluate(params, batch.structure, batch.labels)
            _check_validation(
                found, epoch, f" in the batch of {_named(batch, prepared.valid_frames)}"
            )
        # Each batch was finite and only their sum is not.
        _check_validation(errors, epoch)
    return errors


def _add(first: Errors, second: Errors) -> Errors:
    return Errors(*(a + b for a, b in zip(first, second, strict=True)))


def _prefixed(part: str, errors: Errors) -> dict:
    return {f"{part}_{name}": value for name, value in root_mean_square(errors).items()}


def _weights(config: TrainConfig, epoch: int) -> Weights:
    return Weights(*(at_epoch(getattr(config.loss, name), epoch) for name in LABELS))


def _named(batch, frames) -> str:
    return ", ".join(frames[n].source for n in batch.frames if n >= 0)


def _not_finite(epoch, batch, frames) -> str:
    return (
        f"epoch {epoch + 1}: the loss or its gradient is not finite in the batch of "
        f"{_named(batch, frames)}; the last checkpoint is intact: look at these frames, or start "
        "a new run with a lower optimizer.learning_rate"
    )


def _check_validation(errors: Errors, epoch: int, where: str = "") -> None:
    if not all(math.isfinite(value) for value in errors):
        raise NotFiniteError(
            f"epoch {epoch + 1}: the validation errors are not finite{where}; the last checkpoint "
            "is intact: look at these frames, or start a new run with a lower "
            "optimizer.learning_rate"
        )


def _keep_best(config, out: Path, prepared, run, progress, log) -> str:
    """Makes a model of the best parameters of a run that stops; says where, for the error."""
    if progress.best_epoch < 0:
        return ""
    place = out / "best_before_stop"
    _write_model(config, place, prepared, run, progress, log)
    return (
        f"; the best model so far (epoch {progress.best_epoch + 1}) is in {place} and can be gone "
        "on from with model.start_from"
    )


def _has_checkpoint(config: TrainConfig, out: Path, log: MetricsLog, checkpoints) -> bool:
    """Whether there is a checkpoint to resume from; a missing one that there was is an error.

    A run killed before its first checkpoint goes on from the beginning; its metrics may already
    have the row of the epoch that the checkpoint would have followed.
    """
    if checkpoints.newest("last") is not None:
        return True
    had_one = checkpoints.newest("best") is not None or (out / "config.yaml").exists()
    rows = len(log.rows())
    if had_one or rows > config.checkpoint_every:
        raise InputError(
            f"{out / 'checkpoints' / 'last'}: no checkpoint, yet the run has metrics of {rows} "
            "epochs; put it back, or start a new run with another --out"
        )
    return False


def _check_directory(config: TrainConfig, out: Path, log: MetricsLog, resume: bool) -> None:
    if not resume:
        if log.exists() or (out / "checkpoints").exists():
            raise InputError(f"{out}: already holds a run; give --resume or another --out")
        if (out / "config.yaml").exists():
            raise InputError(f"{out}: already holds a model; give another --out")
        return
    stored_file = out / "train.yaml"
    if not stored_file.is_file():
        raise InputError(f"{out}: nothing to resume here (it has no train.yaml)")
    stored = read_yaml(stored_file)
    given = json.loads(json.dumps(to_dict(config)))
    changed = _first_difference(json.loads(json.dumps(stored)), given)
    if changed:
        raise InputError(
            f"{stored_file}: --resume with another config ({changed}); start a new run, if need "
            "be from this model (model.start_from)"
        )


def _first_difference(stored, given, name: str = "") -> str | None:
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in sorted(set(stored) | set(given)):
            found = _first_difference(
                stored.get(key), given.get(key), f"{name}.{key}".strip(".")
            )
            if found:
                return found
        return None
    return None if stored == given else f"{name} was {stored!r}, now {given!r}"


def _finish(config, out, prepared: Prepared, run: RunState, progress: Progress, log) -> None:
    _write_model(config, out, prepared, run, progress, log)
    learning_curve(out / "learning_curve.png", log.rows())
    needed = needed_labels(config)
    validation_pictures(out, prepared.potential, run.best, prepared.valid_loader, needed)


def _write_model(config, place: Path, prepared, run: RunState, progress: Progress, log) -> None:
    """The model directory of the best parameters with the errors of their epoch."""
    rows = log.rows()
    best = next((row for row in rows if row["epoch"] == progress.best_epoch), rows[-1])
    metrics = {
        part: {
            name.removeprefix(f"{part}_"): value
            for name, value in best.items()
            if name.startswith(f"{part}_")
        }
        for part in ("train", "valid")
    }
    training = {
        "files": to_list(config.data.train),
        "frames": len(prepared.train_frames),
        "validation_frames": len(prepared.valid_frames),
        "epochs": config.epochs,
        "best_epoch": progress.best_epoch + 1,
        "seed": config.seed,
        "dtype": config.dtype,
        "labels": list(needed_labels(config)),
        "label_keys": to_dict(config.data.labels),
    }
    save_model(place, prepared.potential.config, run.best, metrics, training)
