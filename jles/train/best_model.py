"""The model directory of the best parameters of a training."""

from pathlib import Path

import jax
import numpy as np

from jles.config import to_dict
from jles.data.shards.stored import StoredFrames
from jles.models.store import remove_model, save_model
from jles.structures.distances import merged_range, read_range
from jles.train.config import TrainConfig
from jles.train.log import MetricsLog
from jles.train.prepare import Prepared
from jles.train.run_state import Counters, LoopState
from jles.train.seen_elements import elements_record, first_training
from jles.train.states import charges_record
from jles.train.training_frames import kinds_of, needed_labels, to_list

_BEFORE_STOP = "best_before_stop"


def keep_best(
    config: TrainConfig,
    out: Path,
    prepared: Prepared,
    run: LoopState,
    counters: Counters,
    log: MetricsLog,
) -> str:
    """Writes `best_before_stop` of a run that stops early; returns a remark that names it."""
    if counters.best_epoch < 0:
        return ""
    place = out / _BEFORE_STOP
    write_model(config, place, prepared, run, counters, log)
    return f"; the best model so far (epoch {counters.best_epoch + 1}) is in {place}"


def write_final(
    config: TrainConfig,
    out: Path,
    prepared: Prepared,
    run: LoopState,
    counters: Counters,
    log: MetricsLog,
) -> None:
    """Writes the model of a finished run, which replaces the one of an earlier stop."""
    write_model(config, out, prepared, run, counters, log)
    remove_model(out / _BEFORE_STOP)


def write_model(
    config: TrainConfig,
    place: Path,
    prepared: Prepared,
    run: LoopState,
    counters: Counters,
    log: MetricsLog,
) -> None:
    """Writes the best parameters of `run` as a model, with the errors of their epoch."""
    best = next((row for row in log.rows() if row["epoch"] == counters.best_epoch), {})
    metrics = {
        part: {
            name.removeprefix(f"{part}_"): value
            for name, value in best.items()
            if name.startswith(f"{part}_")
        }
        for part in ("train", "valid")
    }
    first = first_training(config.model)
    training = {
        "files": to_list(config.data.train),
        "frames": len(prepared.train_frames),
        "validation_frames": len(prepared.valid_frames),
        "epochs": config.epochs,
        "best_epoch": counters.best_epoch + 1,
        "seed": config.seed,
        "dtype": config.dtype,
        "labels": list(needed_labels(config)),
        "label_keys": to_dict(config.data.labels) | _stored_keys(prepared.train_frames),
        "distances": _distances(prepared, first),
        **elements_record(kinds_of(prepared.train_frames), first),
        "neighbors": round(prepared.train_loader.average_neighbors(), 1),
        **charges_record(kinds_of(prepared.train_frames), first or {}),
    }
    best = jax.tree.map(np.asarray, run.best)
    save_model(place, prepared.potential.config, best, metrics, training)


def _stored_keys(frames) -> dict[str, str]:
    """Names of the labels in the files that shards were built from; none without shards."""
    return frames.index.keys if isinstance(frames, StoredFrames) else {}


def _distances(prepared: Prepared, first: dict | None) -> dict:
    """The shortest distances of the training data, and of those of the first training."""
    found = prepared.train_loader.distance_range()
    if first is None:
        return found.record()
    before = read_range(first.get("distances", {}))
    return {} if before is None else merged_range(found, before).record()
