"""Minimisation by `jax_md.minimize.fire_descent`, as an integrator that stops by itself."""

import jax.numpy as jnp

from jles.dynamics.integrators import Integrator
from jles.jax_md.chains import degrees_of_freedom, keep_dtypes

FARTHEST = 0.1
"""Maximum displacement of an atom per step, angstrom."""


def fire(atoms: int, force_tolerance: float, skin: float = jnp.inf) -> Integrator:
    """Fast inertial relaxation of the positions in a fixed cell, with equal masses.

    Args:
        atoms: number of atoms.
        force_tolerance: stop when the force on every atom is smaller, eV/angstrom.
        skin: skin of the neighbour list, angstrom; steps are at most a quarter of it.

    Source: Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006).
    """
    from jax_md import minimize

    farthest = min(FARTHEST, skin / 4)

    def shift(positions, change, **_):
        longest = jnp.sqrt(jnp.max(jnp.sum(change**2, axis=1)))
        return positions + change * jnp.minimum(1.0, farthest / jnp.maximum(longest, farthest))

    def start(motion, key, kT):
        del key, kT
        values = 0.1, 0.1, 0
        dtypes = motion.positions.dtype, motion.positions.dtype, jnp.int32
        bath = tuple(jnp.asarray(v, d) for v, d in zip(values, dtypes, strict=True))
        return motion._replace(bath=bath, momenta=jnp.zeros_like(motion.momenta))

    def step(motion, force_fn, kT):
        del kT
        mass = jnp.ones((), motion.positions.dtype)
        state = minimize.FireDescentState(
            motion.positions, motion.momenta, motion.forces, mass, *motion.bath
        )
        _, apply = minimize.fire_descent(force_fn, shift)
        state = apply(state)
        return motion._replace(
            positions=state.position,
            momenta=keep_dtypes(motion.momenta, state.momentum),
            forces=state.force,
            bath=keep_dtypes(motion.bath, (state.dt, state.alpha, state.n_pos)),
        )

    def is_done(motion):
        return jnp.max(jnp.sum(motion.forces**2, axis=1)) < force_tolerance**2

    return Integrator(
        start=start,
        step=step,
        bath_energy=lambda motion, kT: jnp.zeros((), motion.positions.dtype),
        degrees=degrees_of_freedom(atoms, True),
        is_done=is_done,
    )
