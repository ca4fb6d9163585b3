"""The training file: every key, its default and what it must be (docs/config.md)."""

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from jles.data.frames import LabelKeys
from jles.errors import InputError
from jles.models.config import (
    CaceConfig,
    ChargeConfig,
    ElectrostaticsConfig,
    MomentConfig,
    PolarizabilityConfig,
    ReadoutConfig,
    ResponseConfig,
    ScreeningConfig,
    SoftnessConfig,
    check_element_energies,
    check_heads,
    check_symbols,
)

Schedule = float | dict[int, float]
"""A weight, or {first epoch: weight} for a weight that changes."""


@dataclass(frozen=True)
class DataConfig:
    """Files to learn from; validation from files, or a seeded part of the training frames."""

    train: tuple[str, ...] | str
    valid: tuple[str, ...] | str = ()
    valid_fraction: float = 0.1
    split_seed: int = 0
    limit: int | None = None
    labels: LabelKeys = field(default_factory=LabelKeys)
    max_buckets: int = 4
    cache: str | None = None

    def __post_init__(self):
        if not self.valid and not 0.0 < self.valid_fraction < 1.0:
            raise InputError(
                f"valid_fraction must lie between 0 and 1 where no valid file is given, "
                f"got {self.valid_fraction}"
            )
        if self.max_buckets < 1:
            raise InputError(f"max_buckets must be at least 1, got {self.max_buckets}")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be at least 1 frame, got {self.limit}")
        if not self.train:
            raise InputError("train names no file")
        if self.split_seed < 0:
            raise InputError(f"split_seed must not be negative, got {self.split_seed}")


_BESIDE_START_FROM = ("element_energies", "screening")


@dataclass(frozen=True)
class ModelSection:
    """A new model, or `start_from` a model directory whose parameters training goes on with.

    `element_energies` null fits those of a new model and keeps those of `start_from`, `screening`
    null keeps its screening, beside
    which only these two may be given: the rest is the stored model's.
    """

    backbone: CaceConfig | None = None
    energy: ReadoutConfig = field(default_factory=ReadoutConfig)
    charges: ChargeConfig | None = field(default_factory=ChargeConfig)
    dipoles: MomentConfig | None = None
    quadrupoles: MomentConfig | None = None
    charge_softness: SoftnessConfig | None = None
    polarizability: PolarizabilityConfig | None = None
    response: ResponseConfig = field(default_factory=ResponseConfig)
    electrostatics: ElectrostaticsConfig = field(default_factory=ElectrostaticsConfig)
    screening: ScreeningConfig | None = None
    elements: tuple[str, ...] | None = None
    element_energies: dict[str, float] | Literal["fit"] | None = None
    normalize_features: bool = True
    start_from: str | None = None

    def __post_init__(self):
        if (self.backbone is None) == (self.start_from is None):
            raise InputError("give exactly one of 'backbone' (a new model) and 'start_from'")
        if self.elements is not None:
            check_symbols(self.elements)
        if isinstance(self.element_energies, dict):
            check_element_energies(self.element_energies)
        check_heads(self)
        if self.start_from is not None:
            self._check_start_from()

    def _check_start_from(self):
        untouched = ModelSection(backbone=CaceConfig(cutoff=1.0))
        given = [
            spec.name
            for spec in fields(self)
            if spec.name not in {"backbone", "start_from", *_BESIDE_START_FROM}
            and getattr(self, spec.name) != getattr(untouched, spec.name)
        ]
        if given:
            raise InputError(
                f"{given[0]}: cannot be changed beside 'start_from', whose own model holds; "
                f"take it out (only {' and '.join(_BESIDE_START_FROM)} may be given)"
            )


@dataclass(frozen=True)
class LossConfig:
    """Weights of the mean squared errors (docs/config.md).

    Energy per atom (eV), forces (eV/angstrom), stress (eV/angstrom^3), Born charges (e), dipole
    (e angstrom; of a crystal modulo the quantum), polarizability (e angstrom^2/V).
    """

    energy: Schedule = 10.0
    forces: Schedule = 1.0
    stress: Schedule = 0.0
    born_charges: Schedule = 0.0
    dipole: Schedule = 0.0
    polarizability: Schedule = 0.0

    def __post_init__(self):
        learns = False
        for spec in fields(self):
            name, weight = spec.name, getattr(self, spec.name)
            values = weight.values() if isinstance(weight, dict) else (weight,)
            if isinstance(weight, dict) and 0 not in weight:
                raise InputError(f"{name}: a scheduled weight must say what holds from epoch 0")
            if not all(value >= 0.0 and math.isfinite(value) for value in values):
                raise InputError(
                    f"{name}: weights must be finite and not negative, got {weight}"
                )
            if any(value > 0.0 for value in values):
                learns = True
        if not learns:
            raise InputError("all labels have weight 0: nothing to learn")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or its AMSGrad variant and the course of the learning rate.

    `schedule`: "constant"; "step" multiplies by `factor` every `step_epochs`; "plateau"
    multiplies by `factor` when the validation loss has not improved for `patience` validations,
    down to `min_scale`; "cosine" falls to `min_scale`, which the epoch after the last would have.
    Warm-up rises linearly over `warmup_steps`.
    """

    name: Literal["adamw", "amsgrad"] = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    clip_norm: float | None = 10.0
    warmup_steps: int = 0
    schedule: Literal["constant", "step", "plateau", "cosine"] = "cosine"
    step_epochs: int = 100
    factor: float = 0.5
    patience: int = 20
    min_scale: float = 1e-3
    ema: float = 0.99

    def __post_init__(self):
        if not 0.0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0.0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay must not be negative, got {self.weight_decay}")
        if not 0.0 <= self.min_scale <= 1.0:
            raise InputError(f"min_scale must lie between 0 and 1, got {self.min_scale}")
        if not 0.0 <= self.ema < 1.0:
            raise InputError(f"ema must lie in [0, 1), got {self.ema}; 0 switches it off")
        if not 0.0 < self.factor < 1.0:
            raise InputError(f"factor must lie between 0 and 1, got {self.factor}")
        if self.step_epochs < 1 or self.patience < 1 or self.warmup_steps < 0:
            raise InputError(
                "step_epochs and patience must be at least 1, warmup_steps 0 or more"
            )
        if self.clip_norm is not None and not self.clip_norm > 0.0:
            raise InputError(f"clip_norm must be positive or null, got {self.clip_norm}")


@dataclass(frozen=True)
class TrainConfig:
    """Everything `jles train` needs."""

    data: DataConfig
    model: ModelSection
    epochs: int
    out: str | None = None
    batch_size: int = 4
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    checkpoint_every: int = 1
    validate_every: int = 1

    def __post_init__(self):
        for name in ("epochs", "batch_size", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}")
