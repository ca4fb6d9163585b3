"""The integrator of every kind of ensemble."""

from jles.dynamics.config import EnsembleConfig, Langevin, Minimise, NoseHoover, Npt, Nve
from jles.dynamics.integrators import Integrator, langevin, nose_hoover, nve
from jles.dynamics.minimise import fire
from jles.dynamics.npt import npt
from jles.typing import Scalar


def build_integrator(
    config: EnsembleConfig, masses, timestep: Scalar | None, system
) -> Integrator:
    """The integrator of an ensemble; masses (atoms, 1), the timestep in fs."""
    match config:
        case Nve():
            return nve(masses, timestep, system.free)
        case Langevin():
            return langevin(masses, timestep, config.friction)
        case NoseHoover():
            return nose_hoover(masses, timestep, config.thermostat_time, system.free)
        case Npt():
            return npt(masses, timestep, config, system.free)
        case Minimise():
            return fire(len(masses), config.force_tolerance, system.skin)
