"""Bloch-weighted lattice sums against a sum over images, one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf

from jles.bloch.lattice_potential import bloch_weighted_potential
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.kgrid import plan_kgrid
from jles.units import COULOMB_CONSTANT, EPSILON0
from tests.support.marks import long

CELL = np.array([[5.0, 0.4, 0.0], [-0.3, 5.6, 0.5], [0.2, 0.0, 6.1]])
NARROW, WIDE = 0.7, 0.9
K_MAX = 12.0


def kernel(vector):
    """Potential of a narrow minus that of a wide Gaussian unit charge; short-ranged."""
    r2 = jnp.sum(vector**2)
    r = jnp.sqrt(jnp.where(r2 == 0.0, 1.0, r2))

    def one(sigma):
        at_zero = np.sqrt(2.0 / np.pi) / sigma
        return jnp.where(r2 == 0.0, at_zero, erf(r / (np.sqrt(2.0) * sigma)) / r)

    return COULOMB_CONSTANT * (one(NARROW) - one(WIDE))


def pair_potential(vector, charge, dipole, quadrupole):
    """Potential at `vector` from one atom's moments; smooth, so r = 0 needs no limit."""
    # Moments differentiate with respect to the place of the source, minus the vector.
    slope = -jax.grad(kernel)(vector)
    bend = jax.hessian(kernel)(vector)
    return charge * kernel(vector) + dipole @ slope + 0.5 * jnp.sum(quadrupole * bend)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(5)
    positions = rng.uniform(0.0, 5.0, (3, 3))
    quadrupoles = rng.normal(size=(3, 3, 3))
    moments = Multipoles(
        rng.normal(size=3), rng.normal(size=(3, 3)), quadrupoles + quadrupoles.swapaxes(1, 2)
    )
    tangent = jax.tree.map(lambda a: rng.normal(size=a.shape), moments)
    tangent = tangent._replace(
        quadrupoles=tangent.quadrupoles + tangent.quadrupoles.swapaxes(1, 2)
    )
    moments, tangent = jax.tree.map(jnp.asarray, (moments, tangent))
    return positions, moments, rng.normal(size=(3, 3)), tangent, rng.normal(size=3)


def images_oracle(case):
    r"""Sum over images of (t.(r_j - r_l)) times the change that source l makes at r_j."""
    positions, moments, moved, changed, wave = case
    total = np.zeros(3)
    pairs = jax.jit(
        lambda vector, own, motion, change: jax.jvp(
            lambda place, *given: pair_potential(vector - place, *given),
            (jnp.zeros(3), *own),
            (motion, *change),
        )[1]
    )
    for j, source in itertools.product(range(3), range(3)):
        own = tuple(a[source] for a in moments)
        change = tuple(a[source] for a in changed)
        for shift in itertools.product(range(-2, 3), repeat=3):
            vector = positions[j] - positions[source] - np.array(shift) @ CELL
            if np.linalg.norm(vector) > 1e-6:
                total[j] += (wave @ vector) * pairs(vector, own, moved[source], change)
    # The lattice sum has no k = 0: what the images have there is taken out.
    at_zero = (WIDE**2 - NARROW**2) / (2.0 * EPSILON0 * abs(np.linalg.det(CELL)))
    dipole = changed.dipoles + moments.charges[:, None] * moved
    return total - at_zero * np.sum(dipole @ wave)


def slope_in_bloch(case, remove_self):
    positions, moments, moved, changed, wave = case

    def change(bloch):
        found = 0.0
        for sigma, sign in ((NARROW, 1.0), (WIDE, -1.0)):
            potential = bloch_weighted_potential(
                sigma=sigma,
                k_max=K_MAX,
                plan=SumPlan(plan_kgrid(CELL, K_MAX)),
                cutoff="sharp",
                remove_self=remove_self,
            )
            found += (
                sign
                * jax.jvp(
                    lambda m, r, f=potential: f(m, r, jnp.asarray(CELL), bloch),
                    (moments, jnp.asarray(positions)),
                    (changed, moved),
                )[1]
            )
        return found

    return jax.jit(lambda: jax.jvp(change, (jnp.zeros(3),), (jnp.asarray(wave),))[1])()


@pytest.mark.parametrize("remove_self", [True, long(False)])
def test_weighted_derivatives_are_those_of_single_images(case, remove_self):
    expected = images_oracle(case)
    found = slope_in_bloch(case, remove_self)
    assert np.abs(expected).min() > 1e-2
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.long
def test_the_value_and_the_plain_derivative_do_not_depend_on_the_wave(case):
    positions, moments, moved, changed, wave = case
    potential = bloch_weighted_potential(
        sigma=1.0,
        k_max=5.0,
        plan=SumPlan(plan_kgrid(CELL, 5.0)),
        cutoff="smooth",
        remove_self=True,
    )
    at = (moments, jnp.asarray(positions), jnp.asarray(CELL))
    still = potential(*at, jnp.zeros(3))
    np.testing.assert_array_equal(still, potential(*at, jnp.asarray(wave)))
    step = 1e-5
    ends = [
        potential(
            jax.tree.map(lambda a, b, s=sign: a + s * step * b, moments, changed),
            jnp.asarray(positions + sign * step * moved),
            at[2],
            jnp.zeros(3),
        )
        for sign in (1.0, -1.0)
    ]
    slope = jax.jvp(
        lambda m, r: potential(m, r, at[2], jnp.zeros(3)), at[:2], (changed, jnp.asarray(moved))
    )[1]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-7, atol=1e-7)
