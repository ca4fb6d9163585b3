"""Many independent copies of one run, and the statistics of what they record.

The mean over time of one long trajectory has an error that must itself be estimated from
correlated frames, and the trajectory is chaotic: another processor computes another one. The
means of independent copies are independent numbers, so Student's t holds for them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import BlockState, advance, start_motion
from jles.dynamics.integrators import quiet
from jles.dynamics.records import Snapshot

COPIES = 64
SIGMAS = 5.0
"""A t with 63 degrees of freedom is farther from zero with a probability of 5e-6."""


def run_copies(engine, positions, momenta, frames, every=1, seed=0):
    """Runs every copy and records it each `every` steps, the start left out.

    Args:
        engine: its plan and what drives it are used; the system must need no neighbours.
        positions: (copies, atoms, 3).
        momenta: (copies, atoms, 3).
        frames: how many are recorded.
        every: steps between frames.
        seed: of the random numbers.

    Returns:
        By record and quantity, arrays whose first two axes are copies and frames.
    """
    plan, forcing = engine.plan, engine.forcing

    def step(_, loop):
        moved = advance(plan, loop, None, forcing)
        return loop._replace(motion=moved, step=loop.step + 1)

    def frame(loop, _):
        loop = jax.lax.fori_loop(0, every, step, loop)
        time = loop.step * plan.clock
        snapshot = Snapshot(loop.motion, None, forcing, loop.step, time)
        return loop, {name: r.values(snapshot) for name, r in plan.recorders.items()}

    def one(positions, momenta, key):
        cell = jnp.asarray(plan.system.cell, positions.dtype)
        motion = start_motion(plan, positions, momenta, cell, None, forcing, key)
        loop = BlockState(motion, jnp.int32(0), jnp.int32(-1))
        return jax.lax.scan(frame, loop, None, frames)[1]

    keys = jax.random.split(jax.random.PRNGKey(seed), len(positions))
    with quiet():
        found = jax.jit(jax.vmap(one))(jnp.asarray(positions), jnp.asarray(momenta), keys)
    return jax.tree.map(np.asarray, found)


def assert_mean(values, expected, error, bias=0.0):
    """The mean of independent copies is `expected`.

    Args:
        values: (copies,) or (copies, frames), whose mean over frames is taken first.
        expected: of the mean.
        error: largest standard error at which the statement still says something.
        bias: what the integration error of the timestep may add.
    """
    means = np.asarray(values).reshape(len(values), -1).mean(axis=1)
    own = means.std(ddof=1) / np.sqrt(len(means))
    assert own < error, f"standard error {own:.3g}, at most {error:.3g}"
    off = abs(means.mean() - expected)
    assert off < SIGMAS * own + bias, f"{means.mean():.6g} is {off / own:.2g} errors off"
