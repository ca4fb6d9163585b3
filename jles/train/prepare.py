"""From a training file to what the loop runs on: frames, potential, parameters, loaders."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols

from jles.data.frames import Frame, check_elements, read_frames
from jles.data.loader import Loader
from jles.data.offsets import fit_element_energies
from jles.data.splits import split_frames
from jles.errors import InputError
from jles.models.config import ModelConfig
from jles.models.potential import Potential, build_potential
from jles.models.store import read_model
from jles.train.config import DataConfig, ModelSection, TrainConfig
from jles.train.optimizer import at_epoch


class Prepared(NamedTuple):
    """Everything fixed before the first epoch."""

    potential: Potential
    params: dict
    train_frames: list[Frame]
    valid_frames: list[Frame]
    train_loader: Loader
    valid_loader: Loader


def prepare(config: TrainConfig) -> Prepared:
    """Reads and checks data, assembles the model, builds neighbour lists and batches.

    Raises:
        InputError: anything wrong with a file, a label, an element or a key.
    """
    train_frames, valid_frames = load_frames(config.data, needed_labels(config))
    model, params = _model(config.model, train_frames)
    for frames, where in ((train_frames, "training data"), (valid_frames, "validation data")):
        check_elements(frames, model.numbers, where)
    potential = build_potential(model)
    train_loader, valid_loader = (
        Loader(
            frames,
            cutoff=model.backbone.cutoff,
            k_max=model.electrostatics.k_max if model.charges else None,
            batch_size=config.batch_size,
            offsets=model.element_energies,
            dtype=config.dtype,
            max_buckets=config.data.max_buckets,
            cache_dir=config.data.cache,
        )
        for frames in (train_frames, valid_frames)
    )
    dtype = jnp.dtype(config.dtype)
    if params is None:
        init = jax.jit(potential.init, static_argnums=1)
        params = init(jax.random.key(config.seed), dtype)
        if model.normalize_features:
            params["features"] = feature_statistics(potential, params, train_loader)
    else:
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    return Prepared(potential, params, train_frames, valid_frames, train_loader, valid_loader)


def needed_labels(config: TrainConfig) -> tuple[str, ...]:
    """Labels whose weight is not zero at every epoch."""
    weights = {name: getattr(config.loss, name) for name in ("energy", "forces", "stress")}
    return tuple(
        name
        for name, weight in weights.items()
        if any(at_epoch(weight, epoch) > 0.0 for epoch in range(config.epochs))
    )


def load_frames(data: DataConfig, need: tuple[str, ...]) -> tuple[list[Frame], list[Frame]]:
    """Training and validation frames of a run."""

    def read(files):
        files = (files,) if isinstance(files, str) else files
        frames = [frame for file in files for frame in read_frames(file, data.labels)]
        # One file may lack what another has; where none has it, the first says what it holds.
        missing = [n for n in need if not any(n in frame.labels for frame in frames)]
        if missing:
            read_frames(files[0], data.labels, missing)
        return frames

    frames = read(data.train)
    if data.limit is not None:
        frames = frames[: data.limit]
    if data.valid:
        return frames, read(data.valid)
    return split_frames(frames, data.valid_fraction, data.split_seed)


def _model(section: ModelSection, frames: list[Frame]) -> tuple[ModelConfig, dict | None]:
    if section.start_from is not None:
        stored = read_model(section.start_from)
        return stored.config, stored.params
    elements = section.elements
    if elements is None:
        present = sorted({int(z) for frame in frames for z in frame.numbers})
        elements = tuple(chemical_symbols[z] for z in present)
    model = ModelConfig(
        elements=elements,
        backbone=section.backbone,
        energy=section.energy,
        charges=section.charges,
        electrostatics=section.electrostatics,
        normalize_features=section.normalize_features,
    )
    if section.element_energies == "fit":
        energies = fit_element_energies(frames, model.numbers)
    else:
        energies = section.element_energies
        unknown = sorted(set(energies) - set(elements))
        if unknown:
            raise InputError(
                f"model.element_energies: {', '.join(unknown)} not among the model's elements "
                f"({', '.join(elements)})"
            )
    return replace(model, element_energies=dict(energies)), None


def feature_statistics(potential: Potential, params: dict, loader: Loader) -> dict:
    """Shift and scale that give an atom's features zero mean and unit length on average.

    Length one for the whole vector, not one for each of hundreds of entries: an optimizer that
    moves every weight by the learning rate then moves the answer by about as much. A feature
    that never varies is only shifted. Two passes over the sums in float64 keep the
    variance exact.
    """
    features_fn = jax.jit(jax.vmap(potential.features_fn, (None, 0)))

    def blocks():
        for batch in loader.epoch(None):
            values = np.asarray(features_fn(params, batch.structure), np.float64)
            yield values[np.asarray(batch.structure.mask)]

    count = total = 0
    for block in blocks():
        count += len(block)
        total = total + block.sum(axis=0)
    mean = total / count
    variance = sum(((block - mean) ** 2).sum(axis=0) for block in blocks()) / count
    deviation = np.sqrt(variance)
    varies = deviation > 1e-6 * np.abs(mean)
    scale = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 1.0) / np.sqrt(len(mean))
    dtype = params["features"]["mean"].dtype
    return {"mean": jnp.asarray(mean, dtype), "scale": jnp.asarray(scale, dtype)}


def run_directory(config: TrainConfig, out: str | None, source: str) -> Path:
    """Where a run writes: `--out`, else the file's `out`, else `runs/` and the file's name."""
    return Path(out or config.out or Path("runs") / Path(source).stem)
