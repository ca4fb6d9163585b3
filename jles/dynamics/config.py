"""What can be said about a run in a file; docs/dynamics.md lists every key with its unit."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from jles.errors import InputError
from jles.units import FIELD_UNITS, STRONGEST_FIELD

Vector = tuple[float, float, float]

_OF_THERMOSTATS = ("temperature", "temperature_end")
_OF_KIND = {
    "nve": (),
    "langevin": (*_OF_THERMOSTATS, "friction"),
    "nose-hoover": (*_OF_THERMOSTATS, "thermostat_time"),
    "npt": (
        *_OF_THERMOSTATS,
        "thermostat_time",
        "barostat_time",
        "pressure",
        "pressure_unit",
        "cell",
    ),
    "minimise": ("force_tolerance",),
}
"""Keys of an ensemble beside its kind."""

_OF_SHAPE = {
    "constant": (),
    "step": ("start",),
    "ramp": ("start", "end"),
    "sine": ("start", "period", "phase"),
    "pulse": ("center", "width", "period", "phase"),
    "cycle": ("start", "period"),
}
"""Keys of a field beside its kind, amplitude and unit."""

_OPTIONAL = {("sine", "phase"), ("pulse", "period"), ("pulse", "phase")}


@dataclass(frozen=True)
class EnsembleConfig:
    """What is held fixed; a key that is None has the default of docs/dynamics.md or no meaning."""

    kind: Literal["nve", "langevin", "nose-hoover", "npt", "minimise"] = "nve"
    temperature: float | None = None
    temperature_end: float | None = None
    friction: float | None = None
    thermostat_time: float | None = None
    pressure: float | None = None
    pressure_unit: Literal["eV/angstrom^3", "GPa"] | None = None
    barostat_time: float | None = None
    cell: Literal["isotropic", "full"] | None = None
    force_tolerance: float | None = None

    def __post_init__(self):
        _refuse_foreign(self, _OF_KIND, "ensemble")
        thermal = "temperature" in _OF_KIND[self.kind]
        if thermal and self.temperature is None:
            raise InputError(f"temperature: kind '{self.kind}' needs one (K)")
        if self.kind == "npt" and None in (self.pressure, self.pressure_unit):
            raise InputError(
                "pressure: kind 'npt' needs a pressure and its pressure_unit, "
                "'GPa' or 'eV/angstrom^3'"
            )
        _check_positive(self, "temperature", "temperature_end")
        _check_positive(self, "friction", unit="1/ps")
        _check_positive(self, "thermostat_time", "barostat_time", unit="fs")
        _check_positive(self, "force_tolerance", unit="eV/angstrom")

    def get(self, key: str):
        """The value of a key, or its default."""
        value = getattr(self, key)
        return DEFAULTS[key] if value is None else value


DEFAULTS = {
    "friction": 1.0,
    "thermostat_time": 100.0,
    "barostat_time": 1000.0,
    "cell": "full",
    "force_tolerance": 0.01,
}
"""Of the keys of an ensemble: 1/ps, fs, fs, none, eV/angstrom."""


@dataclass(frozen=True)
class VelocityConfig:
    """What the atoms start with."""

    source: Literal["auto", "file", "draw"] = "auto"
    temperature: float | None = None

    def __post_init__(self):
        if self.temperature is not None and not self.temperature >= 0.0:
            raise InputError(f"temperature: must not be negative (K), got {self.temperature}")


@dataclass(frozen=True)
class WaveConfig:
    """A vector as a function of time: a field, or a displacement over eps0; times in fs."""

    kind: Literal["constant", "step", "ramp", "sine", "pulse", "cycle"]
    amplitude: Vector
    unit: Literal["V/angstrom", "kV/cm"]
    start: float | None = None
    end: float | None = None
    period: float | None = None
    phase: float | None = None
    center: float | None = None
    width: float | None = None

    def __post_init__(self):
        _refuse_foreign(self, _OF_SHAPE, "field", keep={"amplitude", "unit"})
        for key in _OF_SHAPE[self.kind]:
            if getattr(self, key) is None and (self.kind, key) not in _OPTIONAL | _WITH_ZERO:
                raise InputError(f"{key}: kind '{self.kind}' needs one (fs)")
        _check_positive(self, "period", "width", unit="fs")
        if self.kind == "ramp" and not self.end > (self.start or 0.0):
            raise InputError(
                f"end: must come after start {self.start or 0.0} fs, got {self.end}"
            )


_WITH_ZERO = {(kind, "start") for kind in ("ramp", "sine", "cycle")}
"""Times that are zero where nothing is said."""


@dataclass(frozen=True)
class FieldConfig(WaveConfig):
    """An applied electric field."""

    sum_rule: bool = True
    work: bool = True
    strongest: ClassVar[float] = STRONGEST_FIELD

    def __post_init__(self):
        super().__post_init__()
        largest = FIELD_UNITS[self.unit] * max(map(abs, self.amplitude))
        if largest > self.strongest:
            raise InputError(
                f"amplitude: {largest:g} V/angstrom is stronger than {self.strongest:g}; is the "
                "unit kV/cm? 1 kV/cm is 1e-5 V/angstrom"
            )


@dataclass(frozen=True)
class DisplacementConfig(FieldConfig):
    """A fixed electric displacement, given as D/eps0."""

    branch: Vector = (0.0, 0.0, 0.0)
    # A polarization over eps0 is some V/angstrom.
    strongest: ClassVar[float] = 10.0 * STRONGEST_FIELD


@dataclass(frozen=True)
class NeighborConfig:
    """Of the list of neighbours."""

    skin: float = 0.5

    def __post_init__(self):
        _check_positive(self, "skin", unit="angstrom")


@dataclass(frozen=True)
class RecordConfig:
    """Every how many steps each thing is recorded; 0: never."""

    thermo: int = 10
    polarization: int = 0
    current: int = 0
    positions: int = 20
    velocities: int = 0
    polarizability: int = 0
    born_charges: int = 0
    energy_parts: int = 0
    extxyz: int = 0

    def __post_init__(self):
        for key, value in vars(self).items():
            if value < 0:
                raise InputError(
                    f"{key}: must be a number of steps or 0 for never, got {value}"
                )


@dataclass(frozen=True)
class MdConfig:
    """A whole run."""

    steps: int
    timestep: float | None = None
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    ensemble: EnsembleConfig = dataclasses.field(default_factory=EnsembleConfig)
    velocities: VelocityConfig = dataclasses.field(default_factory=VelocityConfig)
    field: FieldConfig | None = None
    displacement: DisplacementConfig | None = None
    neighbors: NeighborConfig = dataclasses.field(default_factory=NeighborConfig)
    block: int = 100
    record: RecordConfig = dataclasses.field(default_factory=RecordConfig)
    checkpoint: int = 10_000

    def __post_init__(self):
        minimises = self.ensemble.kind == "minimise"
        if not minimises and self.timestep is None:
            raise InputError("timestep: is missing (fs)")
        if minimises and self.timestep is not None:
            raise InputError("timestep: has no meaning for ensemble kind 'minimise'")
        _check_positive(self, "timestep", unit="fs")
        for key in ("steps", "block", "checkpoint"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}: must be at least 1 (steps), got {getattr(self, key)}")
        if self.steps >= 2**31:
            raise InputError(f"steps: must be below 2^31, got {self.steps}")
        if self.field is not None and self.displacement is not None:
            raise InputError("displacement: cannot be fixed together with a field; keep one")
        if self.displacement is not None and self.ensemble.kind == "npt":
            raise InputError(
                "ensemble.kind 'npt' at a fixed displacement needs its stress, which this version "
                "does not have; give a field, or take 'nve', 'langevin' or 'nose-hoover'"
            )


def _check_positive(record, *keys, unit: str = "K") -> None:
    for key in keys:
        value = getattr(record, key, None)
        if value is not None and not 0.0 < value < float("inf"):
            raise InputError(f"{key}: must be positive ({unit}), got {value}")


def _refuse_foreign(record, table: dict, what: str, keep=frozenset()) -> None:
    """Refuses keys that belong to other kinds: they would be ignored without a word."""
    own = table[record.kind]
    for key in {key for keys in table.values() for key in keys} - set(own) - keep:
        if getattr(record, key) is not None:
            known = ", ".join(own) or "none"
            raise InputError(
                f"{key}: has no meaning for {what} kind '{record.kind}', whose keys are: {known}"
            )
