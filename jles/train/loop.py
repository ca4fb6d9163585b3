"""The training run: epochs, validation, checkpoints, metrics and the final model."""

import contextlib
import math
import operator
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.compiling import announced
from jles.config import to_dict
from jles.errors import InputError
from jles.files import write_atomically
from jles.follow import ProgressBar
from jles.lock import only_writer
from jles.pictures import learning_curve
from jles.strict_yaml import to_yaml
from jles.train.best_model import keep_best, write_final
from jles.train.checkpoints import Checkpoints
from jles.train.config import TrainConfig
from jles.train.directory import (
    check_data,
    check_directory,
    check_metrics,
    has_checkpoint,
    what_to_train,
)
from jles.train.log import MetricsLog, describe, panels
from jles.train.losses import (
    LABELS,
    Errors,
    Weights,
    emphasized,
    loss_of,
    root_mean_square,
)
from jles.train.optimizer import at_epoch, build_optimizer, build_plateau, learning_rate
from jles.train.parallel import Devices, choose_devices
from jles.train.prepare import Prepared, planned_sums, prepare
from jles.train.processes import (
    check_same,
    from_first,
    is_first,
    processes,
    together,
)
from jles.train.report import validation_pictures
from jles.train.run_state import (
    Counters,
    LoopState,
    Within,
    restore,
    save_after_epoch,
    save_within,
)
from jles.train.schedules import warn_unreached
from jles.train.step import Steps, build_steps
from jles.train.training_frames import (
    digests_of,
    needed_labels,
    warn_overlap,
)
from jles.version import __version__


class NotFiniteError(InputError):
    """A loss, a gradient or a validation error that is not finite."""


def train(config: TrainConfig, out: Path, resume: bool = False) -> Path:
    """Runs a training to its end and writes the model directory.

    The order of batches and the learning rate depend only on the seed and the epoch, so a run
    that is killed and resumed writes the same metrics as one that is not interrupted.

    Args:
        config: the whole training file.
        out: directory of the run and of the resulting model.
        resume: continue from the last checkpoint in `out`.

    Returns:
        `out`.

    Raises:
        InputError: bad data or keys, a run already in `out`, another process that writes there,
            nothing to resume, a loss that is not finite (the last checkpoint is kept), a full
            disk, devices that do not divide the batch, processes that were started with
            different files or lost one another.
        KeyboardInterrupt: with a remark on the best model, which is written first.
    """
    out = Path(out)
    with jax.enable_x64(config.dtype == "float64"), processes(config.parallel):
        with together():
            devices = choose_devices(config.parallel, config.batches, config.accumulate)
        check_same({"jles": __version__, "jax": jax.__version__} | what_to_train(config))
        with contextlib.ExitStack() as held:
            with together():
                files = held.enter_context(_files(config, out, resume)) if is_first() else None
            _train(config, devices, files)
    return out


class _Files(NamedTuple):
    """The files that process 0 writes into the directory of the run."""

    out: Path
    log: MetricsLog
    checkpoints: Checkpoints
    resume: bool
    continues: bool


@contextlib.contextmanager
def _files(config: TrainConfig, out: Path, resume: bool):
    """Locks the directory of a run and checks that the run may start or resume there."""
    with only_writer(out), Checkpoints(out / "checkpoints") as checkpoints:
        log = MetricsLog(out)
        check_directory(config, out, log, resume)
        continues = resume and has_checkpoint(config, out, log, checkpoints)
        yield _Files(out, log, checkpoints, resume, continues)


def _train(config: TrainConfig, devices: Devices, files: _Files | None) -> None:
    if is_first():
        warn_unreached(config)
        warn_overlap(config.data)
    with together():
        prepared = prepare(config, devices)
    found = digests_of(prepared.train_frames, prepared.valid_frames)
    check_same({f"data in {name}": digest for name, digest in found.items()})
    for line in planned_sums(prepared):
        print(line, file=sys.stderr, flush=True)
    optimizer = build_optimizer(config.optimizer)
    steps = build_steps(
        prepared.potential,
        optimizer,
        needed_labels(config),
        devices,
        config.accumulate,
        config.remat,
        config.loss.huber,
        prepared.potential.config.backbone.compiles_quickly,
    )
    run = LoopState(
        steps.init(prepared.params), prepared.params, build_plateau(config.optimizer).init()
    )
    counters = Counters(0, 0, math.inf, -1, Within())
    with together():
        if files:
            lengths = prepared.train_loader.packing.lengths
            run, counters = _begin(config, files, run, counters, lengths, found)
    run, counters = from_first((run, counters))
    run = jax.tree.map(jnp.asarray, LoopState(*run))
    run = run._replace(state=devices.everywhere(run.state))
    counters = jax.tree.map(lambda value: np.asarray(value).item(), counters)
    run, counters = _epochs(config, prepared, steps, run, counters, files)
    if files:
        run = jax.tree.map(np.asarray, run)
        _finish(config, files.out, prepared, run, counters, files.log)


def _begin(
    config: TrainConfig, files: _Files, run: LoopState, counters: Counters, lengths, data
):
    """The state to start from: that of the last checkpoint, if the run continues.

    `lengths` are those of the batches, see `restore`; `data` are digests, see `check_data`.
    """
    files.out.mkdir(parents=True, exist_ok=True)
    check_data(files.out, data, files.resume)
    if not files.resume:
        text = to_yaml(to_dict(config))
        write_atomically(files.out / "train.yaml", text)
    if files.continues:
        run, counters = restore(files.checkpoints, run, lengths)
        check_metrics(files.out, files.log, counters.best_epoch)
    files.log.start(counters.epoch)
    return LoopState(*run), counters


def _epochs(config, prepared, steps, run, counters, files: _Files | None):
    steps = steps._replace(
        train=announced(steps.train, "training step"),
        evaluate=announced(steps.evaluate, "validation"),
    )
    with ProgressBar("epoch", config.epochs, counters.epoch) as bar:
        for epoch in range(counters.epoch, config.epochs):
            try:
                run, counters, row = _advance(
                    config, prepared, steps, run, counters, epoch, files
                )
                bar.update(epoch + 1, describe(row))
                if files is not None:
                    _after_epoch(config, files, run, counters, row)
            except NotFiniteError as error:
                if files is None:  # process 0 reports it
                    raise SystemExit(2) from None
                kept = _kept(files.checkpoints)
                best = keep_best(config, files.out, prepared, run, counters, files.log)
                if best:
                    best += ": continue from it with model.start_from"
                raise InputError(f"{error}{kept}{best}") from None
            except KeyboardInterrupt:
                if files is None:
                    raise
                best = keep_best(config, files.out, prepared, run, counters, files.log)
                raise KeyboardInterrupt(best) from None
    return run, counters


def _after_epoch(
    config: TrainConfig, files: _Files, run: LoopState, counters: Counters, row
) -> None:
    """Adds a row to the metrics; writes a checkpoint if it is due."""
    files.log.append(row)
    if counters.epoch % config.checkpoint_every == 0 or counters.epoch == config.epochs:
        save_after_epoch(files.checkpoints, run, counters)


def _advance(config, prepared: Prepared, steps: Steps, run, counters, epoch, files=None):
    """One epoch and its validation: the new run and counters, and the metrics row."""
    state, step, row = _one_epoch(config, prepared, steps, run, counters, epoch, files)
    run = run._replace(state=state)
    best_loss, best_epoch = counters.best_loss, counters.best_epoch
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
    return run, Counters(epoch + 1, step, best_loss, best_epoch, Within()), row


def _one_epoch(config, prepared: Prepared, steps: Steps, run, counters, epoch, files=None):
    """All batches of an epoch: the new state, the step count and the metrics row."""
    weights = _weights(config, epoch)
    state, step, (done, loss_sum, total) = run.state, counters.step, counters.within
    total = jax.tree.map(np.dtype(config.dtype).type, total)
    scale = float(run.plateau.scale)
    order = config.seed, epoch
    loader = prepared.train_loader
    for batch, structure, labels in _batches(prepared, loader, order, done):
        rate = learning_rate(config.optimizer, step, epoch, config.epochs, scale)
        # The average has a short memory at first, to forget the random start.
        decay = min(config.optimizer.ema, (1.0 + step) / (10.0 + step))
        own = emphasized(weights, batch.emphasis)
        state, loss, errors = steps.train(state, structure, labels, own, rate, decay)
        loss = float(loss)
        if not math.isfinite(loss):
            raise NotFiniteError(_not_finite(epoch, batch, prepared.train_frames))
        total, loss_sum = _add(total, errors), loss_sum + loss
        step, done = step + 1, done + 1
        every = config.checkpoint_steps
        if files and every and step % every == 0 and done < loader.n_batches:
            within = Within(done, loss_sum, jax.tree.map(float, total))
            now = counters._replace(step=step, within=within)
            lengths = loader.packing.lengths
            save_within(files.checkpoints, run._replace(state=state), now, lengths)
    row = {
        "epoch": epoch,
        "step": step,
        "learning_rate": learning_rate(config.optimizer, step - 1, epoch, config.epochs, scale),
        "train_loss": loss_sum / done,
    }
    return state, step, row | _prefixed("train", total)


def _validate(steps: Steps, params, prepared: Prepared, epoch: int) -> Errors:
    """Errors on the validation frames; if they are not finite, the error names the batch."""
    total = None
    for _, errors in _errors_of_batches(steps, params, prepared):
        total = errors if total is None else _add(total, errors)
    if not all(math.isfinite(value) for value in jax.tree.leaves(total)):
        for batch, errors in _errors_of_batches(steps, params, prepared):
            named = _named(batch, prepared.valid_frames)
            _check_validation(errors, epoch, f" in the batch of {named}")
        # Every batch is finite; only the sum overflows.
        _check_validation(total, epoch)
    return total


def _errors_of_batches(steps: Steps, params, prepared: Prepared):
    """The batches of the validation frames and the errors of `params` on each of them."""
    for batch, structure, labels in _batches(prepared, prepared.valid_loader):
        yield batch, steps.evaluate(params, structure, labels)


def _batches(prepared: Prepared, loader, order=None, start: int = 0):
    """The batches of an epoch, with their structures and labels on all devices."""
    devices = prepared.devices
    for batch in loader.epoch(order, start=start, share=devices.share):
        yield batch, *devices.spread((batch.structure, batch.labels))


def _add(first: Errors, second: Errors) -> Errors:
    return jax.tree.map(operator.add, first, second)


def _prefixed(part: str, errors: Errors) -> dict:
    return {f"{part}_{name}": value for name, value in root_mean_square(errors).items()}


def _weights(config: TrainConfig, epoch: int) -> Weights:
    return Weights(*(at_epoch(getattr(config.loss, name), epoch) for name in LABELS))


def _named(batch, frames) -> str:
    return ", ".join(frames[n].source for n in batch.frames if n >= 0)


def _not_finite(epoch, batch, frames) -> str:
    return (
        f"epoch {epoch + 1}: the loss or its gradient is not finite in the batch of "
        f"{_named(batch, frames)}; check these frames, or start a new run with a lower "
        "optimizer.learning_rate"
    )


def _check_validation(errors: Errors, epoch: int, where: str = "") -> None:
    if not all(math.isfinite(value) for value in jax.tree.leaves(errors)):
        raise NotFiniteError(
            f"epoch {epoch + 1}: the validation errors are not finite{where}; check "
            "these frames, or start a new run with a lower optimizer.learning_rate"
        )


def _kept(checkpoints: Checkpoints) -> str:
    """A remark for the error of a run that stops early."""
    epoch = checkpoints.newest("last")
    return "" if epoch is None else f"; the checkpoint after epoch {epoch} is intact"


def _finish(config, out, prepared: Prepared, run: LoopState, counters: Counters, log) -> None:
    write_final(config, out, prepared, run, counters, log)
    learning_curve(out / "learning_curve.png", log.rows(), panels())
    needed = needed_labels(config)
    validation_pictures(out, prepared.potential, run.best, prepared.valid_loader, needed)
