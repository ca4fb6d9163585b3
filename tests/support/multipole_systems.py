"""Random systems of charges, dipoles and quadrupoles, and their energy by every sum."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from jles.electrostatics import (
    KGrid,
    MeshPlan,
    Multipoles,
    SlabPlan,
    SumPlan,
    build_interaction,
    cluster_energy,
    ewald_energy,
    pme_energy,
    self_energy,
)
from tests.support.coulomb_oracles import random_crystal

seeds = st.integers(min_value=0, max_value=10**6)
handed = st.sampled_from([1, -1])
SIGMA = 1.0
# Half of the places are empty: space for supercells, and padding in every law.
ATOMS, PLACES = 6, 12
SUMS = ("ewald", "mesh", "slab", "cluster")
# Enough for cells twice as long. The slab is converged; the crystal has a sharp sphere at 2.5.
PLANS = {
    "ewald": SumPlan(grid=KGrid(8, 5, 5)),
    "mesh": SumPlan(mesh=MeshPlan(64, 40, 40, 9)),
    "slab": SumPlan(KGrid(23, 14, 76), slab=SlabPlan(2, 62.0)),
    "cluster": SumPlan(cluster=True),
}
K_MAX = {"ewald": 2.5, "mesh": 2.5, "slab": 7.5, "cluster": 1.0}
# A mesh that is moved is right to its accuracy; images of a slab decay, not to nothing.
TOLERANCE = {"ewald": 1e-11, "mesh": 1e-7, "slab": 1e-9, "cluster": 1e-11}
QUICK_COMPILE = {"xla_backend_optimization_level": 0}
quick_jit = partial(jax.jit, compiler_options=QUICK_COMPILE)


def energy_of(name, moments, positions, cell):
    if name == "cluster":
        return cluster_energy(moments, positions, sigma=SIGMA)
    options = {"sigma": SIGMA, "k_max": K_MAX[name]}
    if name == "ewald":
        return ewald_energy(moments, positions, cell, grid=PLANS[name].grid, **options)
    if name == "mesh":
        return pme_energy(moments, positions, cell, plan=PLANS[name].mesh, **options)
    return build_interaction(positions, cell, PLANS[name], **options)(moments)


@partial(quick_jit, static_argnums=0)
def slopes(name, *system):
    """Energy and its derivatives in moments, positions and cell."""
    return jax.value_and_grad(partial(energy_of, name), (0, 1, 2))(*system)


def energy(name, *system):
    return slopes(name, *system)[0]


def random_moments(seed, places=PLACES):
    """Moments of ATOMS atoms, zero for others; quadrupoles neither symmetric nor traceless."""
    rng = np.random.default_rng(seed)
    occupied = (np.arange(places) < ATOMS).astype(float)
    charges, dipoles, quadrupoles = (rng.normal(size=(places, *[3] * n)) for n in range(3))
    return Multipoles(
        jnp.asarray(charges * occupied),
        jnp.asarray(0.4 * dipoles * occupied[:, None]),
        jnp.asarray(0.3 * quadrupoles * occupied[:, None, None]),
    )


def random_system(seed, handedness=1):
    _, positions, cell = random_crystal(
        seed, atoms=PLACES, edge=6.0, skew=0.9, handedness=handedness
    )
    return random_moments(seed), jnp.asarray(0.5 * positions), jnp.asarray(cell)


def turned(matrix, moments):
    """Moments in axes turned or mirrored by an orthogonal matrix."""
    charges, dipoles, quadrupoles = moments
    return Multipoles(charges, dipoles @ matrix.T, matrix @ quadrupoles @ matrix.T)


def assert_same(found, expected, tolerance, scale, message=""):
    np.testing.assert_allclose(found, expected, atol=tolerance * scale, rtol=0, err_msg=message)


def scale_of(moments):
    return float(self_energy(moments, SIGMA))
