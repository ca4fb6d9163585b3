"""Integrators of fixed cells, from the pieces of `jax_md.simulate`.

jax-md's own `nve`, `nvt_langevin` and `nvt_nose_hoover` are these compositions (tests compare
them); put together here, they give the number of degrees of freedom that a conserved momentum
leaves and the heat that a thermostat has given.
"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jles.dynamics.motion import Motion, kinetic_energy
from jles.dynamics.units import FEMTOSECOND, PICOSECOND

ForceFn = Callable[..., Any]


class Integrator(NamedTuple):
    """One way to move.

    Attributes:
        start: `(motion, key, kT) -> motion`, with its bath.
        step: `(motion, force_fn, kT) -> motion`; `force_fn(positions) -> forces`, of an integrator
            that moves the cell `force_fn(positions, cell) -> (forces, virial)`.
        bath_energy: `(motion, kT) -> eV`: with U + K, less the work of a field, conserved.
        degrees: of freedom, for temperatures.
        moves_cell: static.
        is_done: `motion -> bool`: nothing is left to do.
    """

    start: Callable[..., Motion]
    step: Callable[..., Motion]
    bath_energy: Callable[..., Array]
    degrees: int
    moves_cell: bool = False
    is_done: Callable[..., Array] = lambda motion: jnp.zeros((), bool)


def degrees_of_freedom(atoms: int, conserved_momentum: bool) -> int:
    """3N, less three where the total momentum cannot change."""
    return 3 * atoms - 3 if conserved_momentum and atoms > 1 else 3 * atoms


@contextmanager
def quiet():
    """jax-md asks for float64 sums, which a float32 JAX tells everyone about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype")
        yield


def shift(positions, change, **_):
    """Free space: atoms are never wrapped."""
    return positions + change


def nve(masses, timestep: float, free: bool = True) -> Integrator:
    """Velocity Verlet (`jax_md.simulate.nve`); the timestep in fs."""
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


def langevin(masses, timestep: float, friction: float) -> Integrator:
    r"""BAOAB Langevin dynamics (`jax_md.simulate.nvt_langevin`).

    What is conserved up to the error of the integration is U + K less the heat that the random
    step has given (Bussi, Parrinello, Phys. Rev. E 75, 056707 (2007)).

    Args:
        masses: u, (atoms, 1).
        timestep: fs.
        friction: 1/ps.
    """
    from jax_md import simulate

    dt, rate = timestep * FEMTOSECOND, friction / PICOSECOND

    def step(motion, force_fn, kT):
        key, given = motion.bath
        state = simulate.NVTLangevinState(
            motion.positions, motion.momenta, motion.forces, masses, key
        )
        state = simulate.momentum_step(state, dt / 2)
        state = simulate.position_step(state, shift, dt / 2)
        cold = kinetic_energy(state.momentum, masses)
        state = simulate.stochastic_step(state, dt, kT, rate)
        given += kinetic_energy(state.momentum, masses) - cold
        state = simulate.position_step(state, shift, dt / 2)
        state = state.set(force=force_fn(state.position))
        state = simulate.momentum_step(state, dt / 2)
        return _moved(motion, state)._replace(bath=(state.rng, given))

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
    masses, timestep: float, thermostat_time: float, free: bool = True
) -> Integrator:
    """Nosé-Hoover chain of five (`jax_md.simulate.nvt_nose_hoover`); times in fs."""
    from jax_md import simulate

    degrees = degrees_of_freedom(len(masses), free)
    chain_fns = nose_hoover_chain(timestep, thermostat_time)

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
        return moved._replace(bath=like(motion.bath, chain))

    return Integrator(
        start=start,
        step=step,
        bath_energy=lambda motion, kT: chain_energy(motion.bath, kT),
        degrees=degrees,
    )


def nose_hoover_chain(timestep: float, thermostat_time: float):
    """Functions of a chain of five with two Suzuki-Yoshida substeps; times in fs."""
    from jax_md import simulate

    return simulate.nose_hoover_chain(
        timestep * FEMTOSECOND, 5, 2, 3, thermostat_time * FEMTOSECOND
    )


def start_chain(chain_fns, degrees: int, kinetic: Array, kT: Array):
    """A chain at rest, every number in it of one dtype."""
    chain = chain_fns.initialize(degrees, kinetic, kT)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, kinetic.dtype), chain)


def chain_energy(chain, kT) -> Array:
    r""":math:`\sum_k p_k^2/2Q_k + kT(N_f\xi_1 + \xi_2 + \dots)`, eV."""
    weights = jnp.ones_like(chain.position).at[0].set(chain.degrees_of_freedom)
    return jnp.sum(chain.momentum**2 / (2.0 * chain.mass)) + kT * weights @ chain.position


def like(before, after):
    """`after` in the dtypes of `before`, which a loop must not change."""
    return jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), before, after)


def _moved(motion: Motion, state) -> Motion:
    return motion._replace(positions=state.position, momenta=state.momentum, forces=state.force)
