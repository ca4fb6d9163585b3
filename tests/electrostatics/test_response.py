"""Induced moments: formulas, dense algebra, minima, derivatives and failures."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics import (
    Multipoles,
    Response,
    build_interaction,
    induce,
    lattice_sum,
    local_field,
    plan_sum,
)
from jles.errors import InputError
from jles.units import COULOMB_CONSTANT
from tests.support.coulomb_oracles import central_difference
from tests.support.marks import long

seeds = st.integers(min_value=0, max_value=10**6)
ATOMS = 4
MODES, K_MAX = ("one-shot", "self-consistent"), 3.0
CELL = np.array([[5.5, 0.4, 0.0], [-0.3, 6.0, 0.5], [0.2, 0.0, 5.0]])
KINDS = {"crystal": True, "cluster": False, "slab": (True, True, False), "mesh": True}


def random_ions(seed=0):
    """Alternating charges with dipoles, well apart; softness, and tensor polarizabilities."""
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0, 0], [2.6, 0, 0], [0, 2.8, 0], [0, 0, 2.4]])
    positions = jnp.asarray(corners + rng.uniform(-0.2, 0.2, (ATOMS, 3)))
    charges = jnp.asarray(rng.uniform(0.3, 0.9, ATOMS) * [1, -1, 1, -1])
    moments = Multipoles(charges, jnp.asarray(0.3 * rng.normal(size=(ATOMS, 3))))
    factors = rng.normal(size=(ATOMS, 3, 3))
    tensors = 0.02 * factors @ np.swapaxes(factors, 1, 2)
    softness = jnp.asarray(rng.uniform(0.01, 0.03, ATOMS))
    return moments, positions, Response(softness, jnp.asarray(tensors))


@cache
def plan_of(kind):
    # All atoms of `random_ions` lie within these heights.
    method = "pme" if kind == "mesh" else "ewald"
    return plan_sum(CELL, 3 * np.eye(3), KINDS[kind], k_max=K_MAX, method=method, margin=0.1)


def interaction_of(kind, positions, cell=CELL):
    cell = jnp.asarray(cell, positions.dtype)
    options = {"sigma": 1.0, "k_max": K_MAX, "cutoff": "smooth"}
    return build_interaction(positions, cell, plan_of(kind), **options)


@partial(jax.jit, static_argnames="kind")
def columns_of(kind, positions):
    """Columns of K, charges before dipoles: slopes of a quadratic form at unit vectors."""
    interaction = interaction_of(kind, positions)

    def energy(vector):
        return interaction(Multipoles(vector[:ATOMS], vector[ATOMS:].reshape(ATOMS, 3)))

    return jax.lax.map(jax.grad(energy), jnp.eye(4 * ATOMS, dtype=positions.dtype))


@partial(jax.jit, static_argnames="kind")
def induced_both(kind, moments, positions, response):
    """One shot and self-consistent."""
    interaction = interaction_of(kind, positions)
    source = local_field(interaction, moments, response)
    return [
        induce(interaction, source, dataclasses.replace(response, mode=mode)) for mode in MODES
    ]


def flat(charges, dipoles):
    return np.concatenate([np.asarray(charges), np.asarray(dipoles).ravel()])


def dense(kind, moments, positions, response):
    """K, R and the local field as plain matrices."""
    matrix = np.asarray(columns_of(kind, positions))
    responses = np.zeros((4 * ATOMS, 4 * ATOMS))
    kappa, alpha = (
        np.asarray(a) for a in (response.charge_softness, response.polarizabilities)
    )
    responses[:ATOMS, :ATOMS] = np.diag(kappa)
    if response.conserve_charge:
        responses[:ATOMS, :ATOMS] -= np.outer(kappa, kappa) / kappa.sum()
    for i in range(ATOMS):
        rows = slice(ATOMS + 3 * i, ATOMS + 3 * i + 3)
        responses[rows, rows] = 0.5 * (alpha[i] + alpha[i].T)
    return matrix, responses, -matrix @ flat(moments.charges, moments.dipoles)


@pytest.mark.parametrize(
    ("kind", "conserve"), [("crystal", False), ("cluster", False), ("cluster", True)]
)
@given(seed=seeds)
def test_both_modes_are_those_of_dense_matrices(kind, conserve, seed):
    moments, positions, response = random_ions(seed)
    response = dataclasses.replace(response, conserve_charge=conserve)
    matrix, responses, source = dense(kind, moments, positions, response)
    once, settled = induced_both(kind, moments, positions, response)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    np.testing.assert_allclose(flat(once.charges, once.dipoles), responses @ source, atol=1e-12)
    np.testing.assert_allclose(once.energy, -0.5 * source @ responses @ source, rtol=1e-11)
    expected = responses @ np.linalg.solve(np.eye(4 * ATOMS) + matrix @ responses, source)
    np.testing.assert_allclose(flat(settled.charges, settled.dipoles), expected, atol=1e-10)
    np.testing.assert_allclose(settled.energy, -0.5 * source @ expected, rtol=1e-10)
    assert 1 <= int(settled.report.steps) <= 4 * ATOMS + 2
    assert 0.0 <= float(settled.report.residual) < 1e-10
    assert bool(settled.report.converged)
    if conserve:
        np.testing.assert_allclose(
            [np.sum(x.charges) for x in (once, settled)], 0.0, atol=1e-12
        )


@partial(jax.jit, static_argnames="kind")
def charges_alone(kind, charges, positions, softness):
    """The self-consistent response, and K in charges alone."""
    interaction = interaction_of(kind, positions)
    response = Response(softness, mode="self-consistent")
    source = local_field(interaction, Multipoles(charges), response)
    columns = jax.lax.map(jax.grad(lambda q: interaction(Multipoles(q))), jnp.eye(ATOMS))
    return induce(interaction, source, response), columns


@pytest.mark.parametrize("kind", ["slab", long("mesh")])
def test_slabs_and_meshes_are_interactions_like_any_other(kind):
    moments, positions, response = random_ions()
    kappa = response.charge_softness
    found, matrix = charges_alone(kind, moments.charges, positions, kappa)
    source = -np.asarray(matrix) @ moments.charges
    expected = np.linalg.solve(np.diag(1.0 / kappa) + matrix, source)
    np.testing.assert_allclose(found.charges, expected, atol=1e-10)
    np.testing.assert_allclose(found.energy, -0.5 * source @ expected, rtol=1e-10)


@given(seeds)
def test_self_consistent_moments_are_the_minimum(seed):
    moments, positions, response = random_ions(seed)
    matrix, responses, _ = dense("cluster", moments, positions, response)
    permanent = flat(moments.charges, moments.dipoles)
    once, settled = induced_both("cluster", moments, positions, response)
    stiffness = np.linalg.inv(responses)

    def functional(change):
        both = permanent + change
        cost = 0.5 * change @ stiffness @ change - 0.5 * permanent @ matrix @ permanent
        return 0.5 * both @ matrix @ both + cost

    best = flat(settled.charges, settled.dipoles)
    np.testing.assert_allclose(functional(best), settled.energy, rtol=1e-9)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        assert functional(best + 1e-3 * rng.normal(size=best.shape)) > float(settled.energy)
    assert functional(flat(once.charges, once.dipoles)) > float(settled.energy)


def test_channels_conserve_their_charge_each_and_add_up():
    moments, positions, response = random_ions()
    columns = np.stack([moments.charges, moments.charges[::-1] ** 2], axis=1)
    softness = np.stack([response.charge_softness, 2.0 * response.charge_softness], axis=1)

    def out(charges, kappa):
        options = Response(kappa, mode="self-consistent", conserve_charge=True)
        return lattice_sum(Multipoles(charges), positions, pbc=False, response=options)

    both = out(columns, softness)
    induced = both.effective.charges - columns
    assert np.abs(induced).max() > 1e-3
    np.testing.assert_allclose(induced.sum(axis=0), 0.0, atol=1e-12)
    each = [out(q, kappa) for q, kappa in zip(columns.T, softness.T, strict=True)]
    np.testing.assert_allclose(both.energy, sum(one.energy for one in each), rtol=1e-9)
    for n, one in enumerate(each):
        np.testing.assert_allclose(
            both.effective.charges[:, n], one.effective.charges, atol=1e-9
        )


def gaussian_interaction(positions):
    """The pair interaction 2 V exp(-r^2 / 8 A^2), each atom with itself included."""

    def interaction(moments):
        apart = positions[:, None] - positions[None]
        ahead = jnp.einsum("ija,ia->ij", apart, moments.dipoles) / 4.0
        behind = jnp.einsum("ija,ja->ij", apart, moments.dipoles) / 4.0
        both = (moments.charges[:, None] - ahead) * (moments.charges[None] + behind)
        both += moments.dipoles @ moments.dipoles.T / 4.0
        return jnp.sum(jnp.exp(-jnp.sum(apart**2, axis=-1) / 8.0) * both)

    return interaction


def settled(interaction, kappa, alpha, charges, mode="self-consistent"):
    """Kappa and alpha scale those of `random_ions`."""
    moments, _, response = random_ions()
    alpha = alpha[:, None, None] * response.polarizabilities
    response = Response(kappa * response.charge_softness, alpha, mode)
    moments = moments._replace(charges=charges, dipoles=moments.dipoles * charges[:, None] ** 2)
    return induce(interaction, local_field(interaction, moments, response), response)


@jax.jit
def settled_energy(positions, cell, *rest):
    return settled(interaction_of("crystal", positions, cell), *rest).energy


@jax.jit
def simple_energy(positions, cell, *rest):
    """The cell strains the positions."""
    return settled(gaussian_interaction(positions @ cell / 5.0), *rest).energy


@partial(jax.jit, static_argnums=3)
def gains(positions, alpha, charges, mode):
    interaction = gaussian_interaction(positions)
    return settled(interaction, 0.0, jnp.full(ATOMS, alpha), charges, mode).energy


def arguments():
    moments, positions, _ = random_ions()
    ones = jnp.ones(ATOMS)
    return positions, jnp.asarray(CELL), ones, ones, moments.charges


def random_ways(seed=3):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=a.shape)) for a in arguments()]


ALL = tuple(range(5))
settled_gradient = jax.jit(jax.grad(settled_energy, ALL))
simple_gradient = jax.jit(jax.grad(simple_energy, ALL))


@jax.jit
def curvatures(start, ways):
    """Slopes along `ways` of the gradient: forward over reverse, and reverse over reverse."""

    def slope(*given):
        return sum(jnp.vdot(a, b) for a, b in zip(simple_gradient(*given), ways, strict=True))

    return jax.jvp(simple_gradient, start, tuple(ways))[1], jax.grad(slope, ALL)(*start)


@pytest.mark.long
def test_first_derivatives_are_those_of_finite_differences():
    start, ways = arguments(), random_ways()
    for n, first in enumerate(settled_gradient(*start)):

        def moved(step, n=n):
            return settled_energy(*start[:n], start[n] + step * ways[n], *start[n + 1 :])

        slope = central_difference(moved, 0.0, 1.0, step=1e-3)
        np.testing.assert_allclose(np.sum(first * ways[n]), slope, rtol=1e-7, atol=1e-8)


def test_second_derivatives_are_those_of_finite_differences():
    start, ways = arguments(), random_ways()

    def along(step, n):
        return simple_gradient(*(a + step * b for a, b in zip(start, ways, strict=True)))[n]

    for n, found in enumerate(zip(*curvatures(start, ways), strict=True)):
        slope = central_difference(partial(along, n=n), 0.0, 1.0, step=1e-3)
        for second in found:
            np.testing.assert_allclose(second, slope, rtol=1e-6, atol=1e-6)


@given(seeds)
def test_one_shot_overestimates_more_the_more_polarizable_ions_are(seed):
    moments, positions, _ = random_ions(seed)
    # With its self part an interaction is positive: a theorem, not a matter of the structure.
    ratios = []
    for alpha in (1e-6, 0.3, 1.5, 6.0):
        once, relaxed = (gains(positions, alpha, moments.charges, mode) for mode in MODES)
        assert float(once) < float(relaxed) < 0.0
        ratios.append(float(once / relaxed))
    assert ratios[0] < 1.0001
    assert ratios == sorted(ratios)


@pytest.mark.long
def test_nothing_breaks_where_softness_polarizability_or_charges_are_zero():
    positions, cell, ones, _, charges = arguments()
    some = jnp.array([1.0, 0.0, 1.0, 0.0])
    none = jnp.zeros(ATOMS)
    for kappa, alpha, q in (
        (none, none, charges),
        (ones, ones, none),
        (some, 1 - some, charges),
    ):
        start = (positions, cell, kappa, alpha, q)
        assert float(settled_energy(*start)) <= 0.0
        first = settled_gradient(*start)
        found = jax.tree.leaves((first, curvatures(start, random_ways())))
        assert all(np.isfinite(array).all() for array in found)
    assert float(settled_energy(positions, cell, none, none, charges)) == 0.0
    # Of an atom that does not respond yet, the slope is minus half its field squared.
    moments, positions, response = random_ions()
    moments = moments._replace(dipoles=moments.dipoles * charges[:, None] ** 2)
    _, _, source = dense("crystal", moments, positions, response)
    field = source[ATOMS:].reshape(ATOMS, 3)
    expected = -0.5 * np.einsum("na,nab,nb->n", field, response.polarizabilities, field)
    found = settled_gradient(positions, cell, none, none, charges)[3]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_number_is_that_number_times_the_unit_matrix():
    moments, positions, response = random_ions()
    kappa = response.charge_softness
    numbers = jnp.array([0.01, 0.0, 0.02, 0.03])
    matrices = numbers[:, None, None] * jnp.eye(3)
    # Of a matrix that is not symmetric the symmetric part counts.
    skewed = matrices + 0.3 * np.cross(np.eye(3), [0.1, 0.2, 0.3])
    scalar, *tensors = (
        [
            part[:3]
            for part in induced_both("cluster", moments, positions, Response(kappa, alpha))
        ]
        for alpha in (numbers, matrices, skewed)
    )
    for tensor in tensors:
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11), scalar, tensor)


@pytest.mark.long
def test_forward_and_reverse_derivatives_of_the_induced_dipole_agree():
    positions, _, *rest = arguments()

    @jax.jit
    def dipole(r):
        return jnp.sum(settled(gaussian_interaction(r), *rest).dipoles, axis=0)

    forward, reverse = (jax.jit(mode(dipole))(positions) for mode in (jax.jacfwd, jax.jacrev))
    np.testing.assert_allclose(forward, reverse, atol=1e-10 * np.abs(forward).max())
    assert np.abs(forward).max() > 0.01


def test_a_batch_is_the_loop_over_it():
    points = [random_ions(seed)[1] for seed in range(3)]
    rest = arguments()[1:]
    many = jax.jit(jax.vmap(simple_energy, (0, *[None] * 4)))(jnp.stack(points), *rest)
    np.testing.assert_allclose(
        many, [simple_energy(point, *rest) for point in points], rtol=1e-10
    )


def pair_energy(alpha):
    """Two polarizable atoms 2 angstrom apart, charged."""
    response = Response(None, jnp.full(2, alpha), "self-consistent")
    moments, positions = (
        Multipoles(jnp.array([1.0, -1.0])),
        jnp.array([[0.0] * 3, [0.0, 0.0, 2.0]]),
    )
    return lattice_sum(moments, positions, pbc=False, sigma=0.5, response=response).energy


pair_slope = jax.jit(jax.value_and_grad(pair_energy))


def test_a_polarization_catastrophe_is_no_number_under_jit_and_an_error_outside():
    # Of point dipoles it comes at d^3 / (2 k_e).
    assert np.isfinite(pair_slope(0.5 * 2.0**3 / (2.0 * COULOMB_CONSTANT))).all()
    assert np.isnan(pair_slope(2.0)[0])
    with pytest.raises(InputError, match="converge: relative residual .*widen sigma") as error:
        pair_energy(2.0)
    assert "\n" not in str(error.value)


def test_the_slope_of_no_number_is_no_number():
    assert np.isnan(pair_slope(2.0)[1])


def test_too_few_steps_are_an_error():
    moments, positions, response = random_ions()
    ions = Multipoles(moments.charges)
    response = Response(response.charge_softness, mode="self-consistent")
    with pytest.raises(InputError, match="after 1 of at most 1 steps"):
        lattice_sum(ions, positions, pbc=False, response=response, max_steps=1)


def test_float32_is_as_good_as_its_digits():
    moments, positions, response = random_ions()
    expected = induced_both("crystal", moments, positions, response)
    single = jax.tree.map(lambda a: a.astype(jnp.float32), (moments, positions, response))
    for found, exact in zip(induced_both("crystal", *single), expected, strict=True):
        assert found.energy.dtype == jnp.float32
        assert bool(found.report.converged)
        np.testing.assert_allclose(found.energy, exact.energy, rtol=1e-5)
        np.testing.assert_allclose(found.dipoles, exact.dipoles, atol=1e-5)
