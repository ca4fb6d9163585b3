"""The particle mesh against the direct sum, and its splines against SciPy."""

import functools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from jles.electrostatics import (
    KGrid,
    MeshPlan,
    Multipoles,
    ewald_energy,
    plan_mesh,
    plan_sum,
    pme_energy,
)
from jles.electrostatics.sums.mesh import BLOCK, mesh_is_too_small
from jles.electrostatics.sums.splines import spline_gains, spline_table
from jles.errors import InputError
from tests.support.coulomb_oracles import central_difference, random_crystal
from tests.support.marks import long, long_unless

seeds = st.integers(min_value=0, max_value=10**6)
SIGMA, K_MAX, ATOMS = 1.0, 3.0, 16
GRID = KGrid(5, 5, 5)
# Most of the time goes into compiling; small systems need no optimised code.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}
ACCURATE = 1e-5


@functools.cache
def base_cell():
    _, _, cell = random_crystal(4, edge=5.5)
    assert plan_grid_fits(cell)
    return cell


def plan_grid_fits(cell):
    return np.all(np.linalg.norm(cell, axis=1) * K_MAX / (2.0 * math.pi) < min(GRID) + 1)


def moments_of(seed, rank=2):
    """Random moments of ATOMS atoms up to the rank; those above it are absent."""
    rng = np.random.default_rng(seed)
    q, u, quad = (rng.normal(size=(ATOMS, *[3] * n)) for n in range(3))
    parts = (q - q.mean(), 0.5 * u, 0.3 * (quad + quad.swapaxes(1, 2)))
    return Multipoles(*(jnp.asarray(part) for part in parts[: rank + 1]))


def with_zeros(moments):
    rank = sum(array is not None for array in moments) - 1
    empty = [jnp.zeros((ATOMS, *[3] * n)) for n in range(rank + 1, 3)]
    return Multipoles(*moments[: rank + 1], *empty)


def spread_out(seed, cell):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1.0, 2.0, (ATOMS, 3)) @ cell)


@partial(jax.jit, static_argnames=("plan", "cutoff"), compiler_options=QUICK_COMPILE)
def on_mesh(moments, positions, cell, plan, cutoff="sharp"):
    """Energy and forces."""

    def energy(r):
        return pme_energy(
            moments,
            r,
            cell,
            sigma=SIGMA,
            k_max=K_MAX,
            plan=plan,
            cutoff=cutoff,
            remove_self=False,
        )

    value, slope = jax.value_and_grad(energy)(positions)
    return value, -slope


@partial(jax.jit, static_argnames=("cutoff",), compiler_options=QUICK_COMPILE)
def directly(moments, positions, cell, cutoff="sharp"):
    """Energy and forces."""

    def energy(r):
        return ewald_energy(
            with_zeros(moments),
            r,
            cell,
            sigma=SIGMA,
            k_max=K_MAX,
            grid=GRID,
            cutoff=cutoff,
            remove_self=False,
        )

    value, slope = jax.value_and_grad(energy)(positions)
    return value, -slope


@functools.cache
def plan_for(accuracy=ACCURATE, rank=2):
    return plan_mesh(base_cell(), K_MAX, sigma=SIGMA, accuracy=accuracy, rank=rank)


def force_error(moments, positions, cell, plan, cutoff="sharp"):
    """Relative root mean square error of the forces."""
    _, found = on_mesh(moments, positions, jnp.asarray(cell), plan, cutoff)
    _, expected = directly(with_zeros(moments), positions, jnp.asarray(cell), cutoff)
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


# Accuracy


QUICK_RANKS = {1e-4: 0, 1e-6: 2}


@pytest.mark.parametrize(
    ("accuracy", "cutoff", "rank"),
    [
        long_unless(rank == QUICK_RANKS.get(accuracy), accuracy, cutoff, rank)
        for accuracy, cutoff in (
            (1e-2, "sharp"),
            (1e-4, "smooth"),
            (1e-6, "sharp"),
            (1e-8, "smooth"),
        )
        for rank in range(3)
    ],
)
def test_forces_are_as_accurate_as_asked_in_cells_of_either_handedness(accuracy, cutoff, rank):
    plan = plan_for(accuracy, rank)
    for seed, mirror in ((1, [1, 1, 1]), (2, [-1, 1, 1])):
        cell = base_cell() * mirror
        positions = spread_out(seed, cell)
        assert force_error(moments_of(seed, rank), positions, cell, plan, cutoff) <= accuracy


@pytest.mark.long
def test_a_mesh_is_no_finer_than_its_accuracy_needs():
    for rank in range(3):
        sizes = [np.prod(plan_for(10.0**-n, rank).sizes) for n in range(2, 7)]
        assert sizes == sorted(sizes)
        assert sizes[-1] > 2 * sizes[0]
        coarse = plan_for(1e-2, rank)
        positions = spread_out(1, base_cell())
        assert force_error(moments_of(1, rank), positions, base_cell(), coarse) > 1e-5


@pytest.mark.parametrize("accuracy", [0.1, 1.0, 1e-11, 0.0, -1e-3, math.nan])
def test_an_accuracy_out_of_range_is_refused(accuracy):
    with pytest.raises(InputError, match="accuracy must lie between"):
        plan_mesh(base_cell(), K_MAX, accuracy=accuracy)


@given(seeds)
def test_the_accuracy_holds_for_any_crowding_of_the_atoms(seed):
    cell, rng = base_cell(), np.random.default_rng(seed)
    offsets = rng.normal(size=(ATOMS, 3))
    crowded = {
        "one spot": rng.uniform(size=3) @ cell + 0.1 * offsets,
        "a line": np.outer(rng.uniform(-2, 2, ATOMS), cell[rng.integers(3)]) + 0.01 * offsets,
        "all but one": np.where(
            np.arange(ATOMS)[:, None] > 0, 0.3 * offsets, 0.5 * cell.sum(0)
        ),
    }
    for name, positions in crowded.items():
        error = force_error(moments_of(seed), jnp.asarray(positions), cell, plan_for())
        assert error <= ACCURATE, name


def test_atoms_in_exactly_one_point_have_the_energy_of_their_sum():
    cell = jnp.asarray(base_cell())
    moments, positions = moments_of(5), jnp.tile(jnp.array([1.0, -2.0, 0.5]), (ATOMS, 1))
    together = jax.tree.map(lambda m: jnp.zeros_like(m).at[0].set(m.sum(axis=0)), moments)
    value, forces = on_mesh(moments, positions, cell, plan_for())
    expected, of_sum = on_mesh(together, positions, cell, plan_for())
    np.testing.assert_allclose(value, expected, rtol=1e-11)
    np.testing.assert_allclose(forces.sum(axis=0), of_sum.sum(axis=0), atol=1e-8)
    np.testing.assert_allclose(value, directly(moments, positions, cell)[0], rtol=ACCURATE)


def test_atoms_on_faces_edges_and_corners_of_cell_and_blocks():
    cell, plan = base_cell(), plan_for()
    places = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, BLOCK / plan.n_a, 1.0 - 1e-17, -1e-18, 5e-324]
    reduced = np.random.default_rng(3).choice(places, (ATOMS, 3))
    positions = jnp.asarray(reduced @ cell)
    assert force_error(moments_of(3), positions, cell, plan) <= ACCURATE
    value, forces = on_mesh(moments_of(3), positions, jnp.asarray(cell), plan)
    for shift in (1e-12, -1e-12):
        beside = on_mesh(moments_of(3), positions + shift, jnp.asarray(cell), plan)
        np.testing.assert_allclose(beside[0], value, rtol=1e-10)
        np.testing.assert_allclose(beside[1], forces, rtol=1e-8, atol=1e-9)


@given(seeds)
def test_wrapping_atoms_does_not_matter(seed):
    cell, rng = base_cell(), np.random.default_rng(seed)
    positions = spread_out(seed, cell)
    away = positions + rng.integers(-20, 20, (ATOMS, 3)) @ cell
    value, forces = on_mesh(moments_of(seed), positions, jnp.asarray(cell), plan_for())
    found, found_forces = on_mesh(moments_of(seed), away, jnp.asarray(cell), plan_for())
    np.testing.assert_allclose(found, value, rtol=1e-10)
    np.testing.assert_allclose(found_forces, forces, rtol=1e-8, atol=1e-9)


@given(seeds)
def test_a_shift_by_mesh_steps_is_exact_and_by_fractions_accurate(seed):
    cell, plan, moments = base_cell(), plan_for(), moments_of(seed)
    step = cell / np.array(plan.sizes)[:, None]
    positions = spread_out(seed, cell)
    value, forces = on_mesh(moments, positions, jnp.asarray(cell), plan)
    scale = float(jnp.linalg.norm(forces))
    for shift, tolerance in (([3, -1, 10], 1e-10), ([0.5, 0.25, 0.1], ACCURATE)):
        moved = on_mesh(moments, positions + np.array(shift) @ step, jnp.asarray(cell), plan)
        np.testing.assert_allclose(moved[0], value, rtol=tolerance)
        assert float(jnp.linalg.norm(moved[1] - forces)) <= 2.0 * tolerance * scale


@pytest.mark.long
def test_second_derivatives_are_those_of_finite_differences():
    plan, moments = MeshPlan(24, 24, 24, 8), moments_of(7)
    rng = np.random.default_rng(7)
    arguments = (spread_out(7, base_cell()), jnp.asarray(base_cell()))
    moves = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in arguments)
    options = {"sigma": SIGMA, "k_max": K_MAX, "plan": plan, "cutoff": "smooth"}

    @partial(jax.jit, compiler_options=QUICK_COMPILE)
    def slopes_and_curvatures(*x):
        slope = jax.grad(lambda *x: pme_energy(moments, *x, **options), (0, 1))
        return jax.jvp(slope, x, moves)

    def slope_at(t):
        moved = (x + t * move for x, move in zip(arguments, moves, strict=True))
        return np.concatenate([np.ravel(x) for x in slopes_and_curvatures(*moved)[0]])

    curvature = slopes_and_curvatures(*arguments)[1]
    found = np.concatenate([np.ravel(x) for x in curvature])
    # Splines of order 8 have six continuous derivatives, whose jumps finite differences see.
    expected = central_difference(slope_at, 0.0, 1.0, step=1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


# Plans


def test_a_plan_with_margin_survives_the_growth_of_the_cell():
    cell = base_cell()
    tight = MeshPlan(*(2 * n for n in (5, 5, 5)), 8)
    roomy = plan_mesh(cell, K_MAX, accuracy=ACCURATE, rank=2, margin=0.1)
    assert all(a >= b for a, b in zip(roomy.sizes, plan_for().sizes, strict=True))
    grown = 1.1 * cell
    assert not mesh_is_too_small(roomy, grown, K_MAX)
    # Not only large enough to hold all waves, but accurate.
    positions = spread_out(11, grown)
    assert plan_grid_fits(grown)
    assert force_error(moments_of(11), positions, grown, roomy) <= ACCURATE
    assert mesh_is_too_small(tight, 3.0 * cell, K_MAX)
    assert mesh_is_too_small(roomy, cell * 20.0, K_MAX)


@given(seeds, st.floats(1e-9, 0.05), st.integers(0, 2), st.floats(0.5, 8.0))
def test_a_fresh_plan_holds_all_waves_in_sizes_that_transforms_like(
    seed, accuracy, rank, k_max
):
    _, _, cell = random_crystal(seed)
    plan = plan_mesh(cell, k_max, accuracy=accuracy, rank=rank)
    assert not mesh_is_too_small(plan, cell, k_max)
    for size in plan.sizes:
        assert size % BLOCK == 0
        assert 2**20 * 3**20 * 5**20 * 7**20 % size == 0
    # An index larger than half the mesh would fold back onto a smaller one.
    waves = k_max * np.linalg.norm(cell, axis=1) / (2.0 * math.pi)
    assert np.all(np.array(plan.sizes) / 2.0 > np.floor(waves))


def test_auto_is_one_of_the_two_methods_and_nothing_else():
    small, large = (np.eye(3) * edge for edge in (8.0, 60.0))
    options = {"k_max": K_MAX, "method": "auto", "accuracy": 1e-4}
    few = plan_sum(small, np.zeros((20, 3)), True, **options)
    many = plan_sum(large, np.zeros((20000, 3)), True, **options)
    assert few.method == "direct"
    assert few.mesh is None
    assert many.mesh is not None
    assert many.method == "mesh"
    assert few == plan_sum(small, np.zeros((20, 3)), True, **{**options, "method": "ewald"})
    assert many == plan_sum(large, np.zeros((20000, 3)), True, **{**options, "method": "pme"})


@pytest.mark.parametrize(
    "order",
    [6, long(8), long(9)],
)
def test_single_precision_stays_and_is_as_good_as_its_digits(order):
    cell = base_cell()
    system = (moments_of(13), spread_out(13, cell), jnp.asarray(cell))
    single = jax.tree.map(lambda x: x.astype(jnp.float32), system)
    plan = MeshPlan(32, 32, 32, order)
    for found, expected in zip(on_mesh(*single, plan), on_mesh(*system, plan), strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


def test_memory_per_atom_is_small():
    atoms, edge = 3000, 31.0
    plan = plan_mesh(np.eye(3) * edge, math.pi, accuracy=1e-4)
    single = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)

    def energy(charges, positions, cell):
        return pme_energy(charges, positions, cell, sigma=1.0, k_max=math.pi, plan=plan)

    shapes = single((atoms,)), single((atoms, 3)), single((3, 3))
    compiled = jax.jit(energy).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4096 * atoms


# Splines

ORDERS = pytest.mark.parametrize("order", [3, 4, 6, 8, 9])


def scipy_table(order, start, count, derivative=0):
    """M_order is the basis element on the knots 0, 1, ..., order."""
    element = BSpline.basis_element(np.arange(order + 1.0), extrapolate=False)
    element = element.derivative(derivative) if derivative else element
    return np.nan_to_num(element(np.asarray(start)[None] - np.arange(count)[:, None]))


@ORDERS
def test_splines_and_their_derivatives_are_those_of_scipy(order):
    start = order - 1 + np.random.default_rng(order).uniform(size=7)
    for derivative in range(min(3, order - 1)):
        found = spline_table(order, jnp.asarray(start), order + 3, derivative)
        expected = scipy_table(order, start, order + 3, derivative)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@ORDERS
def test_splines_are_positive_and_add_up_to_one(order):
    start = jnp.asarray(order - 1 + np.array([0.0, 1e-16, 0.25, 0.5, 1.0 - 1e-16]))
    table = spline_table(order, start, order + 1)
    assert np.all(np.array(table) >= -1e-15)
    np.testing.assert_allclose(jnp.sum(table, axis=0), 1.0, rtol=1e-14)
    for derivative in (1, 2):
        total = jnp.sum(spline_table(order, start, order + 1, derivative), axis=0)
        np.testing.assert_allclose(total, 0.0, atol=1e-14)


@ORDERS
def test_derivatives_of_splines_are_those_of_finite_differences(order):
    # Away from knots, where the last derivatives of low orders jump.
    start = order - 1 + np.random.default_rng(order).uniform(0.1, 0.9, size=5)

    def table_at(x, derivative):
        return np.array(spline_table(order, jnp.asarray(x), order + 1, derivative))

    for n in range(2):
        expected = central_difference(
            lambda x, n=n: table_at(x, n), start, np.ones(5), step=1e-3
        )
        np.testing.assert_allclose(table_at(start, n + 1), expected, atol=1e-8)

    def by_jvp(function):
        return lambda x: jax.jvp(function, (x,), (jnp.ones(5),))[1]

    slope = by_jvp(lambda x: spline_table(order, x, order + 1))
    for n, function in ((1, slope), (2, by_jvp(slope))):
        np.testing.assert_allclose(function(jnp.asarray(start)), table_at(start, n), atol=1e-12)


@ORDERS
@pytest.mark.parametrize("size", [16, 27, 40])
def test_gains_are_the_transform_of_the_spline_at_the_mesh_points(order, size):
    periodic = np.zeros(size)
    values = scipy_table(order, np.full(1, float(order)), order + 1)[:, 0]
    np.add.at(periodic, np.arange(order + 1) % size, values)
    expected = np.abs(np.fft.fft(periodic)) ** 2
    found = spline_gains(order, size)
    assert found.shape == (size,)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
