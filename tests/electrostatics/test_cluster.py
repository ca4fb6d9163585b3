"""Laws of the direct sum of a cluster: closed forms, r = 0, symmetries, derivatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf, hyp1f1

from jles.electrostatics import cluster_energy, self_energy
from jles.electrostatics.sums.boys import boys
from jles.electrostatics.sums.cluster import smeared_coulomb
from jles.units import COULOMB_CONSTANT
from tests.support.coulomb_oracles import central_difference, rotation

seeds = st.integers(min_value=0, max_value=10**6)


def random_cluster(seed, atoms=9, size=6.0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=atoms)), jnp.asarray(rng.uniform(0, size, (atoms, 3)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_boys_functions_of_every_order_are_exact(n, dtype, tolerance):
    # F_n(x) = 1F1(n + 1/2; n + 3/2; -x) / (2 n + 1).
    x = np.concatenate([[0.0, 1e-12, 1e-3, 1.0 - 1e-6, 1.0], np.linspace(0.01, 40.0, 400)])
    x = x.astype(dtype)
    exact = hyp1f1(n + 0.5, n + 1.5, -x.astype(float)) / (2 * n + 1)
    np.testing.assert_allclose(boys(n, jnp.asarray(x)), exact, rtol=tolerance * 3**n)
    assert boys(n, jnp.asarray(x)).dtype == dtype


@pytest.mark.parametrize("distance", [1e-3, 0.05, 0.2, 0.7, 1.0, 1.4, 3.0, 12.0])
def test_a_pair_has_the_closed_form_in_float32(distance):
    kernel = smeared_coulomb(jnp.float32(distance) ** 2, 1.0)
    expected = COULOMB_CONSTANT * erf(distance / math.sqrt(2.0)) / distance
    np.testing.assert_allclose(kernel, expected, rtol=5e-7)


@pytest.mark.parametrize("distance", [1e-3, 0.05, 0.2, 0.7, 1.4, 3.0, 12.0])
def test_the_force_of_a_pair_is_right_at_every_distance_in_float32(distance):
    def energy_at(x):
        positions = jnp.zeros((2, 3), x.dtype).at[1, 0].set(x)
        return cluster_energy(jnp.array([1.0, 1.0], x.dtype), positions, sigma=1.0)

    # Shells of a Gaussian: force = k_e q q (charge within r) / r^2, by a series free of
    # cancellation: sqrt(2/pi) r^3 1F1(3/2; 5/2; -r^2/2) / 3.
    enclosed = math.sqrt(2.0 / math.pi) * hyp1f1(1.5, 2.5, -(distance**2) / 2.0) / 3.0
    expected = -COULOMB_CONSTANT * enclosed * distance
    np.testing.assert_allclose(jax.grad(energy_at)(jnp.float32(distance)), expected, rtol=2e-6)


def test_all_derivatives_up_to_third_are_finite_and_right_at_zero_distance():
    def kernel(x):
        return smeared_coulomb(x * x, 1.0)

    derivatives = [kernel]
    for _ in range(4):
        derivatives.append(jax.grad(derivatives[-1]))
    values = [float(f(jnp.float32(0.0))) for f in derivatives]
    # erf(r/sqrt2)/r = sqrt(2/pi) (1 - r^2/6 + r^4/40 - ...)
    scale = COULOMB_CONSTANT * math.sqrt(2.0 / math.pi)
    expected = [scale, 0.0, -scale / 3.0, 0.0, scale * 24.0 / 40.0]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@given(seeds)
def test_the_sum_is_the_definition(seed):
    charges, positions = random_cluster(seed)
    total = 0.0
    for i in range(9):
        for j in range(i):
            r = np.linalg.norm(positions[i] - positions[j])
            total += charges[i] * charges[j] * erf(r / (math.sqrt(2.0) * 0.8)) / r
    found = cluster_energy(charges, positions, sigma=0.8)
    np.testing.assert_allclose(found, COULOMB_CONSTANT * total, rtol=1e-12, atol=1e-12)


@given(seeds)
def test_rigid_motions_reflections_and_permutations_change_nothing(seed):
    charges, positions = random_cluster(seed)
    turn = rotation(seed)
    order = np.random.default_rng(seed).permutation(9)
    reference = cluster_energy(charges, positions, sigma=1.0)
    images = {
        "translation": (charges, positions + jnp.array([9.0, -3.0, 100.0])),
        "rotation": (charges, positions @ turn.T),
        "reflection": (charges, positions * jnp.array([1.0, -1.0, 1.0])),
        "permutation": (charges[order], positions[order]),
    }
    for name, image in images.items():
        found = cluster_energy(*image, sigma=1.0)
        np.testing.assert_allclose(found, reference, rtol=1e-10, atol=1e-11, err_msg=name)


def test_a_single_atom_has_no_energy_and_the_self_term_is_what_is_removed():
    charges, positions = random_cluster(1)
    assert cluster_energy(charges[:1], positions[:1], sigma=1.0) == 0.0
    kept = cluster_energy(charges, positions, sigma=0.7, remove_self=False)
    removed = cluster_energy(charges, positions, sigma=0.7)
    np.testing.assert_allclose(kept - removed, self_energy(charges, 0.7), rtol=1e-12)


@pytest.mark.parametrize("chunk", [None, 2, 50])
@pytest.mark.parametrize("remove_self", [True, False])
def test_chunks_padding_and_channels_change_nothing(chunk, remove_self):
    charges, positions = random_cluster(2)
    columns = jnp.stack([charges, charges[::-1]], axis=1)
    padded = jnp.pad(columns, ((0, 4), (0, 0)))
    # Padding atoms that coincide with one another and with an atom.
    padded_positions = jnp.concatenate([positions, jnp.tile(positions[:1], (4, 1))])
    options = {"sigma": 1.0, "remove_self": remove_self}

    def padded_energy(r):
        return cluster_energy(padded, r, chunk=chunk, **options)

    def plain_energy(r):
        return sum(cluster_energy(column, r, **options) for column in columns.T)

    value, gradient = jax.value_and_grad(padded_energy)(padded_positions)
    expected = jax.value_and_grad(plain_energy)(positions)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(gradient[:9], expected[1], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(gradient[9:], 0.0)


@pytest.mark.parametrize("chunk", [None, 4])
def test_derivatives_of_first_and_second_order_are_those_of_finite_differences(chunk):
    arguments = random_cluster(3)
    rng = np.random.default_rng(4)
    moves = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in arguments)

    @jax.jit
    def energy_fn(q, r):
        return cluster_energy(q, r, sigma=1.0, chunk=chunk)

    @jax.jit
    def slope(*at):
        gradient = jax.grad(energy_fn, (0, 1))(*at)
        return sum(jnp.vdot(g, m) for g, m in zip(gradient, moves, strict=True))

    def along(function):
        def on_line(t):
            return function(*(x + t * m for x, m in zip(arguments, moves, strict=True)))

        return central_difference(on_line, 0.0, 1.0)

    first = slope(*arguments)
    np.testing.assert_allclose(jax.jvp(energy_fn, arguments, moves)[1], first, rtol=1e-11)
    np.testing.assert_allclose(first, along(energy_fn), rtol=1e-8)
    gradient = jax.jit(jax.grad(slope, (0, 1)))(*arguments)
    second = sum(jnp.vdot(g, m) for g, m in zip(gradient, moves, strict=True))
    np.testing.assert_allclose(second, along(slope), rtol=1e-8)
    np.testing.assert_allclose(jax.jvp(slope, arguments, moves)[1], second, rtol=1e-10)


def test_coincident_atoms_have_finite_derivatives_of_third_order():
    charges, positions = random_cluster(5, atoms=3)
    positions = positions.at[1].set(positions[0])

    def energy_fn(r):
        return cluster_energy(charges, r, sigma=1.0)

    third = jax.jit(jax.jacfwd(jax.jacfwd(jax.grad(energy_fn))))(positions)
    assert np.isfinite(third).all()
    gradient = jax.grad(energy_fn)(positions)
    np.testing.assert_allclose(gradient.sum(axis=0), 0.0, atol=1e-12)


def test_a_batch_is_a_loop_and_jit_is_eager():
    clusters = [random_cluster(seed) for seed in range(3)]
    batch = [jnp.stack(arrays) for arrays in zip(*clusters, strict=True)]

    def energy_fn(q, r):
        return cluster_energy(q, r, sigma=1.0, chunk=4)

    loop = [energy_fn(*cluster) for cluster in clusters]
    np.testing.assert_allclose(jax.vmap(energy_fn)(*batch), loop, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(energy_fn))(*batch), loop, rtol=1e-12)


def test_float32_stays_float32_and_close_to_float64():
    charges, positions = random_cluster(6, atoms=30)
    small = charges.astype(jnp.float32), positions.astype(jnp.float32)
    exact = tuple(x.astype(jnp.float64) for x in small)
    found = jax.value_and_grad(lambda r: cluster_energy(small[0], r, sigma=1.0))(small[1])
    expected = jax.value_and_grad(lambda r: cluster_energy(exact[0], r, sigma=1.0))(exact[1])
    assert found[0].dtype == found[1].dtype == jnp.float32
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5 * np.abs(expected[1]).max())


def test_memory_is_rows_not_pairs():
    charges, positions = random_cluster(7, atoms=4000, size=60.0)
    gradient = jax.jit(jax.grad(lambda r: cluster_energy(charges, r, sigma=1.0, chunk=32)))
    memory = gradient.lower(positions).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4000 * 4000 * 8 / 4
