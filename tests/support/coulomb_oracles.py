"""Slow reference sums in plain NumPy, and random systems to compare them on."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erfc

from jles.electrostatics import KGrid, ewald_energy, plan_kgrid
from jles.units import COULOMB_CONSTANT, HALF_INVERSE_EPSILON0


def random_crystal(seed, atoms=8, edge=7.0, skew=1.2, neutral=True, handedness=1):
    """Charges, positions and a triclinic cell of the given handedness."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * edge * rng.uniform(0.8, 1.2, (3, 1)) + rng.uniform(-skew, skew, (3, 3))
    if np.sign(np.linalg.det(cell)) != handedness:
        cell = cell[[1, 0, 2]]
    charges = rng.normal(size=atoms)
    if neutral:
        charges -= charges.mean()
    return charges, rng.uniform(-0.5, 1.5, (atoms, 3)) @ cell, cell


def rotation(seed):
    """A proper rotation matrix."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix * np.linalg.det(matrix)


jitted_energy = jax.jit(
    ewald_energy, static_argnames=("grid", "cutoff", "remove_self", "chunk")
)


def plan_kgrid_coarse(cell, k_max):
    """A plan of few possible sizes: random cells share one compilation."""
    counts = plan_kgrid(cell, k_max)
    size = next(n for n in (3, 5, 8, 12, 18, 25, 40, 60) if n >= max(counts))
    return KGrid(size, size, size)


def energy(charges, positions, cell, sigma=1.0, k_max=math.pi, grid=None, **options):
    grid = grid or plan_kgrid_coarse(cell, k_max)
    return jitted_energy(
        jnp.asarray(charges),
        jnp.asarray(positions),
        jnp.asarray(cell),
        sigma=sigma,
        k_max=k_max,
        grid=grid,
        **options,
    )


def converged(charges, positions, cell, sigma):
    return energy(charges, positions, cell, sigma, 8.5 / sigma)


def smooth_step(t):
    """1 at t <= 0, 0 at t >= 1, two continuous derivatives."""
    t = np.clip(t, 0.0, 1.0)
    return (1.0 - t) ** 3 * (1.0 + 3.0 * t + 6.0 * t**2)


def dense_ewald(charges, positions, cell, sigma, k_max, cutoff="sharp"):
    """The full double loop over k and atoms in complex numbers; self-interaction removed."""
    reciprocal = 2.0 * math.pi * np.linalg.inv(cell).T
    counts = np.ceil(k_max * np.linalg.norm(cell, axis=1) / (2.0 * math.pi)).astype(int)
    total = 0.0
    for index in itertools.product(*(range(-n, n + 1) for n in counts)):
        k = index @ reciprocal
        length = np.linalg.norm(k)
        if index == (0, 0, 0) or length > k_max * (1.0 + 1e-9):
            continue
        onset = 0.75 * k_max
        fraction = (length**2 - onset**2) / (k_max**2 - onset**2)
        weight = smooth_step(fraction) if cutoff == "smooth" else 1.0
        factor = np.sum(charges * np.exp(1j * (positions @ k)))
        total += weight * math.exp(-0.5 * sigma**2 * length**2) / length**2 * abs(factor) ** 2
    self_term = np.sum(charges**2) / (sigma * (2.0 * math.pi) ** 1.5)
    return HALF_INVERSE_EPSILON0 * (total / abs(np.linalg.det(cell)) - self_term)


def short_range_complement(charges, positions, cell, sigma, tolerance=9.0):
    """k_e sum over pairs of q q erfc(r / (sqrt2 sigma)) / r, all images that matter."""
    reach = tolerance * sigma
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    spread = np.ptp(positions @ np.linalg.inv(cell), axis=0)
    counts = np.ceil(reach / heights + spread).astype(int)
    total = 0.0
    separations = positions[None, :, :] - positions[:, None, :]
    for index in itertools.product(*(range(-n, n + 1) for n in counts)):
        distance = np.linalg.norm(separations + np.array(index) @ cell, axis=-1)
        distance[distance < 1e-9] = np.inf
        pairs = erfc(distance / (math.sqrt(2.0) * sigma)) / distance
        total += 0.5 * charges @ pairs @ charges
    return COULOMB_CONSTANT * total


def central_difference(function, x, direction, step=1e-4):
    """Derivative along `direction`, to fourth order in the step."""
    f1 = function(x + step * direction) - function(x - step * direction)
    f2 = function(x + 2 * step * direction) - function(x - 2 * step * direction)
    return (8.0 * f1 - f2) / (12.0 * step)


def dense_crystal(moments, positions, cell, sigma, k_max):
    """The double loop over k and atoms in complex numbers, self-interaction included."""
    charges, dipoles, quadrupoles = (np.array(moment) for moment in moments)
    reciprocal = 2.0 * math.pi * np.linalg.inv(cell).T
    counts = np.ceil(k_max * np.linalg.norm(cell, axis=1) / (2.0 * math.pi)).astype(int)
    total = 0.0
    for index in itertools.product(*(range(-n, n + 1) for n in counts)):
        k = np.array(index) @ reciprocal
        if 0.0 < k @ k <= k_max**2:
            shape = charges + 1j * (dipoles @ k) - 0.5 * (quadrupoles @ k) @ k
            factor = np.sum(shape * np.exp(1j * (positions @ k)))
            total += math.exp(-0.5 * sigma**2 * (k @ k)) / (k @ k) * abs(factor) ** 2
    return HALF_INVERSE_EPSILON0 * total / abs(np.linalg.det(cell))


def wave_integral(moments, positions, sigma):
    """Energy of a small cluster, self-interaction included: the integral over all waves."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    length, angle = 5.0 * (nodes + 1.0), math.pi * (nodes + 1.0)
    k, z, phi = np.meshgrid(length, nodes, angle, indexing="ij")
    flat = np.sqrt(1.0 - z**2)
    waves = k[..., None] * np.stack([flat * np.cos(phi), flat * np.sin(phi), z], axis=-1)
    measure = 5.0 * math.pi * np.einsum("i,j,k->ijk", weights, weights, weights)
    factor = np.zeros(k.shape, complex)
    for q, u, quad, r in zip(*(np.array(x) for x in (*moments, positions)), strict=True):
        shape = q - 0.5 * np.sum((waves @ quad) * waves, axis=-1) + 1j * (waves @ u)
        factor += shape * np.exp(1j * (waves @ r))
    # The k^2 of the volume element cancels the one of the kernel.
    kernel = measure * np.exp(-0.5 * sigma**2 * k**2) / (2.0 * math.pi) ** 3
    return HALF_INVERSE_EPSILON0 * np.sum(kernel * np.abs(factor) ** 2)
