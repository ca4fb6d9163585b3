"""The integrator of every kind of ensemble."""

from jles.dynamics.config import EnsembleConfig
from jles.dynamics.integrators import Integrator, langevin, nose_hoover, nve
from jles.dynamics.minimise import fire
from jles.dynamics.npt import npt
from jles.typing import Scalar


def build_integrator(
    config: EnsembleConfig, masses, timestep: Scalar | None, system
) -> Integrator:
    """The integrator of an ensemble; masses (atoms, 1), the timestep in fs."""
    if config.kind == "nve":
        return nve(masses, timestep, system.free)
    if config.kind == "langevin":
        return langevin(masses, timestep, config.get("friction"))
    if config.kind == "nose-hoover":
        return nose_hoover(masses, timestep, config.get("thermostat_time"), system.free)
    if config.kind == "minimise":
        return fire(len(masses), config.get("force_tolerance"), system.skin)
    return npt(masses, timestep, config, system.free)
