"""Integrators for a fixed cell, composed of functions of `jax_md.simulate`.

They make the same steps as jax-md's `nve`, `nvt_langevin` and `nvt_nose_hoover`. In addition
they count the degrees of freedom of a system whose momentum is conserved, and the heat that the
thermostat supplies.
"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from jles.dynamics.motion import Motion
from jles.dynamics.units import FEMTOSECOND, PICOSECOND
from jles.jax_md.chains import (
    chain_energy,
    degrees_of_freedom,
    keep_dtypes,
    nose_hoover_chain,
    start_chain,
)
from jles.jax_md.npt import kinetic_energy
from jles.typing import Scalar

ForceFn = Callable[..., Any]


class Integrator(NamedTuple):
    """Equations of motion, discretised.

    Attributes:
        start: `(motion, key, kT) -> motion`, with the initial bath. An integrator that moves
            the cell takes the virial as a fourth argument.
        step: `(motion, force_fn, kT) -> motion`, with `force_fn(positions) -> forces`, or
            `force_fn(positions, cell) -> (forces, virial)` if the cell moves.
        bath_energy: `(motion, kT) -> eV`. U + K + bath energy - work of the field is conserved.
        degrees: number of degrees of freedom, for temperatures.
        moves_cell: static.
        strain_rate: `motion -> v`, where the cell changes by dh/dt = h v, in internal units;
            None if it is fixed.
        is_done: `motion -> bool`: whether to stop before the last step.
    """

    start: Callable[..., Motion]
    step: Callable[..., Motion]
    bath_energy: Callable[..., Array]
    degrees: int
    moves_cell: bool = False
    strain_rate: Callable[..., Array | None] = lambda motion: None
    is_done: Callable[..., Array] = lambda motion: jnp.zeros((), bool)


@contextmanager
def quiet():
    """Silences the warning that float32 JAX gives when jax-md asks for float64 sums."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype")
        yield


def shift(positions, change, **_):
    """Displacement without wrapping, as jax-md's `space.free`."""
    return positions + change


def nve(masses, timestep: Scalar, free: bool = True) -> Integrator:
    """Velocity Verlet (`jax_md.simulate.nve`); timestep in fs."""
    from jax_md import simulate

    def step(motion, force_fn, kT):
        del kT
        state = simulate.NVEState(motion.positions, motion.momenta, motion.forces, masses)
        state = simulate.velocity_verlet(force_fn, shift, timestep * FEMTOSECOND, state)
        return _moved(motion, state)

    return Integrator(
        start=lambda motion, key, kT: motion._replace(bath=()),
        step=step,
        bath_energy=lambda motion, kT: jnp.zeros((), motion.positions.dtype),
        degrees=degrees_of_freedom(len(masses), free),
    )


def langevin(masses, timestep: Scalar, friction: float) -> Integrator:
    r"""BAOAB Langevin dynamics (`jax_md.simulate.nvt_langevin`).

    U + K minus the heat supplied by the random step is conserved up to integration errors
    (Bussi, Parrinello, Phys. Rev. E 75, 056707 (2007)).

    Args:
        masses: u, (atoms, 1).
        timestep: fs.
        friction: 1/ps.
    """
    from jax_md import simulate

    dt, rate = timestep * FEMTOSECOND, friction / PICOSECOND

    def step(motion, force_fn, kT):
        key, heat = motion.bath
        state = simulate.NVTLangevinState(
            motion.positions, motion.momenta, motion.forces, masses, key
        )
        state = simulate.momentum_step(state, dt / 2)
        state = simulate.position_step(state, shift, dt / 2)
        before = kinetic_energy(state.momentum, masses)
        state = simulate.stochastic_step(state, dt, kT, rate)
        heat += kinetic_energy(state.momentum, masses) - before
        state = simulate.position_step(state, shift, dt / 2)
        state = state.set(force=force_fn(state.position))
        state = simulate.momentum_step(state, dt / 2)
        return _moved(motion, state)._replace(bath=(state.rng, heat))

    def start(motion, key, kT):
        del kT
        return motion._replace(bath=(key, jnp.zeros((), motion.positions.dtype)))

    return Integrator(
        start=start,
        step=step,
        bath_energy=lambda motion, kT: -motion.bath[1],
        degrees=3 * len(masses),
    )


def nose_hoover(
    masses, timestep: Scalar, thermostat_time: float, free: bool = True
) -> Integrator:
    """Nosé-Hoover chain of five (`jax_md.simulate.nvt_nose_hoover`); times in fs."""
    from jax_md import simulate

    degrees = degrees_of_freedom(len(masses), free)
    chain_fns = nose_hoover_chain(timestep * FEMTOSECOND, thermostat_time * FEMTOSECOND)

    def start(motion, key, kT):
        del key
        kinetic = kinetic_energy(motion.momenta, masses)
        return motion._replace(bath=start_chain(chain_fns, degrees, kinetic, kT))

    def step(motion, force_fn, kT):
        chain = chain_fns.update_mass(motion.bath, kT)
        momenta, chain = chain_fns.half_step(motion.momenta, chain, kT)
        state = simulate.NVEState(motion.positions, momenta, motion.forces, masses)
        state = simulate.velocity_verlet(force_fn, shift, timestep * FEMTOSECOND, state)
        chain = chain.set(kinetic_energy=kinetic_energy(state.momentum, masses))
        momenta, chain = chain_fns.half_step(state.momentum, chain, kT)
        moved = _moved(motion, state.set(momentum=momenta))
        return moved._replace(bath=keep_dtypes(motion.bath, chain))

    return Integrator(
        start=start,
        step=step,
        bath_energy=lambda motion, kT: chain_energy(motion.bath, kT),
        degrees=degrees,
    )


def _moved(motion: Motion, state) -> Motion:
    return motion._replace(positions=state.position, momenta=state.momentum, forces=state.force)
