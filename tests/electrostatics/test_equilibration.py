"""Charge equilibration against dense algebra, envelopes, electrodes and derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics import Multipoles, cluster_energy, equilibrate_charges
from jles.errors import InputError
from tests.support.coulomb_oracles import central_difference
from tests.support.marks import long

seeds = st.integers(min_value=0, max_value=10**6)
ATOMS = 6
GROUPS = {
    "one": [0, 0, 0, 0, 0, 0],
    "two": [0, 1, 0, 1, 1, 0],
    "electrode and molecule": [-1, -1, 0, 0, 0, 1],
    "all at fixed potentials": [-1] * ATOMS,
}
EVERY_GROUPING = pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)


def problem(seed=0):
    """Positions, electronegativities, hardnesses, voltages, and charges of two groups."""
    rng = np.random.default_rng(seed)
    corners = np.array([[i, j, k] for i in (0, 1, 2) for j in (0, 1) for k in (0,)], float)
    positions = 2.2 * corners + rng.uniform(-0.3, 0.3, (ATOMS, 3))
    arrays = (
        positions,
        rng.uniform(-3.0, 3.0, ATOMS),
        rng.uniform(12.0, 20.0, ATOMS),
        rng.uniform(-1.0, 1.0, ATOMS),
        rng.uniform(-1.0, 1.0, 2),
    )
    return tuple(jnp.asarray(array) for array in arrays)


def pairs_of(positions):
    return lambda moments: cluster_energy(moments, positions, sigma=0.8)


def equilibrium(positions, chi, hardness, voltages, group_charges, groups):
    return equilibrate_charges(
        pairs_of(positions),
        chi,
        hardness,
        groups=groups,
        group_charges=group_charges,
        applied_potential=voltages,
    )


def energy_of(*arguments):
    return equilibrium(*arguments).energy


ALL = tuple(range(5))
solved = jax.jit(equilibrium)
slopes = jax.jit(jax.grad(energy_of, ALL))


@jax.jit
def coulomb_matrix(positions):
    interaction = pairs_of(positions)
    return jax.hessian(lambda q: interaction(Multipoles(q)))(jnp.zeros(len(positions)))


def test_groups_and_their_charges_are_given_together():
    for options in ({"groups": jnp.zeros(2, int)}, {"group_charges": jnp.zeros(1)}):
        with pytest.raises(InputError, match=f"{next(iter(options))} is given without"):
            equilibrate_charges(lambda m: 0.0, jnp.zeros(2), jnp.ones(2), **options)


def stationary_point(positions, chi, hardness, voltages, group_charges, groups):
    """Charges, multipliers and energy of the dense equations."""
    chi, hardness, voltages, fixed = (
        np.asarray(a) for a in (chi, hardness, voltages, group_charges)
    )
    matrix = np.asarray(coulomb_matrix(positions)) + np.diag(hardness)
    present = sorted(set(np.asarray(groups).tolist()) - {-1})
    members = np.array([np.asarray(groups) == g for g in present], float).reshape(-1, len(chi))
    corner = np.zeros((len(present), len(present)))
    kkt = np.block([[matrix, -members.T], [members, corner]])
    right = np.concatenate([voltages - chi, fixed[present]])
    solution = np.linalg.solve(kkt, right)
    charges, multipliers = solution[: len(chi)], solution[len(chi) :]
    energy = (chi - voltages) @ charges + 0.5 * charges @ matrix @ charges
    return charges, dict(zip(present, multipliers, strict=True)), energy


@EVERY_GROUPING
@given(seed=seeds)
def test_charges_and_potentials_are_those_of_the_dense_equations(groups, seed):
    arguments = (*problem(seed), jnp.array(groups))
    out = solved(*arguments)
    charges, multipliers, energy = stationary_point(*arguments)
    np.testing.assert_allclose(out.charges, charges, atol=1e-9)
    np.testing.assert_allclose(out.energy, energy, rtol=1e-9, atol=1e-10)
    assert bool(out.report.converged)
    for group, value in multipliers.items():
        np.testing.assert_allclose(out.group_potentials[group], value, atol=1e-8)
        members = np.array(groups) == group
        np.testing.assert_allclose(
            np.sum(out.charges[members]), arguments[4][group], rtol=1e-10, atol=1e-12
        )


@EVERY_GROUPING
def test_every_atom_of_a_group_is_at_its_potential_and_others_at_zero(groups):
    positions, chi, hardness, voltages, charges = problem(3)
    out = solved(positions, chi, hardness, voltages, charges, jnp.array(groups))
    potential = np.asarray(coulomb_matrix(positions)) @ out.charges
    level = chi - voltages + hardness * out.charges + potential
    expected = [out.group_potentials[g] if g >= 0 else 0.0 for g in groups]
    np.testing.assert_allclose(level, expected, atol=1e-8)


@given(seeds)
def test_other_charges_of_the_same_totals_cost_more(seed):
    arguments = (*problem(seed), jnp.array(GROUPS["two"]))
    out, matrix = solved(*arguments), np.asarray(coulomb_matrix(arguments[0]))
    _, chi, hardness, voltages, _, groups = (np.asarray(a) for a in arguments)

    def cost(q):
        return (chi - voltages) @ q + 0.5 * np.sum(hardness * q**2) + 0.5 * q @ matrix @ q

    best = np.asarray(out.charges)
    np.testing.assert_allclose(cost(best), out.energy, rtol=1e-9)
    change = 1e-2 * np.random.default_rng(seed).normal(size=ATOMS)
    for group in (0, 1):
        change[groups == group] -= change[groups == group].mean()
    assert cost(best + change) > out.energy


def test_one_molecule_is_the_default():
    positions, chi, hardness, _, _ = problem()
    none = jnp.zeros(ATOMS)
    for total in (0.0, -1.5):
        out = jax.jit(lambda total: equilibrate_charges(
            pairs_of(positions), chi, hardness, total_charge=total
        ))(total)  # fmt: skip
        fixed = jnp.array([total, 0.0])
        expected = solved(positions, chi, hardness, none, fixed, jnp.array(GROUPS["one"]))
        np.testing.assert_allclose(out.charges, expected.charges, atol=1e-10)
        np.testing.assert_allclose(out.energy, expected.energy, rtol=1e-10)
        assert out.group_potentials.shape == (1,)
        np.testing.assert_allclose(jnp.sum(out.charges), total, atol=1e-12)


# Electrodes


def test_two_electrodes_are_a_capacitor():
    rows = np.array([[2.0 * i, 0.0] for i in range(3)])
    positions = np.concatenate([np.c_[rows, np.zeros(3)], np.c_[rows, np.full(3, 6.0)]])
    chi, hardness = jnp.zeros(ATOMS), jnp.full(ATOMS, 10.0)
    side = jnp.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    fixed, groups = jnp.zeros(2), jnp.array(GROUPS["one"])
    stored = []
    for voltage in (1.0, 2.0, -1.0):
        out = solved(jnp.asarray(positions), chi, hardness, 0.5 * voltage * side, fixed, groups)
        plate = float(jnp.sum(out.charges[:3]))
        np.testing.assert_allclose(jnp.sum(out.charges[3:]), -plate, atol=1e-12)
        # The battery's work is twice what is stored.
        np.testing.assert_allclose(out.energy, -0.5 * plate * voltage, rtol=1e-10)
        stored.append(plate)
    assert stored[0] > 0.0
    np.testing.assert_allclose(stored[1:], [2.0 * stored[0], -stored[0]], rtol=1e-10)


# Derivatives


@EVERY_GROUPING
def test_slopes_are_finite_differences_charges_and_potentials(groups):
    groups = jnp.array(groups)
    start = problem(5)
    out, found = solved(*start, groups), slopes(*start, groups)
    rng = np.random.default_rng(2)
    for n in ALL:
        way = jnp.asarray(rng.normal(size=start[n].shape))

        def moved(step, n=n, way=way):
            return solved(*start[:n], start[n] + step * way, *start[n + 1 :], groups).energy

        slope = central_difference(moved, 0.0, 1.0, step=1e-3)
        np.testing.assert_allclose(np.sum(found[n] * way), slope, rtol=1e-7, atol=1e-8)
    _, chi, hardness, voltages, fixed = found
    np.testing.assert_allclose(chi, out.charges, atol=1e-9)
    np.testing.assert_allclose(hardness, 0.5 * out.charges**2, atol=1e-9)
    np.testing.assert_allclose(voltages, -out.charges, atol=1e-9)
    for group in set(groups.tolist()) - {-1}:
        np.testing.assert_allclose(fixed[group], out.group_potentials[group], atol=1e-8)


@partial(jax.jit, static_argnames="mode")
def curvature(start, ways, groups, mode):
    """Slope along `ways` of all first derivatives."""
    gradient = jax.grad(energy_of, ALL)
    if mode == "over forward":
        return jax.jvp(lambda *given: gradient(*given, groups), start, ways)[1]

    def slope(*given):
        return sum(jnp.vdot(a, b) for a, b in zip(gradient(*given, groups), ways, strict=True))

    return jax.grad(slope, ALL)(*start)


@pytest.mark.parametrize("mode", [long("over forward"), "over reverse"])
def test_second_derivatives_are_finite_differences(mode):
    start, groups = problem(6), jnp.array(GROUPS["electrode and molecule"])
    rng = np.random.default_rng(4)
    ways = tuple(jnp.asarray(rng.normal(size=array.shape)) for array in start)
    found = curvature(start, ways, groups, mode)

    def along(step, n):
        return slopes(*(a + step * b for a, b in zip(start, ways, strict=True)), groups)[n]

    for n in ALL:
        slope = central_difference(partial(along, n=n), 0.0, 1.0, step=1e-3)
        np.testing.assert_allclose(found[n], slope, rtol=1e-6, atol=1e-7)


# Edges


def test_infinitely_hard_atoms_are_padding():
    positions, chi, hardness, voltages, charges = problem(7)
    groups = jnp.array([0, 0, 0, 0, 1, 1])
    charges = charges.at[1].set(0.0)
    padded = hardness.at[4:].set(jnp.inf)
    outs = [
        (
            solved(r, chi, padded, voltages, charges, g),
            slopes(r, chi, padded, voltages, charges, g),
        )
        for r, g in (
            (positions, groups),
            (positions.at[4:].set(77.0), groups),
            (positions, groups.at[4:].set(-1)),
            (positions, groups.at[4:].set(0)),
        )
    ]
    inner = coulomb_matrix(positions)[:4, :4] + jnp.diag(hardness[:4])
    kkt = np.block([[inner, -np.ones((4, 1))], [np.ones((1, 4)), np.zeros((1, 1))]])
    right = np.append(voltages[:4] - chi[:4], charges[0])
    expected = np.linalg.solve(kkt, right)[:4]
    for out, found in outs:
        np.testing.assert_array_equal(out.charges[4:], 0.0)
        np.testing.assert_allclose(out.charges[:4], expected, atol=1e-9)
        assert all(np.isfinite(array).all() for array in found)
        np.testing.assert_allclose(found[0][4:], 0.0, atol=1e-12)
        np.testing.assert_allclose(found[0], outs[0][1][0], atol=1e-9)


def test_a_batch_is_the_loop_over_it():
    systems = [problem(seed) for seed in range(3)]
    groups = jnp.array(GROUPS["two"])
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *systems)
    many = jax.jit(jax.vmap(equilibrium, (0, 0, 0, 0, 0, None)))(*stacked, groups)
    for n, system in enumerate(systems):
        one = solved(*system, groups)
        np.testing.assert_allclose(many.energy[n], one.energy, rtol=1e-10)
        np.testing.assert_allclose(many.charges[n], one.charges, atol=1e-10)


def test_charges_that_run_away_are_no_numbers():
    positions, chi, hardness, voltages, charges = problem()
    groups = jnp.array(GROUPS["one"])
    # Softer than smeared charges repel: opposite charges gain without end.
    out = solved(0.3 * positions, chi, 0.01 * hardness, voltages, charges, groups)
    matrix = np.asarray(coulomb_matrix(0.3 * positions)) + np.diag(0.01 * hardness)
    assert np.linalg.eigvalsh(matrix).min() < 0.0
    assert not bool(out.report.converged)
    assert np.isnan(out.energy)
    assert np.isnan(out.charges).all()


def test_float32_is_as_good_as_its_digits():
    arguments, groups = problem(8), jnp.array(GROUPS["two"])
    exact = solved(*arguments, groups)
    found = solved(*(array.astype(jnp.float32) for array in arguments), groups)
    assert found.energy.dtype == jnp.float32
    assert bool(found.report.converged)
    np.testing.assert_allclose(found.energy, exact.energy, rtol=2e-5)
    np.testing.assert_allclose(found.charges, exact.charges, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_uniform_electronegativity_moves_no_charge(dtype):
    # The right-hand side of the linear system is rounding error then.

    @jax.jit
    def solved(positions, hardness):
        def interaction(moments):
            return cluster_energy(moments, positions, sigma=1.0)

        return equilibrate_charges(interaction, jnp.full(12, 3.0, dtype), hardness)

    for seed in range(20):
        rng = np.random.default_rng(seed)
        places, hardness = rng.uniform(0.0, 6.0, (12, 3)), rng.uniform(8.0, 20.0, 12)
        found = solved(jnp.asarray(places, dtype), jnp.asarray(hardness, dtype))
        assert bool(found.report.converged)
        np.testing.assert_allclose(found.charges, 0.0, atol=1e-5)
