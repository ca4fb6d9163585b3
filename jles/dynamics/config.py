"""Configuration of a run; docs/dynamics.md lists every key with its unit."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from jles.config import Config, Finite, Seed, count, positive
from jles.errors import ConfigError, InputError
from jles.local_devices import LocalDevices
from jles.units import FIELD_UNITS, STRONGEST_FIELD

MOST_STEPS = 2**31 - 1
Vector = tuple[Finite, Finite, Finite]
Kelvin = positive(1e5, "K")
Time = positive(1e9, "fs")
Pressure = Annotated[float, Meta(ge=-1e9, le=1e9, description="eV/angstrom^3 or GPa")]
Moment = Annotated[float, Meta(ge=-1e12, le=1e12, description="fs")]


class _OneOfKind(Config):
    @classmethod
    def upgrade(cls, values: dict) -> dict:
        """Older versions gave every kind the keys of all kinds, null where unused."""
        return {key: value for key, value in values.items() if value is not None}


class _Ensemble(_OneOfKind):
    temperature: ClassVar[float | None] = None
    temperature_end: ClassVar[float | None] = None


class Nve(_Ensemble, tag_field="kind", tag="nve"):
    """Constant energy: velocity Verlet."""


class _Thermal(_Ensemble, kw_only=True):
    temperature: Kelvin
    temperature_end: Kelvin | None = None


class Langevin(_Thermal, tag_field="kind", tag="langevin"):
    """Constant temperature by friction and noise."""

    friction: positive(1e6, "1/ps") = 1.0


class NoseHoover(_Thermal, tag_field="kind", tag="nose-hoover"):
    """Constant temperature by a Nose-Hoover chain."""

    thermostat_time: Time = 100.0


class Npt(_Thermal, tag_field="kind", tag="npt", kw_only=True):
    """Constant temperature and pressure."""

    pressure: Pressure
    pressure_unit: Literal["eV/angstrom^3", "GPa"]
    thermostat_time: Time = 100.0
    barostat_time: Time = 1000.0
    cell: Literal["full", "isotropic"] = "full"


class Minimise(_Ensemble, tag_field="kind", tag="minimise"):
    """Relaxation of the positions, until no force is above the tolerance."""

    force_tolerance: positive(1e6, "eV/angstrom") = 0.01


EnsembleConfig = Nve | Langevin | NoseHoover | Npt | Minimise
"""All ensembles; the first one is that of a section without `kind`."""


class VelocityConfig(Config):
    """Initial velocities."""

    source: Literal["auto", "file", "draw"] = "auto"
    temperature: Annotated[float, Meta(ge=0.0, le=1e5, description="K")] | None = None


class _Wave(_OneOfKind, kw_only=True):
    """A vector as a function of time: a field, or a displacement over eps0; times in fs.

    Only a displacement has a `branch` (e angstrom), which is subtracted from the polarization.
    """

    amplitude: Vector
    unit: Literal["V/angstrom", "kV/cm"]
    sum_rule: bool = True
    work: bool = True
    branch: Vector = (0.0, 0.0, 0.0)

    @property
    def strength(self) -> float:
        """Largest component of the amplitude, V/angstrom."""
        return FIELD_UNITS[self.unit] * max(map(abs, self.amplitude))


class Constant(_Wave, tag_field="kind", tag="constant"):
    """The same at all times."""


class Step(_Wave, tag_field="kind", tag="step", kw_only=True):
    """Switched on at `start`."""

    start: Moment


class Ramp(_Wave, tag_field="kind", tag="ramp", kw_only=True):
    """Rises linearly from `start` to `end`."""

    start: Moment = 0.0
    end: Moment

    def __post_init__(self):
        super().__post_init__()
        if not self.end > self.start:
            raise ConfigError(f"end: must come after start {self.start} fs, got {self.end}")


class Sine(_Wave, tag_field="kind", tag="sine", kw_only=True):
    """A sine from `start` on; `phase` in degrees."""

    period: Time
    start: Moment = 0.0
    phase: Finite = 0.0


class Pulse(_Wave, tag_field="kind", tag="pulse", kw_only=True):
    """A Gaussian, with a carrier wave if there is a `period`; `phase` in degrees."""

    center: Moment
    width: Time
    period: Time | None = None
    phase: Finite = 0.0


class Cycle(_Wave, tag_field="kind", tag="cycle", kw_only=True):
    """A triangle wave from `start` on."""

    period: Time
    start: Moment = 0.0


WaveConfig = Constant | Step | Ramp | Sine | Pulse | Cycle


class NeighborConfig(Config):
    """Of the list of neighbours."""

    skin: positive(100.0, "angstrom") = 0.5


Interval = count(MOST_STEPS, least=0)


class RecordConfig(Config):
    """Every how many steps each thing is recorded; 0: never."""

    thermo: Interval = 10
    polarization: Interval = 0
    current: Interval = 0
    positions: Interval = 20
    velocities: Interval = 0
    polarizability: Interval = 0
    born_charges: Interval = 0
    charges: Interval = 0
    dipoles: Interval = 0
    quadrupoles: Interval = 0
    energy_parts: Interval = 0
    extxyz: Interval = 0


class MdConfig(Config):
    """A whole run."""

    steps: count(MOST_STEPS)
    timestep: positive(1000.0, "fs") | None = None
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = "float32"
    ensemble: EnsembleConfig = Nve()
    velocities: VelocityConfig = VelocityConfig()
    field: WaveConfig | None = None
    displacement: WaveConfig | None = None
    neighbors: NeighborConfig = NeighborConfig()
    parallel: LocalDevices | None = None
    block: count(1_000_000) = 100
    record: RecordConfig = RecordConfig()
    checkpoint: count(MOST_STEPS) = 10_000

    def __post_init__(self):
        super().__post_init__()
        minimises = isinstance(self.ensemble, Minimise)
        if not minimises and self.timestep is None:
            raise ConfigError("timestep: is missing (fs)")
        if minimises and self.timestep is not None:
            raise ConfigError("timestep: has no meaning for ensemble kind 'minimise'")
        if self.field is not None and self.displacement is not None:
            raise ConfigError("displacement: cannot be fixed together with a field; keep one")
        if self.displacement is not None and isinstance(self.ensemble, Npt):
            raise InputError(
                "ensemble.kind 'npt' at a fixed displacement needs its stress, which this "
                "version does not have; give a field, or take 'nve', 'langevin' or "
                "'nose-hoover'"
            )
        if self.field is not None and any(self.field.branch):
            raise ConfigError("field.branch: only a displacement has a branch; take it out")
        # A polarization over eps0 is some V/angstrom.
        for name, strongest in (
            ("field", STRONGEST_FIELD),
            ("displacement", 10 * STRONGEST_FIELD),
        ):
            wave = getattr(self, name)
            if wave is not None and wave.strength > strongest:
                raise ConfigError(
                    f"{name}.amplitude: {wave.strength:g} V/angstrom is stronger than "
                    f"{strongest:g}; is the unit kV/cm? 1 kV/cm is 1e-5 V/angstrom"
                )
