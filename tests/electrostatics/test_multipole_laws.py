"""Laws of charges, dipoles and quadrupoles that hold for every way to sum their energy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from jles.electrostatics import KGrid, Multipoles, ewald_energy, self_energy
from tests.support.coulomb_oracles import (
    central_difference,
    dense_crystal,
    rotation,
    wave_integral,
)
from tests.support.marks import long_unless
from tests.support.multipole_systems import (
    ATOMS,
    K_MAX,
    PLACES,
    SIGMA,
    SUMS,
    TOLERANCE,
    assert_same,
    energy,
    energy_of,
    handed,
    quick_jit,
    random_moments,
    random_system,
    scale_of,
    seeds,
    slopes,
    turned,
)

EVERY_SUM = pytest.mark.parametrize("name", SUMS)
MOST_SUMS = [long_unless(name != "slab", name) for name in SUMS]
EVERY_LATTICE = pytest.mark.parametrize("name", SUMS[:3])


def self_integral(moments):
    alone = ([m[n : n + 1] for m in moments] for n in range(ATOMS))
    return sum(wave_integral(one, np.zeros((1, 3)), SIGMA) for one in alone)


@given(seeds, handed)
def test_the_crystal_is_the_definition(seed, handedness):
    moments, positions, cell = random_system(seed, handedness)
    expected = dense_crystal(moments, positions, cell, SIGMA, K_MAX["ewald"])
    expected -= self_energy(moments, SIGMA)
    scale = scale_of(moments)
    assert_same(energy("ewald", moments, positions, cell), expected, 1e-10, scale)
    assert_same(energy("mesh", moments, positions, cell), expected, 1e-7, scale)


@pytest.mark.parametrize("seed", range(3))
def test_the_cluster_and_the_self_energy_are_integrals_over_all_waves(seed):
    moments, positions, cell = random_system(seed)
    alone = self_integral(moments)
    np.testing.assert_allclose(self_energy(moments, SIGMA), alone, rtol=1e-10)
    positions = 0.25 * (positions - positions[0])
    few = [x[:ATOMS] for x in (*moments, positions)]
    expected = wave_integral(few[:3], few[3], SIGMA) - alone
    assert_same(energy("cluster", moments, positions, cell), expected, 1e-10, scale_of(moments))


# Symmetries


def images_of(name, seed, moments, positions, cell):
    """Equivalent systems: moments, positions, cell and the rotation of the forces."""
    rng = np.random.default_rng(seed)
    turn, mirror, same = rotation(seed), np.diag([-1.0, 1.0, 1.0]), np.eye(3)
    order = rng.permutation(PLACES)
    cells = rng.integers(-9, 10, (PLACES, 3)) * (np.arange(3) != (2 if name == "slab" else 3))
    shuffled = jax.tree.map(lambda m: m[order], moments)
    opposite = jax.tree.map(jnp.negative, moments)
    symmetric = moments.quadrupoles.swapaxes(1, 2)
    empty = jnp.arange(PLACES)[:, None] >= ATOMS
    images = {
        "translation": (moments, positions + rng.normal(size=3), cell, same),
        "rotation": (turned(turn, moments), positions @ turn.T, cell @ turn.T, turn),
        "reflection": (turned(mirror, moments), positions @ mirror, cell @ mirror, mirror),
        "conjugation": (opposite, positions, cell, same),
        "transposed quadrupoles": (
            moments._replace(quadrupoles=symmetric),
            positions,
            cell,
            same,
        ),
        "padding elsewhere": (moments, jnp.where(empty, 1e3, positions), cell, same),
        "permutation": (shuffled, positions[order], cell, order),
    }
    if name == "slab":
        del images["padding elsewhere"]
        images["other vacuum"] = (moments, positions, cell.at[2].set(rng.normal(size=3)), same)
    if name != "cluster":
        images["wrapping"] = (moments, positions + cells @ cell, cell, same)
        images["another basis"] = (moments, positions, cell.at[1].add(cell[0]), same)
        images["negated row"] = (moments, positions, cell.at[0].multiply(-1.0), same)
    return images


@pytest.mark.parametrize("name", MOST_SUMS)
@given(seed=seeds, handedness=handed)
def test_rigid_motions_and_other_words_change_nothing(name, seed, handedness):
    system = random_system(seed, handedness)
    value, (_, gradient, _) = slopes(name, *system)
    scale = scale_of(system[0])
    for change, (*image, turn) in images_of(name, seed, *system).items():
        found, (_, turned_gradient, _) = slopes(name, *image)
        expected = gradient[turn] if turn.ndim == 1 else gradient @ turn.T
        assert_same(found, value, TOLERANCE[name], scale, change)
        assert_same(turned_gradient, expected, 10.0 * TOLERANCE[name], scale, change)


@EVERY_SUM
@given(seed=seeds)
def test_forces_add_up_to_zero_and_torques_are_those_of_the_moments(name, seed):
    moments, positions, cell = random_system(seed)
    _, (fields, gradient, strain) = slopes(name, moments, positions, cell)
    scale = scale_of(moments)
    assert_same(gradient.sum(axis=0), 0.0, 10.0 * TOLERANCE[name], scale)
    # Turning everything together leaves the energy: a sum of antisymmetric matrices is zero.
    quads = moments.quadrupoles
    pairs = ((positions, gradient), (moments.dipoles, fields.dipoles), (cell, strain))
    turns = sum(x.T @ g for x, g in pairs)
    turns += jnp.einsum("iac,ibc->ab", quads, fields.quadrupoles)
    turns += jnp.einsum("ica,icb->ab", quads, fields.quadrupoles)
    assert_same(turns, turns.T, 1e-11, scale * PLACES)


@EVERY_LATTICE
@given(seed=seeds, handedness=handed)
def test_energy_is_extensive_in_supercells(name, seed, handedness):
    moments, positions, cell = random_system(seed, handedness)
    twice = jax.tree.map(lambda m: m.at[ATOMS:].set(m[:ATOMS]), moments)
    again = positions.at[ATOMS:].set(positions[:ATOMS] + cell[0])
    found = energy(name, twice, again, cell.at[0].multiply(2.0))
    expected = 2.0 * energy(name, moments, positions, cell)
    # Of a charged slab too; twice as long a cell keeps waves that decay half as fast.
    assert_same(found, expected, max(TOLERANCE[name], 1e-10) * 10.0, scale_of(moments))


@EVERY_SUM
def test_channels_do_not_see_one_another_and_absent_dipoles_are_zeros(name):
    first, positions, cell = random_system(1)
    apart = [m._replace(dipoles=0.0 * m.dipoles) for m in (first, random_moments(2))]
    both = jax.tree.map(lambda a, b: jnp.stack([a, b], axis=1), *apart)._replace(dipoles=None)
    found = quick_jit(energy_of, static_argnums=0)(name, both, positions, cell)
    expected = sum(energy(name, one, positions, cell) for one in apart)
    assert_same(found, expected, 1e-12, scale_of(both))


# Isolated atoms and coinciding ones


@quick_jit
def in_a_cube(moments, positions, edge):
    cell, grid = edge * jnp.eye(3), KGrid(34, 34, 34)
    return ewald_energy(moments, positions, cell, sigma=SIGMA, k_max=7.5, grid=grid)


@given(seeds)
def test_an_isolated_atom_has_no_energy(seed):
    moments, positions, cell = random_system(seed)
    one = jax.tree.map(lambda m: m.at[1:].set(0.0), moments)
    assert float(energy("cluster", one, positions, cell)) == 0.0
    neutral = Multipoles(0.0 * one.charges, 0.0 * one.dipoles, one.quadrupoles)
    near, far = (abs(in_a_cube(neutral, positions, edge)) for edge in (14.0, 28.0))
    # Quadrupoles of any trace interact over the distance as its fifth inverse power.
    assert near < 1e-3 * scale_of(neutral)
    assert far < near / 20.0


@EVERY_SUM
def test_coinciding_and_nearly_coinciding_atoms_are_finite_and_smooth(name):
    moments, positions, cell = random_system(4)
    heap = jnp.broadcast_to(positions[0], positions.shape)
    at_heap, gradient = slopes(name, moments, heap, cell)
    for leaf in jax.tree.leaves((at_heap, gradient)):
        assert bool(jnp.all(jnp.isfinite(leaf)))
    direction = jnp.asarray(np.random.default_rng(4).normal(size=positions.shape))
    for step in (1e-12, 1e-7):
        value, _ = slopes(name, moments, heap + step * direction, cell)
        change = step * jnp.sum(gradient[1] * direction)
        assert_same(value - at_heap, change, 1e-11, scale_of(moments))


# Derivatives, transformations, precision


@partial(quick_jit, static_argnums=0)
def along(name, system, direction):
    """Energy and all slopes, and their derivatives along a direction, forward over reverse."""
    return jax.jvp(lambda *x: slopes.__wrapped__(name, *x), system, direction)


@pytest.mark.parametrize("name", MOST_SUMS)
def test_derivatives_are_those_of_finite_differences_in_either_mode(name):
    system = random_system(6)
    rng = np.random.default_rng(6)
    first, second = (
        jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape)), system)
        for _ in range(2)
    )
    (_, gradient), (slope, curvature) = along(name, system, first)

    def flat(tree):
        return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])

    def moved(t):
        return flat(slopes(name, *jax.tree.map(lambda x, d: x + t * d, system, first)))

    np.testing.assert_allclose(slope, flat(gradient) @ flat(first), rtol=1e-10)
    _, (_, other) = along(name, system, second)
    crossed = flat(curvature) @ flat(second), flat(other) @ flat(first)
    np.testing.assert_allclose(*crossed, rtol=1e-8)
    # No vector crosses the sharp sphere within these steps.
    expected = central_difference(moved, 0.0, 1.0, step=1e-3)
    assert_same(flat((slope, curvature)), expected, 1e-7, np.abs(expected).max())


@EVERY_SUM
@pytest.mark.long
def test_jit_vmap_and_single_precision_give_the_same(name):
    systems = [random_system(seed) for seed in (8, 9)]
    (value, gradient), (other, _) = (slopes(name, *system) for system in systems)
    scale = scale_of(systems[0][0])
    if name == "cluster":
        assert_same(energy_of(name, *systems[0]), value, 1e-12, scale)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *systems)
    loop = quick_jit(jax.vmap(partial(energy_of, name)))(*stacked)
    assert_same(loop, [float(value), float(other)], 1e-12, scale)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), systems[0])
    results = slopes(name, *single), (value, gradient)
    for found, expected in zip(*map(jax.tree.leaves, results), strict=True):
        assert found.dtype == jnp.float32
        assert_same(found, expected, 1e-5, max(scale, np.abs(expected).max()))
