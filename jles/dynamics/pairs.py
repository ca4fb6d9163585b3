"""Integrators of jax-md as they are, driven by the engine."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from jles.dynamics.integrators import ForceFn, Integrator
from jles.dynamics.motion import Motion
from jles.jax_md.chains import degrees_of_freedom, keep_dtypes
from jles.typing import Scalar

Pair = tuple[Callable, Callable]


def from_pair(
    make: Callable[[ForceFn], Pair],
    masses,
    free: bool = True,
    bath_energy: Callable[[object, Scalar], Array] | None = None,
) -> Integrator:
    """An integrator from an `(init, apply)` pair of jax-md, for a fixed cell.

    The state of jax-md is kept as the bath of the motion. Its units are those of
    `jles.dynamics.units`.

    Args:
        make: `force_fn -> (init, apply)`, for example
            `lambda force_fn: simulate.nvt_nose_hoover(force_fn, shift, dt, kT)`. The pair is
            made for every trace, because forces depend on neighbours and field.
        masses: u, (atoms, 1).
        free: whether the total momentum is conserved.
        bath_energy: `(state, kT) -> eV`, what must be added to U + K to be conserved; by
            default nothing.
    """

    def start(motion: Motion, key, kT) -> Motion:
        init, _ = make(lambda positions, **_: motion.forces)
        state = init(key, motion.positions, kT=kT, mass=masses, momenta=motion.momenta)
        return _moved(motion, state)

    def step(motion: Motion, force_fn, kT) -> Motion:
        _, apply = make(force_fn)
        return _moved(motion, keep_dtypes(motion.bath, apply(motion.bath, kT=kT)))

    def energy(motion: Motion, kT):
        none = jnp.zeros((), motion.positions.dtype)
        return none if bath_energy is None else bath_energy(motion.bath, kT)

    return Integrator(start, step, energy, degrees_of_freedom(len(masses), free))


def _moved(motion: Motion, state) -> Motion:
    return motion._replace(
        positions=state.position, momenta=state.momentum, forces=state.force, bath=state
    )
