"""The reciprocal sum under transformations: derivatives, batches, truncation, precision."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics import (
    KGrid,
    ewald_energy,
    kgrid_is_too_small,
    kgrid_overflow,
    merge_kgrids,
    plan_kgrid,
    self_energy,
)
from tests.support.coulomb_oracles import (
    central_difference,
    dense_ewald,
    energy,
    jitted_energy,
    random_crystal,
)

seeds = st.integers(min_value=0, max_value=10**6)


def stress_of(energy_fn, positions, cell):
    """(1/V) dE/d strain of an energy of positions and cell."""

    def strained(strain):
        deform = jnp.eye(3) + strain
        return energy_fn(positions @ deform, cell @ deform)

    return jax.grad(strained)(jnp.zeros((3, 3))) / abs(np.linalg.det(cell))


# Transformations


def _batch():
    crystals = [random_crystal(seed, neutral=False) for seed in range(4)]
    grid = merge_kgrids(plan_kgrid(cell, math.pi) for _, _, cell in crystals)
    return grid, [jnp.stack(arrays) for arrays in zip(*crystals, strict=True)]


def test_a_batch_is_a_loop():
    grid, batch = _batch()

    @jax.jit
    def energy_and_slope(q, r, c):
        return jax.value_and_grad(lambda r: energy(q, r, c, grid=grid, chunk=3))(r)

    loop = [energy_and_slope(*arrays) for arrays in zip(*batch, strict=True)]
    energies, slopes = jax.vmap(energy_and_slope)(*batch)
    np.testing.assert_allclose(energies, [e for e, _ in loop], rtol=1e-12)
    np.testing.assert_allclose(slopes, [g for _, g in loop], rtol=1e-9, atol=1e-12)


def test_jit_is_eager():
    charges, positions, cell = (jnp.asarray(x) for x in random_crystal(2, atoms=4, edge=4.0))
    options = {"sigma": 1.0, "k_max": 3.0, "grid": plan_kgrid(cell, 3.0), "chunk": 2}
    eager = ewald_energy(charges, positions, cell, **options)
    jitted = jitted_energy(charges, positions, cell, **options)
    np.testing.assert_allclose(jitted, eager, rtol=1e-12)


@pytest.mark.parametrize(("cutoff", "chunk"), [("sharp", None), ("smooth", 3)])
@pytest.mark.long
def test_derivatives_of_first_and_second_order_are_those_of_finite_differences(cutoff, chunk):
    charges, positions, cell = random_crystal(11, handedness=-1)
    arguments = tuple(jnp.asarray(x) for x in (charges, positions, cell))
    grid = plan_kgrid(cell, math.pi, margin=0.05)
    rng = np.random.default_rng(0)
    moves = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in arguments)

    def energy_fn(q, r, c):
        return energy(q, r, c, grid=grid, cutoff=cutoff, chunk=chunk)

    @jax.jit
    def slope(*at):
        gradient = jax.grad(energy_fn, (0, 1, 2))(*at)
        return sum(jnp.vdot(g, m) for g, m in zip(gradient, moves, strict=True))

    def along(function):
        def on_line(t):
            return function(*(x + t * m for x, m in zip(arguments, moves, strict=True)))

        return central_difference(on_line, 0.0, 1.0, step=2e-5)

    forward = jax.jvp(energy_fn, arguments, moves)[1]
    np.testing.assert_allclose(forward, slope(*arguments), rtol=1e-11)
    np.testing.assert_allclose(slope(*arguments), along(energy_fn), rtol=1e-7)
    reverse_twice = jax.jit(jax.grad(slope, (0, 1, 2)))(*arguments)
    second = sum(jnp.vdot(g, m) for g, m in zip(reverse_twice, moves, strict=True))
    np.testing.assert_allclose(second, along(slope), rtol=1e-7)
    np.testing.assert_allclose(jax.jvp(slope, arguments, moves)[1], second, rtol=1e-10)


def test_forces_cancel_and_stress_is_symmetric():
    charges, positions, cell = random_crystal(13, neutral=False)
    gradient = jax.grad(lambda r: energy(charges, r, cell))(positions)
    np.testing.assert_allclose(gradient.sum(axis=0), 0.0, atol=1e-12)
    grid = plan_kgrid(cell, math.pi)
    stress = stress_of(lambda r, c: energy(charges, r, c, grid=grid), positions, cell)
    np.testing.assert_allclose(stress, stress.T, atol=1e-14)


def test_coincident_atoms_have_finite_derivatives():
    _, positions, cell = random_crystal(17)
    positions[1] = positions[0]
    charges = np.array([1.0, -1.0, *np.zeros(6)])
    assert abs(energy(charges, positions, cell, remove_self=False)) < 1e-12
    hessian = jax.jit(jax.hessian(lambda r: energy(charges, r, cell)))(positions)
    assert np.isfinite(hessian).all()


# Which vectors count


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", [8.0, 12.0, 12.42, 17.3])
def test_vectors_exactly_on_the_sphere_count(edge, dtype):
    k_max = 2.0 * math.pi / edge * 3.0
    charges, positions, _ = random_crystal(19, atoms=4)
    cell = np.eye(3) * edge
    on = energy(charges.astype(dtype), positions.astype(dtype), cell.astype(dtype), 1.0, k_max)
    beyond = dense_ewald(charges, positions, cell, 1.0, k_max * 1.01)
    below = dense_ewald(charges, positions, cell, 1.0, k_max * 0.99)
    assert abs(on - beyond) < 1e-3 * abs(beyond - below)


def test_an_overgrown_cell_is_noticed():
    _, _, cell = random_crystal(23)
    grid = plan_kgrid(cell, math.pi)
    assert not kgrid_overflow(grid, cell, math.pi)
    assert kgrid_overflow(grid, 1.4 * cell, math.pi)
    assert not kgrid_overflow(plan_kgrid(cell, math.pi, margin=0.41), 1.4 * cell, math.pi)


@cache
def _expansion(cutoff):
    """Energy and integrated derivative while the cell grows through vectors on the sphere."""
    charges, positions, cell = (jnp.asarray(x) for x in random_crystal(29, edge=8.0))
    reduced = positions @ jnp.linalg.inv(cell)
    grid = plan_kgrid(cell * 1.1, 2.2)

    def energy_at(scale):
        c = cell * scale
        return energy(charges, reduced @ c, c, 1.0, 2.2, grid, cutoff=cutoff)

    nodes, weights = np.polynomial.legendre.leggauss(400)
    scales = 1.05 + 0.05 * nodes
    slopes = jax.jit(jax.vmap(jax.grad(energy_at)))(scales)
    change = energy_at(1.1) - energy_at(1.0)
    return change, 0.05 * np.sum(weights * slopes), jax.vmap(energy_at)(jnp.sort(scales))


def test_the_smooth_energy_is_the_integral_of_its_stress_along_an_expansion():
    change, integral, _ = _expansion("smooth")
    np.testing.assert_allclose(change, integral, rtol=1e-8)


def test_the_smooth_energy_follows_its_stress_through_two_hundred_steps():
    """A cell that grows and shears past many vectors; Simpson's rule from step to step."""
    charges, positions, cell = (jnp.asarray(x) for x in random_crystal(31, edge=8.0))
    strain = jnp.array([[0.2, 0.05, -0.03], [0.05, 0.1, 0.04], [-0.03, 0.04, -0.1]])
    steps, grid = 200, plan_kgrid(cell * 1.3, 2.2)

    def energy_at(t):
        deform = jnp.eye(3) + t * strain
        return energy(
            charges, positions @ deform, cell @ deform, 1.0, 2.2, grid, cutoff="smooth"
        )

    times = jnp.linspace(0.0, 1.0, 2 * steps + 1)
    energies, slopes = jax.jit(jax.vmap(jax.value_and_grad(energy_at)))(times)
    pieces = (slopes[:-2:2] + 4.0 * slopes[1:-1:2] + slopes[2::2]) / (6.0 * steps)
    walked = energies[0] + jnp.cumsum(pieces)
    np.testing.assert_allclose(energies[2::2], walked, atol=1e-7)
    counts = [
        int(jnp.sum(jnp.linalg.norm(waves_of(cell @ (jnp.eye(3) + t * strain)), axis=1) < 2.2))
        for t in (0.0, 1.0)
    ]
    assert abs(counts[1] - counts[0]) > 20


def waves_of(cell):
    index = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3), -1).reshape(-1, 3)
    return index @ (2.0 * np.pi * jnp.linalg.inv(cell).T)


def test_the_sharp_energy_jumps_where_vectors_cross_the_sphere():
    change, integral, energies = _expansion("sharp")
    _, _, smooth = _expansion("smooth")
    assert abs(change - integral) > 1e-3
    assert np.abs(np.diff(energies)).max() > 10.0 * np.abs(np.diff(smooth)).max()


def test_the_smooth_cutoff_has_two_continuous_derivatives():
    # One vector pair only passes through the switch: the energy follows its weight.
    charges, positions = jnp.array([1.0, -1.0]), jnp.array([[0.0, 0.0, 0.0], [1.7, 0.0, 0.0]])
    first = 2.0 * math.pi / 6.0

    def energy_at(k_max):
        cell, grid = jnp.diag(jnp.array([6.0, 1.0, 1.0])), KGrid(1, 1, 1)
        return energy(charges, positions, cell, 1.0, k_max, grid, cutoff="smooth")

    for edge in (first, first / 0.75):
        curvature = jax.grad(jax.grad(energy_at))
        inside, outside = curvature(edge * (1 - 1e-5)), curvature(edge * (1 + 1e-5))
        middle = curvature(0.5 * (first + first / 0.75))
        assert abs(inside - outside) < 1e-2 * max(1.0, abs(middle))


# Precision


@jax.jit
def smooth_energy_and_slope(q, r, c):
    grid = KGrid(8, 8, 8)
    return jax.value_and_grad(lambda r: energy(q, r, c, grid=grid, cutoff="smooth"))(r)


@given(seeds)
def test_float32_stays_float32_and_close_to_float64(seed):
    charges, positions, cell = random_crystal(seed, atoms=20, edge=9.0)
    small = tuple(x.astype(np.float32) for x in (charges, positions, cell))
    value, gradient = smooth_energy_and_slope(*(jnp.asarray(x) for x in small))
    assert value.dtype == gradient.dtype == jnp.float32
    exact = smooth_energy_and_slope(*(jnp.asarray(x.astype(np.float64)) for x in small))
    scale = float(self_energy(jnp.asarray(charges), 1.0))
    np.testing.assert_allclose(value, exact[0], atol=2e-6 * scale)
    np.testing.assert_allclose(gradient, exact[1], atol=1e-5 * np.abs(exact[1]).max())


def test_atoms_a_thousand_cells_away_are_the_same_in_float32():
    charges, positions, cell = random_crystal(31, edge=9.0)
    # Sixty-fourths of an angstrom are exact in float32, near and a thousand cells away.
    positions, cell = np.round(positions * 64) / 64, np.round(cell * 64) / 64
    images = np.random.default_rng(1).integers(-1000, 1000, size=(8, 3))
    away = positions + images @ cell
    np.testing.assert_array_equal(away.astype(np.float32), away)
    near, far = (
        jax.value_and_grad(lambda r: energy(charges.astype(np.float32), r, cell))(
            jnp.asarray(r, jnp.float32)
        )
        for r in (positions, away)
    )
    np.testing.assert_allclose(far[0], near[0], rtol=2e-6)
    np.testing.assert_allclose(far[1], near[1], atol=5e-6 * np.abs(near[1]).max())


def test_no_array_of_atoms_times_kvecs_is_made():
    charges, positions, _ = random_crystal(37, atoms=3000)
    cell = np.eye(3) * 31.0
    grid = plan_kgrid(cell, math.pi)

    def force_loss(q):
        return jnp.sum(jax.grad(lambda r: energy(q, r, cell, grid=grid))(positions) ** 2)

    for function in (force_loss, jax.grad(force_loss)):
        memory = jax.jit(function).lower(charges).compile().memory_analysis()
        kvecs = (grid.n_a + 1) * (2 * grid.n_b + 1) * (2 * grid.n_c + 1)
        table = charges.size * kvecs * 8
        assert memory.temp_size_in_bytes < table / 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_traced_flag_agrees_with_the_host_while_a_cell_grows(rng, dtype):
    cell = 6.0 * np.eye(3) + 0.5 * rng.standard_normal((3, 3))
    grid = plan_kgrid(cell, math.pi)
    flag = jax.jit(kgrid_is_too_small, static_argnums=0)
    cells = [(scale * cell).astype(dtype) for scale in np.linspace(0.8, 1.7, 40)]
    host = [kgrid_overflow(grid, one, math.pi) for one in cells]
    assert [bool(flag(grid, one, math.pi)) for one in cells] == host
    assert {True, False} == set(host)
