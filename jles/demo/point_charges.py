"""Configurations of hidden point charges with exact energies and forces.

128 particles, half with +1 e ("Na") and half with -1 e ("Cl"), in a cubic box of 12 angstrom:
the energy is Coulomb (Ewald) plus a short-range, purely repulsive pair term. Positions are
sampled from the repulsive fluid without charges, so the charges are randomly ordered and forces
are large.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc

from jles.electrostatics.sums.ewald import ewald_energy
from jles.electrostatics.sums.kgrid import plan_kgrid
from jles.units import COULOMB_CONSTANT

N_PARTICLES = 128
BOX = 12.0
CHARGE = 1.0
REPULSION_LENGTH, REPULSION_ENERGY = 2.0, 0.05
TEMPERATURE = 0.025
# With these the smeared sum and its complement are converged to 1e-9 (relative).
_SIGMA, _K_MAX = 1.0, 6.6


def make_frames(count: int, seed: int) -> list:
    """Independent configurations as ASE atoms, with energy (eV) and forces (eV/angstrom).

    The array `charge_ref` holds the hidden charges, for comparison only.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    charges = hidden_charges()
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), count)
        positions = jax.lax.map(jax.jit(_sample), keys, batch_size=8)
        energy, gradient = jax.lax.map(
            jax.value_and_grad(partial(total_energy, jnp.asarray(charges))), positions
        )
    frames = []
    for place, value, slope in zip(
        *map(np.asarray, (positions, energy, gradient)), strict=True
    ):
        half = N_PARTICLES // 2
        atoms = Atoms(["Na"] * half + ["Cl"] * half, place, cell=[BOX] * 3, pbc=True)
        atoms.arrays["charge_ref"] = charges
        atoms.calc = SinglePointCalculator(atoms, energy=float(value), forces=-slope)
        frames.append(atoms)
    return frames


def hidden_charges() -> np.ndarray:
    """The charges that the model should find, e."""
    half = N_PARTICLES // 2
    return np.repeat([CHARGE, -CHARGE], half)


def total_energy(charges, positions):
    """Point-charge Ewald energy plus repulsion, eV, of one configuration."""
    cell = BOX * jnp.eye(3, dtype=positions.dtype)
    grid = plan_kgrid(np.eye(3) * BOX, _K_MAX)
    smeared = ewald_energy(charges, positions, cell, sigma=_SIGMA, k_max=_K_MAX, grid=grid)
    i, j = np.triu_indices(N_PARTICLES, 1)
    distance = _distances(positions)
    damped = erfc(distance / (math.sqrt(2.0) * _SIGMA)) / distance
    pairs = jnp.where(distance < 0.5 * BOX, damped, 0.0)
    complement = COULOMB_CONSTANT * jnp.sum(charges[i] * charges[j] * pairs)
    return smeared + complement + jnp.sum(_repulsion(distance))


def _distances(positions):
    """Distances of all pairs to the nearest image, angstrom."""
    i, j = np.triu_indices(N_PARTICLES, 1)
    vectors = positions[i] - positions[j]
    vectors = vectors - BOX * jnp.round(vectors / BOX)
    return jnp.sqrt(jnp.sum(vectors**2, axis=-1))


def _repulsion(distance):
    """Weeks-Chandler-Andersen: the repulsive part of a Lennard-Jones pair, eV."""
    end = 2.0 ** (1.0 / 6.0) * REPULSION_LENGTH
    # The potential is flat far inside the wall, so that random starts can relax.
    sixth = (REPULSION_LENGTH / jnp.maximum(distance, 0.5 * REPULSION_LENGTH)) ** 6
    energy = 4.0 * REPULSION_ENERGY * (sixth**2 - sixth) + REPULSION_ENERGY
    return jnp.where(distance < end, energy, 0.0)


def _sample(key, relax_steps: int = 400, walk_steps: int = 1500):
    """A configuration of the repulsive fluid: a random start, relaxation, Brownian motion."""
    start_key, walk_key = jax.random.split(key)
    start = BOX * jax.random.uniform(start_key, (N_PARTICLES, 3), jnp.float64)
    slope = jax.grad(lambda r: jnp.sum(_soft_repulsion(_distances(r))))
    relaxed = jax.lax.fori_loop(0, relax_steps, lambda _, r: r - 0.1 * slope(r), start)
    force = jax.grad(lambda r: jnp.sum(_repulsion(_distances(r))))
    mobility = 1e-3 / TEMPERATURE

    def walk(r, step_key):
        noise = jax.random.normal(step_key, r.shape, r.dtype)
        drift = jnp.clip(-mobility * force(r), -0.05, 0.05)
        return r + drift + math.sqrt(2.0 * mobility * TEMPERATURE) * noise, None

    return jax.lax.scan(walk, relaxed, jax.random.split(walk_key, walk_steps))[0]


def _soft_repulsion(distance):
    """A parabola that pushes overlapping particles apart."""
    end = 1.1 * REPULSION_LENGTH
    return jnp.where(distance < end, (distance - end) ** 2, 0.0)
