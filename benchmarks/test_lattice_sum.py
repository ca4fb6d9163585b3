"""Energy and gradient (positions, charges) of the lattice sum against two other ways to do it.

Float32, sigma 1, k_max pi, cubic boxes at the density of water. The plain sines and cosines and
jax-pme's direct sum hold tables of atoms x kvecs, so they stop where those outgrow the machine.
"""

import math
import sys
from functools import partial
from pathlib import Path
from subprocess import run

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.electrostatics import ewald_energy, plan_kgrid
from jles.units import COULOMB_CONSTANT, HALF_INVERSE_EPSILON0

ATOMS_PER_ANGSTROM3 = 0.1003
SIGMA, K_MAX = 1.0, math.pi


def box(atoms):
    edge = (atoms / ATOMS_PER_ANGSTROM3) ** (1.0 / 3.0)
    rng = np.random.default_rng(0)
    charges = rng.normal(size=atoms)
    charges -= charges.mean()
    arrays = charges, rng.uniform(0.0, edge, (atoms, 3)), np.eye(3) * edge
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def half_sphere(cell):
    """Wavevectors with 0 < |k| <= k_max, one of every pair k and -k."""
    grid = plan_kgrid(cell, K_MAX)
    axes = np.meshgrid(*(np.arange(-n, n + 1) for n in grid), indexing="ij")
    index = np.stack(axes, -1).reshape(-1, 3)
    index = index[len(index) // 2 + 1 :]
    kvecs = index @ (2.0 * math.pi * np.linalg.inv(np.asarray(cell, float)).T)
    return jnp.asarray(
        kvecs[np.linalg.norm(kvecs, axis=1) <= K_MAX * (1.0 + 1e-6)], jnp.float32
    )


def jles_energy(cell):
    return partial(
        ewald_energy, cell=cell, sigma=SIGMA, k_max=K_MAX, grid=plan_kgrid(cell, K_MAX)
    )


def plain_energy(cell):
    """One sine and one cosine for every atom and wavevector."""
    kvecs, volume = half_sphere(cell), float(np.linalg.det(cell))
    squared = jnp.sum(kvecs**2, axis=1)
    green = 2.0 * jnp.exp(-0.5 * SIGMA**2 * squared) / squared

    def energy(charges, positions):
        phases = positions @ kvecs.T
        factors = charges @ jnp.cos(phases), charges @ jnp.sin(phases)
        lattice = jnp.sum(green * (factors[0] ** 2 + factors[1] ** 2)) / volume
        self_term = jnp.sum(charges**2) / (SIGMA * (2.0 * math.pi) ** 1.5)
        return HALF_INVERSE_EPSILON0 * (lattice - self_term)

    return energy


def jaxpme_energy(cell):
    """The reciprocal part of jax-pme's Ewald sum over the same half sphere."""
    solvers = pytest.importorskip("jaxpme.solvers")
    potentials = pytest.importorskip("jaxpme.potentials")
    kvecs, volume = half_sphere(cell), float(np.linalg.det(cell))
    kspace = solvers.ewald(potentials.potential(exponent=1), halfspace=True).kspace

    def energy(charges, positions):
        potential = kspace(SIGMA, charges, kvecs, positions, volume, cell, None)
        return COULOMB_CONSTANT * jnp.sum(charges * potential)

    return energy


WAYS = {"jles": jles_energy, "plain": plain_energy, "jax-pme": jaxpme_energy}
LARGEST = {"jles": 12_288, "plain": 5_184, "jax-pme": 1_536}
CASES = [
    (way, atoms)
    for atoms in (192, 1_536, 5_184, 12_288)
    for way in WAYS
    if atoms <= LARGEST[way]
]


def gradient_fn(way, cell):
    return jax.jit(jax.value_and_grad(WAYS[way](cell), (0, 1)))


def peak_memory(way, atoms) -> float | None:
    """Peak resident memory, MiB, that sum and compilation add to a fresh process (Linux)."""
    if not Path("/proc/self/status").exists():
        return None
    program = (
        f"from benchmarks.test_lattice_sum import report_peak; report_peak({way!r}, {atoms})"
    )
    done = run([sys.executable, "-c", program], capture_output=True, check=True)
    return round(float(done.stdout), 1)


def report_peak(way, atoms):
    # Not getrusage: its peak survives exec, so it would be that of the process that started us.
    def peak():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024.0

    charges, positions, cell = box(atoms)
    before = peak()
    jax.block_until_ready(gradient_fn(way, cell)(charges, positions))
    print(peak() - before)


@pytest.mark.parametrize(("way", "atoms"), CASES)
def test_energy_and_gradient(in_units, way, atoms):
    charges, positions, cell = box(atoms)
    function = gradient_fn(way, cell)
    memory = function.lower(charges, positions).compile().memory_analysis()
    in_units(
        function,
        charges,
        positions,
        rounds=20 if atoms < 5_000 else 5,
        atoms=atoms,
        buffers_mib=round(memory.temp_size_in_bytes / 2**20, 1),
        added_peak_mib=peak_memory(way, atoms),
    )
    reference = gradient_fn("plain", cell)(charges, positions) if atoms <= 1_536 else None
    if reference is not None:
        np.testing.assert_allclose(function(charges, positions)[0], reference[0], rtol=1e-4)


@pytest.mark.parametrize("atoms", [192, 1_536])
def test_gradient_of_a_force_loss(in_units, atoms):
    """What training adds: the derivative in the charges of squared forces."""
    charges, positions, cell = box(atoms)
    energy = jles_energy(cell)

    def loss(charges):
        return jnp.sum(jax.grad(energy, 1)(charges, positions) ** 2)

    function = jax.jit(jax.grad(loss))
    memory = function.lower(charges).compile().memory_analysis()
    in_units(
        function, charges, atoms=atoms, buffers_mib=round(memory.temp_size_in_bytes / 2**20, 1)
    )
