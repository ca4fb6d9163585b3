"""Constant pressure: the integrator of `jles.jax_md.npt`, driven by the engine."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float

from jles.dynamics.config import Npt
from jles.dynamics.integrators import Integrator
from jles.dynamics.motion import Motion
from jles.dynamics.units import FEMTOSECOND, PRESSURE_UNITS
from jles.jax_md import npt as flexible
from jles.jax_md.chains import degrees_of_freedom
from jles.typing import Scalar

Matrix = Float[Array, "3 3"]


class PressureBath(NamedTuple):
    """Barostat and thermostats.

    Attributes:
        momentum: momentum of the cell p_g, symmetric.
        mass: mass of the cell W, eV times internal time squared.
        virial: -dU/d strain at the current positions, eV.
        chain: thermostat of the atoms.
        cell_chain: thermostat of the cell.
    """

    momentum: Matrix
    mass: Array
    virial: Matrix
    chain: Any
    cell_chain: Any


def npt(masses, timestep: Scalar, config: Npt, free: bool = True) -> Integrator:
    """Integrator at constant pressure and temperature.

    Args:
        masses: u, (atoms, 1).
        timestep: fs.
        config: pressure, time constants and which changes of the cell are allowed.
        free: whether the total momentum is conserved.
    """
    pressure = config.pressure * PRESSURE_UNITS[config.pressure_unit]
    settings = flexible.Barostat(
        timestep * FEMTOSECOND,
        config.thermostat_time * FEMTOSECOND,
        config.barostat_time * FEMTOSECOND,
        config.cell == "isotropic",
        free,
    )

    def start(motion, key, kT, virial):
        del key
        atoms = motion.positions, motion.momenta, masses, motion.cell, motion.forces
        return _moved(motion, flexible.start(settings, *atoms, virial, kT))

    def step(motion, force_fn, kT):
        state = _state(motion, masses)
        return _moved(motion, flexible.step(settings, state, force_fn, kT, pressure))

    def bath_energy(motion, kT):
        return flexible.bath_energy(_state(motion, masses), kT, pressure)

    def strain_rate(motion):
        return motion.bath.momentum / motion.bath.mass

    degrees = degrees_of_freedom(len(masses), free)
    return Integrator(
        start, step, bath_energy, degrees, moves_cell=True, strain_rate=strain_rate
    )


def _state(motion: Motion, masses) -> flexible.NptState:
    bath = motion.bath
    return flexible.NptState(
        motion.positions,
        motion.momenta,
        motion.forces,
        masses,
        motion.cell,
        bath.virial,
        bath.momentum,
        bath.mass,
        bath.chain,
        bath.cell_chain,
    )


def _moved(motion: Motion, state: flexible.NptState) -> Motion:
    bath = PressureBath(
        state.cell_momentum, state.cell_mass, state.virial, state.thermostat, state.barostat
    )
    return motion._replace(
        positions=state.position,
        momenta=state.momentum,
        forces=state.force,
        cell=state.cell,
        bath=bath,
    )
