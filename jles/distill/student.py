"""The student: its training file, its features before training, and its training."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax
import yaml
from ase import Atoms

from jles.config import from_dict, read_yaml, to_dict, to_nested_copy
from jles.data.frames import Frame, frame_from_atoms
from jles.data.survey import Survey, survey_frames
from jles.distill.config import StudentConfig
from jles.errors import InputError
from jles.models.potential import build_potential
from jles.predict.model import Model
from jles.train.config import LossConfig, TrainConfig
from jles.train.loop import train
from jles.train.prepare import model_of
from jles.train.schedules import stretched
from jles.train.starting_config import starting_config


def expected_survey(starts: Sequence[Frame], frames: int) -> Survey:
    """The survey of a training set of this many frames like the starts.

    Their labels are energy and forces; `student.settings` may add the stress.
    """
    labels = Counter({"energy": frames, "forces": frames})
    return survey_frames(starts)._replace(frames=frames, labels=labels)


def student_values(config: StudentConfig, file: str, survey: Survey) -> dict:
    """The training file of a student that learns from `file`, as nested values.

    Raises:
        InputError: the training file cannot be read.
    """
    if config.training_file is None:
        values = yaml.safe_load(starting_config(config.backbone, [file], survey))
    else:
        values = read_yaml(config.training_file)
    settings = to_nested_copy(config.settings)
    values = _merged(_for_epochs(values, settings.get("epochs")), settings)
    data = values.get("data") if isinstance(values.get("data"), dict) else {}
    kept = {name: value for name, value in data.items() if name not in ("train", "labels")}
    return values | {"data": {"train": file, **kept}}


def with_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The training with another number of epochs; its weights change at the same fractions."""
    loss = stretched(to_dict(config.loss), epochs / config.epochs)
    return config.replace(epochs=epochs, loss=from_dict(LossConfig, loss, "loss"))


def _for_epochs(values: dict, epochs) -> dict:
    """Values of a training file whose scheduled weights suit `epochs`, where these are given.

    What is not a training file is kept, for `student_config` to refuse.
    """
    before, loss = values.get("epochs"), values.get("loss")
    are_counts = all(isinstance(count, int) and count > 0 for count in (epochs, before))
    if not (are_counts and isinstance(loss, dict)):
        return values
    return values | {"loss": stretched(loss, epochs / before)}


def student_config(values: dict, config: StudentConfig) -> TrainConfig:
    """The checked training file.

    Raises:
        InputError: a wrong key or value.
    """
    where = config.training_file or "student.settings"
    return from_dict(TrainConfig, values, where)


def _merged(values: dict, changes: dict) -> dict:
    """Nested `values` with `changes`.

    A mapping with another `kind` and a scheduled weight are replaced as a whole.
    """
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        nested = isinstance(old, dict) and isinstance(change, dict)
        named = nested and all(isinstance(name, str) for name in change)
        same_kind = named and change.get("kind", old.get("kind")) == old.get("kind")
        result[key] = _merged(old, change) if same_kind else change
    return result


def untrained(config: TrainConfig, frames: Sequence[Atoms]) -> Model:
    """The student before its training, to describe frames with its features."""
    checked = [frame_from_atoms(atoms, source=f"frame {n}") for n, atoms in enumerate(frames)]
    model, params = model_of(config.model, checked)
    if params is None:
        with jax.enable_x64(config.dtype == "float64"):
            init = jax.jit(build_potential(model).init, static_argnums=1)
            params = init(jax.random.key(config.seed), config.dtype)
    return Model(model, params, config.dtype, "student before its training")


def trained(config: TrainConfig, out: Path) -> Path:
    """Trains into `out`, continues an interrupted training, or leaves a finished one.

    Raises:
        InputError: as `train`.
    """
    if not (out / "config.yaml").is_file():
        try:
            train(config, out, resume=(out / "train.yaml").is_file())
        except InputError as error:
            raise InputError(f"training the student: {error}") from None
    return out
