"""From a training file to what the loop needs: frames, potential, parameters, loaders."""

import math
import sys
import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ase.data import atomic_numbers, chemical_symbols

from jles.compiling import compiling
from jles.config import under_key
from jles.data.frames import check_elements
from jles.data.loader import RESPONSES, Loader
from jles.data.offsets import fit_element_energies, fit_stored_energies, mean_energy
from jles.data.shards.stored import StoredFrames
from jles.data.stream import StreamLoader
from jles.electrostatics.plan import SumPlan, describe_plan
from jles.errors import ConfigError, InputWarning
from jles.follow import follow
from jles.models.config import ModelConfig, ModelParts, ScreeningConfig
from jles.models.normalization import awaits_statistics
from jles.models.potential import Potential, build_potential
from jles.models.store import read_model
from jles.models.sum_config import ElectrostaticsConfig
from jles.train.config import ModelSection, TrainConfig
from jles.train.element_energies import fit_rest
from jles.train.feature_statistics import feature_statistics
from jles.train.parallel import Devices
from jles.train.response_labels import check_responses
from jles.train.seen_elements import elements_record, first_training, warn_unseen
from jles.train.states import check_labels, check_states
from jles.train.training_frames import (
    Frames,
    judging_labels,
    kinds_of,
    load_frames,
    needed_labels,
)

LARGE_ENERGY = 50.0
"""Energies per atom beyond this, eV, contain core electrons."""

UNCONVERGED = 0.05
"""Weights of the electrostatic sum that are larger than this at its cutoff are warned of."""


class Prepared(NamedTuple):
    """All that is fixed before the first epoch."""

    potential: Potential
    params: dict
    train_frames: Frames
    valid_frames: Frames
    train_loader: Loader | StreamLoader
    valid_loader: Loader | StreamLoader
    devices: Devices = Devices()  # noqa: RUF009


def prepare(config: TrainConfig, devices: Devices = Devices()) -> Prepared:  # noqa: B008
    """Reads and checks data, assembles the model, builds neighbour lists and batches.

    Args:
        config: the training file.
        devices: which share the batches.

    Raises:
        InputError: a mistake in a file, a label, an element or a key.
    """
    needed = needed_labels(config)
    train_frames, valid_frames = load_frames(config.data, needed, judging_labels(config))
    model, params = model_of(config.model, train_frames)
    if params is None and model.charges is not None:
        warn_unconverged(model.electrostatics)
    given = config.model.start_from is not None or config.model.elements is not None
    where = "of the model" if given else "of the training data"
    for frames in (train_frames, valid_frames):
        check_elements(kinds_of(frames), model.numbers, where)
        check_responses(needed, model, kinds_of(frames))
    seen = elements_record(kinds_of(train_frames), first_training(config.model))
    warn_unseen(model.elements, seen)
    kinds = [*kinds_of(train_frames), *kinds_of(valid_frames)]
    check_states(model, kinds, config.data.labels)
    if model.has_labels:
        for frames in (train_frames, valid_frames):
            if isinstance(frames, StoredFrames):
                for n in follow(range(len(frames)), "frame"):
                    check_labels(model, frames.read(n), config.data.labels)
    potential = build_potential(model)
    train_loader = _loader(config, model, train_frames, needed, devices)
    dtype = jnp.dtype(config.dtype)
    if params is None:
        init = jax.jit(potential.init, static_argnums=1)
        params = init(jax.random.key(config.seed), dtype)
    else:
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    if awaits_statistics(model, params):
        with compiling("features", partial(print, file=sys.stderr, flush=True)):
            params["features"] = feature_statistics(potential, params, train_loader)
    potential.check(params)
    if config.model.start_from is not None and config.model.element_energies == "fit":
        potential = _refitted(potential, params, train_loader)
        model = potential.config
        train_loader = _loader(config, model, train_frames, needed, devices)
    valid_loader = _loader(config, model, valid_frames, needed, devices)
    return Prepared(
        potential, params, train_frames, valid_frames, train_loader, valid_loader, devices
    )


def _refitted(potential: Potential, params: dict, loader) -> Potential:
    """The potential with element energies that leave out what the network predicts."""
    with compiling("energies", partial(print, file=sys.stderr, flush=True)):
        left = fit_rest(potential, params, loader)
    energies = potential.config.element_energies
    energies = {symbol: energy + left[symbol] for symbol, energy in energies.items()}
    return build_potential(potential.config.replace(element_energies=energies))


def _loader(config: TrainConfig, model: ModelConfig, frames: Frames, needed, devices):
    """Batches of frames in memory, or of frames that are read when they are due."""
    options = {
        "cutoff": model.backbone.cutoff,
        "batch_size": config.batches,
        "offsets": model.element_energies,
        "responses": [name for name in RESPONSES if name in needed],
        "labelled": model.has_labels,
        "dtype": config.dtype,
        "max_buckets": config.data.max_buckets,
        "parts": devices.share.parts * config.accumulate,
        **model.sum_options,
    }
    if isinstance(frames, StoredFrames):
        return StreamLoader(frames, workers=config.data.workers, **options)
    return Loader(
        frames, cache_dir=config.data.cache, track=partial(follow, name="frame"), **options
    )


def planned_sums(prepared) -> list[str]:
    """A line for every electrostatic sum that was planned; none without a long-range part."""
    sizes = (*prepared.train_loader.sizes, *prepared.valid_loader.sizes)
    plans = dict.fromkeys(size.plan for size in sizes)
    accuracy = prepared.potential.config.electrostatics.accuracy
    return [f"long range: {describe_plan(p, accuracy)}" for p in plans if p != SumPlan()]


def model_of(section: ModelSection, frames: Frames) -> tuple[ModelConfig, dict | None]:
    """The model of a training file, and the parameters that it starts from if any are stored.

    Args:
        section: of the training file.
        frames: to which the element energies are fitted, and which give the elements.
    """
    if section.start_from is not None:
        stored = read_model(section.start_from)
        energies = stored.config.element_energies | _new_energies(
            section, frames, stored.config
        )
        if not energies:
            _warn_large_energies(section.start_from, frames)
        screening = section.screening or stored.config.screening
        with under_key("model"):
            config = stored.config.replace(element_energies=energies, screening=screening)
        return config, stored.params
    elements = section.elements
    if elements is None:
        present = sorted({int(z) for frame in kinds_of(frames) for z in frame.numbers})
        elements = tuple(chemical_symbols[z] for z in present)
    with under_key("model"):
        model = ModelConfig(
            elements=elements,
            backbone=section.backbone,
            screening=section.screening or ScreeningConfig(),
            **{name: getattr(section, name) for name in ModelParts.__struct_fields__},
        )
    if section.element_energies is None:
        section = section.replace(element_energies="fit")
    energies = _new_energies(section, frames, model)
    with under_key("model"):
        return model.replace(element_energies=energies), None


def warn_unconverged(sums: ElectrostaticsConfig) -> None:
    """Warns of a reciprocal sum that leaves out much of the field of a smeared charge.

    The pair sum of clusters leaves out nothing, so the two would be different models.
    """
    weight = math.exp(-0.5 * (sums.sigma * sums.k_max) ** 2)
    if weight > UNCONVERGED:
        warnings.warn(
            f"model.electrostatics: with sigma {sums.sigma:g} and k_max {sums.k_max:.3g} the "
            f"sum over wave vectors ends where its weight is {weight:.2g}, so that a molecule "
            "and the same molecule in a large cell have different energies; set k_max to "
            f"about {3.1 / sums.sigma:.3g} (3.1 / sigma)",
            InputWarning,
            stacklevel=3,
        )


def _warn_large_energies(folder: str, frames: Frames) -> None:
    """Warns of total energies that a model without element energies can hardly learn."""
    mean = mean_energy(frames)
    if abs(mean) > LARGE_ENERGY:
        warnings.warn(
            f"model.start_from: {folder} has no element energies, and the energies are "
            f"{mean:.4g} eV per atom on average; unless the model predicts energies of this "
            "size, set model.element_energies: fit",
            InputWarning,
            stacklevel=3,
        )


def _new_energies(section: ModelSection, frames: Frames, model: ModelConfig) -> dict:
    """Element energies (eV) that the training file sets; empty if it keeps the old ones."""
    if section.element_energies is None:
        return {}
    if section.element_energies == "fit":
        fitted = _fitted(frames, model)
        if section.start_from is None:
            return fitted
        # The fit knows nothing of elements without energies: keep those of the model.
        kinds = kinds_of(frames)
        seen = {int(z) for f in kinds if "energy" in f.labels for z in f.numbers}
        return {symbol: fitted[symbol] for symbol in fitted if atomic_numbers[symbol] in seen}
    unknown = sorted(set(section.element_energies) - set(model.elements))
    if unknown:
        raise ConfigError(
            f"model.element_energies: {', '.join(unknown)} not among the model's elements "
            f"({', '.join(model.elements)})"
        )
    missing = sorted(set(model.elements) - set(section.element_energies))
    if missing and section.start_from is None:
        raise ConfigError(
            f"model.element_energies: no energy of {', '.join(missing)}; give those of all "
            f"elements ({', '.join(model.elements)}), or leave the key out to fit them"
        )
    return dict(section.element_energies)


def _fitted(frames: Frames, model: ModelConfig) -> dict[str, float]:
    if not isinstance(frames, StoredFrames):
        return fit_element_energies(frames, model.numbers)
    check_elements(kinds_of(frames), model.numbers)
    return fit_stored_energies(frames, model.numbers)
