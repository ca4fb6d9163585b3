"""The training file: its keys, their defaults and allowed values (docs/config.md)."""

from typing import Annotated, Literal

from msgspec import Meta

from jles.config import Config, Seed, count, positive
from jles.data.frames import LabelKeys
from jles.data.packing import Budget
from jles.data.selections import first_repeated
from jles.errors import ConfigError, InputError
from jles.models.config import (
    BackboneConfig,
    ElementEnergies,
    Elements,
    ModelParts,
    ScreeningConfig,
    check_heads,
    check_symbols,
)
from jles.train.parallel_config import ParallelConfig

MANY = 2**31 - 1
Weight = Annotated[float, Meta(ge=0.0, le=1e12)]
Schedule = Weight | dict[count(MANY, least=0), Weight]
"""A weight, or {first epoch: weight} for a weight that changes."""
Threshold = Annotated[float, Meta(ge=1e-9, le=1e12)]
"""Of Huber's loss, in the unit of its label."""


class DataConfig(Config):
    """Training files; validation uses files or a seeded part of the training frames."""

    train: tuple[str, ...] | str
    valid: tuple[str, ...] | str = ()
    valid_fraction: float = 0.1
    split_seed: Seed = 0
    limit: count(MANY) | None = None
    labels: LabelKeys = LabelKeys()
    max_buckets: count(1000) = 4
    cache: str | None = None
    workers: count(1000, least=0) = 0

    def __post_init__(self):
        super().__post_init__()
        if not self.valid and not 0.0 < self.valid_fraction < 1.0:
            raise ConfigError(
                f"valid_fraction: must lie between 0 and 1 if no valid file is given, "
                f"got {self.valid_fraction}"
            )
        if not self.train:
            raise ConfigError("train: names no file")
        if not self.valid:
            _refuse_repeated(self.train)


def _refuse_repeated(files: tuple[str, ...] | str) -> None:
    """Frames that come twice could be in both the training and the validation part."""
    file = None if isinstance(files, str) else first_repeated(files)
    if file is not None:
        raise ConfigError(
            f"train: names frames of {file} twice, and a part of its frames is held out; keep "
            "one, or name a file with valid"
        )


_BESIDE_START_FROM = ("element_energies", "screening")


class ModelSection(ModelParts):
    """A new model, or `start_from`: a model directory that gives the initial parameters.

    With `start_from` only `element_energies` and `screening` may be given, the rest is the
    stored model's. `element_energies` null fits those of a new model and keeps those of
    `start_from`; `screening` null keeps that of `start_from`.
    """

    backbone: BackboneConfig | None = None
    screening: ScreeningConfig | None = None
    elements: Elements | None = None
    element_energies: ElementEnergies | Literal["fit"] | None = None
    start_from: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if (self.backbone is None) == (self.start_from is None):
            raise InputError("give exactly one of 'backbone' (a new model) and 'start_from'")
        check_heads(self)
        check_symbols("elements", self.elements or ())
        if isinstance(self.element_energies, dict):
            check_symbols("element_energies", self.element_energies)
        if self.start_from is None:
            return
        default = ModelParts()
        for name in (*default.__struct_fields__, "elements"):
            if getattr(self, name) != getattr(default, name, None):
                raise ConfigError(
                    f"{name}: cannot be changed with 'start_from', which keeps the stored "
                    f"model; take it out (only {' and '.join(_BESIDE_START_FROM)} may be given)"
                )


class LossConfig(Config):
    """Weights of the mean squared errors; thresholds of Huber's loss (docs/config.md).

    Energy per atom (eV), forces (eV/angstrom), stress (eV/angstrom^3), Born charges (e), dipole
    (e angstrom; of a crystal modulo the quantum), polarizability (e angstrom^2/V).
    """

    energy: Schedule = 10.0
    forces: Schedule = 1.0
    stress: Schedule = 0.0
    born_charges: Schedule = 0.0
    dipole: Schedule = 0.0
    polarizability: Schedule = 0.0
    huber: dict[str, Threshold] = {}

    def __post_init__(self):
        super().__post_init__()
        schedules = self.schedules()
        for name in self.huber:
            if name not in schedules:
                raise ConfigError(
                    f"huber.{name}: no such label; the labels are {', '.join(schedules)}"
                )
            if not any(schedules[name].values()):
                raise ConfigError(
                    f"huber.{name}: has no effect, since the label has weight 0; give "
                    f"loss.{name} a weight, or take the threshold out"
                )
        for name, weights in schedules.items():
            if 0 not in weights:
                raise ConfigError(f"{name}: a scheduled weight must have a value for epoch 0")
        if not any(max(weights.values()) for weights in schedules.values()):
            raise InputError("all labels have weight 0: nothing to learn")

    def schedules(self) -> dict[str, dict[int, float]]:
        """The weights of every label by first epoch."""
        labels = (name for name in self.__struct_fields__ if name != "huber")
        weights = {name: getattr(self, name) for name in labels}
        return {name: w if isinstance(w, dict) else {0: w} for name, w in weights.items()}


class OptimizerConfig(Config):
    """AdamW, AMSGrad or Muon, and the schedule of the learning rate.

    `clip_norm` bounds the norm of the gradient, `clip_update` the step of every parameter, in
    learning rates.
    `schedule`: "constant"; "step" multiplies by `factor` every `step_epochs`; "plateau"
    multiplies by `factor` when the validation loss has not improved for `patience` validations,
    down to `min_scale`; "cosine" would reach `min_scale` in the epoch after the last. Warm-up
    rises linearly over `warmup_steps`.
    """

    name: Literal["adamw", "amsgrad", "muon"] = "adamw"
    learning_rate: positive(1000.0) = 3e-3
    weight_decay: Annotated[float, Meta(ge=0.0, le=1e6)] = 0.0
    clip_norm: positive(1e12) | None = 10.0
    clip_update: positive(1e6) | None = None
    warmup_steps: count(MANY, least=0) = 0
    schedule: Literal["constant", "step", "plateau", "cosine"] = "cosine"
    step_epochs: count(MANY) = 100
    factor: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.5
    patience: count(MANY) = 20
    min_scale: Annotated[float, Meta(ge=0.0, le=1.0)] = 1e-3
    ema: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.99


class TrainConfig(Config):
    """Everything `jles train` needs."""

    data: DataConfig
    model: ModelSection
    epochs: count(MANY)
    out: str | None = None
    batch_size: count(1_000_000) = 4
    batch_atoms: count(MANY) | None = None
    batch_edges: count(MANY) | None = None
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = "float32"
    checkpoint_every: count(MANY) = 1
    checkpoint_steps: count(MANY) | None = None
    validate_every: count(MANY) = 1
    parallel: ParallelConfig | None = None
    accumulate: count(1_000_000) = 1
    remat: bool = False

    @property
    def batches(self) -> int | Budget:
        """Structures in a batch, or what a batch may hold."""
        if self.batch_atoms is None and self.batch_edges is None:
            return self.batch_size
        return Budget(self.batch_atoms, self.batch_edges)
