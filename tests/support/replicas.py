"""Many independent copies of one run, and the statistics of what they record.

The mean over time of one long trajectory has an error that must be estimated from correlated
frames, and the trajectory is chaotic: another processor computes another one. The means of
independent copies are independent numbers, so Student's t holds for them.

A stationary distribution is tested by starting the copies from it: then nothing has to relax
first. A few copies that start far away test that a thermostat drives a system there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import BlockState, advance, start_motion
from jles.dynamics.integrators import quiet
from jles.dynamics.records import Snapshot

COPIES = 48
SIGMAS = 5.0
"""A t with 47 degrees of freedom is farther from zero with a probability of 8e-6."""


class Start(NamedTuple):
    """Initial states of copies; the first axis of every array is that of the copies.

    Attributes:
        positions: (copies, atoms, 3).
        momenta: (copies, atoms, 3).
        timestep: fs, (copies,).
        thermal: whether thermostats start from their own distribution or at rest, (copies,).
        cell: (copies, 3, 3); None for that of the system.
    """

    positions: np.ndarray
    momenta: np.ndarray
    timestep: np.ndarray
    thermal: np.ndarray
    cell: np.ndarray | None = None


def make_start(positions, momenta, timestep, thermal, cell=None) -> Start:
    """Copies that share a timestep and the state of their thermostats."""
    count = len(momenta)
    every = np.full(count, timestep, float), np.full(count, thermal)
    return Start(np.asarray(positions), np.asarray(momenta), *every, cell)


def join(*starts: Start) -> Start:
    """One start with the copies of all."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *starts)


def run_copies(make_engine, start, frames, every, thermalise=lambda bath, key, kT: bath):
    """Runs all copies at once and records them each `every` steps, the start left out.

    Args:
        make_engine: the engine for a timestep, which is traced; its system needs no neighbours.
        start: initial states.
        frames: number of frames.
        every: steps between frames.
        thermalise: `(bath, key, kT) -> bath`, draws the bath of an integrator from equilibrium.

    Returns:
        By record and quantity, arrays whose first two axes are copies and frames.
    """

    def one(start, key):
        engine = make_engine(start.timestep)
        plan, forcing = engine.plan, engine.forcing

        def step(_, state):
            moved = advance(plan, state, None, forcing)
            return state._replace(motion=moved, step=state.step + 1)

        def frame(state, _):
            state = jax.lax.fori_loop(0, every, step, state)
            time = state.step * plan.clock
            snapshot = Snapshot(state.motion, None, forcing, state.step, time)
            return state, {name: r.values(snapshot) for name, r in plan.recorders.items()}

        cell = jnp.asarray(plan.system.cell) if start.cell is None else start.cell
        key, own = jax.random.split(key)
        motion = start_motion(plan, start.positions, start.momenta, cell, None, forcing, key)
        drawn = thermalise(motion.bath, own, forcing.kT[0])
        bath = jax.tree.map(lambda a, b: jnp.where(start.thermal, a, b), drawn, motion.bath)
        motion = motion._replace(bath=bath)
        state = BlockState(motion, jnp.int32(0), jnp.int32(-1))
        return jax.lax.scan(frame, state, None, frames)[1]

    keys = jax.random.split(jax.random.PRNGKey(0), len(start.positions))
    with quiet():
        found = jax.jit(jax.vmap(one))(jax.tree.map(jnp.asarray, start), keys)
    return jax.tree.map(np.asarray, found)


def thermal_chain(chain, key, kT):
    """A Nosé-Hoover chain in equilibrium: Gaussian momenta."""
    noise = jax.random.normal(key, chain.momentum.shape, chain.momentum.dtype)
    return chain.set(momentum=jnp.sqrt(chain.mass * kT) * noise)


def thermal_momenta(masses, kT, rng, count=COPIES):
    """Maxwell-Boltzmann momenta whose sum is zero."""
    momenta = rng.normal(size=(count, len(masses), 3)) * np.sqrt(masses * kT)[:, None]
    drift = momenta.sum(axis=1, keepdims=True) / masses.sum()
    return momenta - masses[:, None] * drift


def assert_mean(values, expected, error, bias=0.0):
    """The mean of independent copies is `expected`.

    Args:
        values: (copies, frames, ...); the mean over all axes but the first is taken first.
        expected: value of the mean.
        error: largest standard error at which the statement is meaningful.
        bias: what the integration error of the timestep may add.
    """
    means = np.asarray(values).reshape(len(values), -1).mean(axis=1)
    own = means.std(ddof=1) / np.sqrt(len(means))
    assert own < error, f"standard error {own:.3g}, at most {error:.3g}"
    off = abs(means.mean() - expected)
    assert off < SIGMAS * own + bias, f"{means.mean():.6g} is {off / own:.2g} errors off"


def assert_second_order(coarse, fine, frames, most):
    """The error of the conserved quantity is a quarter at half the timestep.

    The ratio of two root mean squares over 48 copies and some 400 fs has a standard error of
    6 %, a fifth of what is allowed. A wrong weight in the conserved quantity gives an error
    that does not depend on the timestep; a first-order step gives one that is halved.

    Args:
        coarse: records of the copies at the larger timestep.
        fine: records at half of it.
        frames: number of frames of the larger timestep; twice as many are taken of the other.
        most: largest error at the smaller timestep, in units of the changes of the energy.
    """
    large, _ = spread(coarse, frames)
    small, energy = spread(fine, 2 * frames)
    assert small < most * energy
    assert 4.0 / 1.4 < large / small < 4.0 * 1.4


def spread(thermo, frames):
    """Root mean square change of the conserved quantity and of the energy within copies."""
    conserved = thermo["conserved"][:, :frames]
    energy = (thermo["potential_energy"] + thermo["kinetic_energy"])[:, :frames]
    return tuple(np.sqrt(np.mean(part.var(axis=1))) for part in (conserved, energy))
