"""The training run: epochs, validation, checkpoints, metrics, and the model at the end."""

import json
import math
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
from jles.train.losses import Errors, Weights, loss_of, root_mean_square
from jles.train.optimizer import at_epoch, build_optimizer, build_plateau, learning_rate
from jles.train.prepare import Prepared, needed_labels, prepare
from jles.train.progress import TrainingProgress
from jles.train.report import validation_pictures
from jles.train.step import Steps, TrainState, build_steps


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
    with jax.enable_x64(config.dtype == "float64"):
        return _train(config, Path(out), resume)


def _train(config: TrainConfig, out: Path, resume: bool) -> Path:
    log = MetricsLog(out)
    _check_directory(config, out, log, resume)
    prepared = prepare(config)
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        write_atomically(out / "train.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
    checkpoints = Checkpoints(out / "checkpoints")
    with_stress = "stress" in needed_labels(config)
    steps = build_steps(prepared.potential, build_optimizer(config.optimizer), with_stress)
    run = RunState(
        steps.init(prepared.params), prepared.params, build_plateau(config.optimizer).init()
    )
    run = jax.tree.map(jnp.asarray, run)
    progress = Progress(0, 0, math.inf, -1)
    # A run killed before its first checkpoint is resumed from the beginning.
    if resume and checkpoints.exists("last"):
        run, host = checkpoints.restore("last", run)
        run = jax.tree.map(jnp.asarray, RunState(*run))
        progress = Progress(
            host["epoch"], host["step"], float(host["best_loss"]), host["best_epoch"]
        )
    log.start(progress.epoch)
    run, progress = _epochs(config, prepared, steps, run, progress, log, checkpoints)
    _finish(config, out, prepared, run, progress, log)
    return out


def _epochs(config, prepared, steps, run, progress, log, checkpoints):
    plateau = build_plateau(config.optimizer)
    final_weights = _weights(config, config.epochs - 1)
    with TrainingProgress(config.epochs, progress.epoch) as screen:
        for epoch in range(progress.epoch, config.epochs):
            state, step, row = _one_epoch(config, prepared, steps, run, progress, epoch)
            run = run._replace(state=state)
            best_loss, best_epoch = progress.best_loss, progress.best_epoch
            if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
                params = state.averaged if config.optimizer.ema else state.params
                errors = evaluate(steps, params, prepared.valid_loader)
                _check_validation(errors, epoch)
                loss = float(loss_of(errors, final_weights))
                row |= {"valid_loss": loss} | _prefixed("valid", errors)
                run = run._replace(plateau=plateau.update(run.plateau, jnp.asarray(loss)))
                if loss < best_loss:
                    best_loss, best_epoch = loss, epoch
                    run = run._replace(best=jax.tree.map(jnp.copy, params))
            progress = Progress(epoch + 1, step, best_loss, best_epoch)
            log.append(row)
            screen.show(row)
            if (epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.epochs:
                host = progress._asdict() | {"best_loss": str(progress.best_loss)}
                checkpoints.save("last", epoch + 1, run, host)
                checkpoints.save("best", epoch + 1, run.best, host)
    return run, progress


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
            raise InputError(_not_finite(epoch, batch, prepared.train_frames))
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


def _add(first: Errors, second: Errors) -> Errors:
    return Errors(*(a + b for a, b in zip(first, second, strict=True)))


def _prefixed(part: str, errors: Errors) -> dict:
    return {f"{part}_{name}": value for name, value in root_mean_square(errors).items()}


def _weights(config: TrainConfig, epoch: int) -> Weights:
    loss = config.loss
    return Weights(*(at_epoch(w, epoch) for w in (loss.energy, loss.forces, loss.stress)))


def _not_finite(epoch, batch, frames) -> str:
    named = ", ".join(frames[n].source for n in batch.frames if n >= 0)
    return (
        f"epoch {epoch + 1}: the loss or its gradient is not finite in the batch of {named}; the "
        "last checkpoint is intact: look at these frames, or start a new run with a lower "
        "optimizer.learning_rate"
    )


def _check_validation(errors: Errors, epoch: int) -> None:
    if not all(math.isfinite(value) for value in errors):
        raise InputError(
            f"epoch {epoch + 1}: the validation errors are not finite; the last checkpoint is "
            "intact: start a new run with a lower optimizer.learning_rate"
        )


def _check_directory(config: TrainConfig, out: Path, log: MetricsLog, resume: bool) -> None:
    if not resume:
        if log.exists():
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
            f"{stored_file}: --resume with another config ({changed}); start a new run"
        )


def _first_difference(stored, given, name: str = "") -> str | None:
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in sorted(set(stored) | set(given)):
            found = _first_difference(stored.get(key), given.get(key), f"{name}.{key}".strip("."))
            if found:
                return found
        return None
    return None if stored == given else f"{name} was {stored!r}, now {given!r}"


def _finish(config, out, prepared: Prepared, run: RunState, progress: Progress, log) -> None:
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
        "files": config.data.train,
        "frames": len(prepared.train_frames),
        "validation_frames": len(prepared.valid_frames),
        "epochs": config.epochs,
        "best_epoch": progress.best_epoch + 1,
        "seed": config.seed,
        "dtype": config.dtype,
        "labels": list(needed_labels(config)),
    }
    training["files"] = to_list(training["files"])
    save_model(out, prepared.potential.config, run.best, metrics, training)
    learning_curve(out / "learning_curve.png", rows)
    validation_pictures(out, prepared.potential, run.best, prepared.valid_loader)


def to_list(files) -> list[str]:
    """File names as a list, whether one or several were given."""
    return [files] if isinstance(files, str) else list(files)
