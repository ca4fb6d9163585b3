"""Laws of the reciprocal sum: oracles, limits, symmetries, derivatives, precision."""

import json
import math
from functools import partial

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics import (
    KGrid,
    background_energy,
    cluster_energy,
    ewald_energy,
    kgrid_overflow,
    merge_kgrids,
    plan_kgrid,
    self_energy,
)
from jles.units import COULOMB_CONSTANT
from tests.coulomb_oracles import (
    central_difference,
    dense_ewald,
    random_crystal,
    rotation,
    short_range_complement,
)
from tests.paths import data_path, golden_path

seeds = st.integers(min_value=0, max_value=10**6)
# Rock salt, nearest-neighbour distance 1: Crandall & Buhler, J. Phys. A 20, 5497 (1987);
# OEIS A085469.
MADELUNG_NACL = 1.74756459463318219063621203554439740348516


jitted_energy = jax.jit(ewald_energy, static_argnames=("grid", "cutoff", "remove_self", "chunk"))


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


def stress_of(energy_fn, positions, cell):
    """(1/V) dE/d strain of an energy of positions and cell."""

    def strained(strain):
        deform = jnp.eye(3) + strain
        return energy_fn(positions @ deform, cell @ deform)

    return jax.grad(strained)(jnp.zeros((3, 3))) / abs(np.linalg.det(cell))


# Oracles and exact limits


@given(seeds, st.sampled_from([1, -1]), st.sampled_from(["sharp", "smooth"]))
def test_the_sum_is_the_definition_in_any_triclinic_cell(seed, handedness, cutoff):
    charges, positions, cell = random_crystal(
        seed, atoms=4, edge=5.0, neutral=False, handedness=handedness
    )
    expected = dense_ewald(charges, positions, cell, 0.9, 3.0, cutoff)
    found = energy(charges, positions, cell, 0.9, 3.0, cutoff=cutoff)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.12, 0.17, 0.25])
def test_rock_salt_has_its_madelung_constant_for_every_smearing(sigma):
    cell = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    charges, positions = np.array([1.0, -1.0]), np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    total = converged(charges, positions, cell, sigma)
    total += short_range_complement(charges, positions, cell, sigma)
    np.testing.assert_allclose(total, -MADELUNG_NACL * COULOMB_CONSTANT, rtol=1e-12)


@pytest.mark.parametrize("name", ["NaCl", "CsCl", "ZnS", "CaF2"])
@pytest.mark.parametrize("sigma", [0.08, 0.13])
def test_tabulated_crystals_have_their_madelung_constants(name, sigma):
    path = data_path("coulomb-reference/madelung.json")
    crystal = json.loads(path.read_text())[name]
    cell, charges = np.array(crystal["cell"]), np.array(crystal["q"], float)
    positions = np.array(crystal["frac"]) @ cell
    total = converged(charges, positions, cell, sigma)
    total += short_range_complement(charges, positions, cell, sigma)
    unit = np.abs(charges).min() ** 2
    expected = -crystal["M"] * COULOMB_CONSTANT * unit / crystal["d"]
    np.testing.assert_allclose(total, expected, rtol=1e-10)


def _golden_cases():
    cases = json.loads(golden_path("electrostatics.json").read_text())["cases"]
    allowed = {
        "name",
        "cell",
        "sigma",
        "dl",
        "self_removed",
        "positions",
        "charges",
        "expected",
    }
    return [case for case in cases if set(case) <= allowed and case["cell"] is not None]


@partial(jax.jit, static_argnames=("grid", "remove_self"))
def energy_forces_stress(charges, positions, cell, **options):
    def strained(strain, r):
        deform = jnp.eye(3) + strain
        return ewald_energy(charges, r @ deform, cell @ deform, **options)

    value, (virial, slope) = jax.value_and_grad(strained, (0, 1))(jnp.zeros((3, 3)), positions)
    return value, -slope, virial / jnp.abs(jnp.linalg.det(cell))


def test_golden_charges_energy_forces_and_stress():
    cases = _golden_cases()
    assert len(cases) >= 8
    for case in cases:
        cell, k_max = np.array(case["cell"], float), 2.0 * math.pi / case["dl"]
        found = energy_forces_stress(
            jnp.array(case["charges"]),
            jnp.array(case["positions"]),
            jnp.array(cell),
            sigma=case["sigma"],
            k_max=k_max,
            grid=plan_kgrid_coarse(cell, k_max),
            remove_self=case["self_removed"],
        )
        for quantity, value in zip(("energy", "forces", "stress"), found, strict=True):
            expected = np.array(case["expected"][quantity])
            atol = 1e-9 * np.abs(expected).max()
            name = f"{quantity} of {case['name']}"
            np.testing.assert_allclose(value, expected, rtol=1e-8, atol=atol, err_msg=name)


# The files were made with CODATA's Coulomb constant; this page's is 4e-7 smaller.
CODATA_COULOMB_CONSTANT = 14.399645478425668


def test_point_charge_ewald_energies_of_triclinic_cells():
    frames = ase.io.read(data_path("coulomb-reference/ewald_triclinic.xyz"), ":4")
    for atoms in frames:
        charges, positions = atoms.arrays["charge_ref"], atoms.positions
        cell, sigma = atoms.cell.array, 0.7
        total = converged(charges, positions, cell, sigma)
        total += short_range_complement(charges, positions, cell, sigma)
        total -= background_energy(charges.sum(), atoms.get_volume(), sigma)
        expected = atoms.get_potential_energy() * COULOMB_CONSTANT / CODATA_COULOMB_CONSTANT
        # Positions have eight decimals in the file.
        np.testing.assert_allclose(total, expected, rtol=1e-7)


def test_point_charge_ewald_energies_of_the_bulk_test_frames():
    frames = ase.io.read(data_path("coulomb-reference/coulomb_test_frames.xyz"), ":3")
    for atoms in frames:
        charges, positions = atoms.get_initial_charges(), atoms.positions
        cell, sigma = atoms.cell.array, 0.7
        total = converged(charges, positions, cell, sigma)
        total += short_range_complement(charges, positions, cell, sigma)
        np.testing.assert_allclose(total, atoms.get_potential_energy(), rtol=3e-5)


@given(seeds)
def test_the_reciprocal_sum_of_jax_pme_is_the_same(seed):
    solvers = pytest.importorskip("jaxpme.solvers")
    potentials = pytest.importorskip("jaxpme.potentials")
    charges, positions, cell = random_crystal(seed, atoms=5, edge=5.0, neutral=True)
    sigma, k_max = 0.9, 7.0
    index = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in plan_kgrid(cell, k_max)), indexing="ij"), -1
    ).reshape(-1, 3)
    kvecs = jnp.asarray(index @ (2.0 * math.pi * np.linalg.inv(cell).T))
    solver = solvers.ewald(potentials.potential(exponent=1))
    volume = abs(np.linalg.det(cell))
    potential = solver.kspace(
        sigma, jnp.asarray(charges), kvecs, jnp.asarray(positions), volume, cell, None
    )
    expected = COULOMB_CONSTANT * jnp.sum(charges * potential)
    found = energy(charges, positions, cell, sigma, k_max)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_large_cell_of_neutral_atoms_approaches_the_cluster():
    charges = np.array([1.0, -2.0, 1.0])
    positions = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    cluster = cluster_energy(jnp.array(charges), jnp.array(positions), sigma=1.0)
    errors = [
        abs(energy(charges, positions, np.eye(3) * edge, 1.0, 6.0) - cluster)
        for edge in (10.0, 20.0)
    ]
    # Two quadrupoles interact as L^-5: twice the edge, 1/32 of the error.
    assert errors[1] < errors[0] / 20.0
    assert errors[1] < 1e-3


@given(seeds)
def test_a_charged_cell_differs_from_point_charges_by_its_background(seed):
    charges, positions, cell = random_crystal(seed, atoms=5, edge=5.0, neutral=False)
    volume = abs(np.linalg.det(cell))

    def point_energy(sigma):
        total = converged(charges, positions, cell, sigma)
        total += short_range_complement(charges, positions, cell, sigma)
        return total - background_energy(charges.sum(), volume, sigma)

    np.testing.assert_allclose(point_energy(0.6), point_energy(0.9), rtol=1e-9)


def test_a_single_charge_in_a_cubic_lattice_has_its_known_energy():
    # -2.837297479 / 2: Hasimoto's constant; Nijboer & Ruijgrok, J. Stat. Phys. 53, 361 (1988).
    cell, sigma = np.eye(3) * 2.0, 0.2
    charges, positions = np.array([1.5]), np.array([[0.3, 0.2, 0.1]])
    total = converged(charges, positions, cell, sigma)
    total -= background_energy(charges.sum(), 8.0, sigma)
    expected = -0.5 * 2.837297479480620 * COULOMB_CONSTANT * 1.5**2 / 2.0
    np.testing.assert_allclose(total, expected, rtol=1e-9)


# Symmetries


@given(seeds, st.sampled_from(["sharp", "smooth"]))
def test_rigid_motions_permutations_and_reflections_change_nothing(seed, cutoff):
    charges, positions, cell = random_crystal(seed, atoms=6, neutral=False)
    turn = rotation(seed)
    order = np.random.default_rng(seed).permutation(6)
    reference = energy(charges, positions, cell, cutoff=cutoff)
    images = {
        "translation": (charges, positions + np.array([0.3, -5.0, 2.2]), cell),
        "rotation": (charges, positions @ turn.T, cell @ turn.T),
        "permutation": (charges[order], positions[order], cell),
        "reflection": (charges, positions * [-1, 1, 1], cell * [-1, 1, 1]),
        "charge conjugation": (-charges, positions, cell),
        "other rows": (charges, positions, cell[[2, 0, 1]]),
        "negated row": (charges, positions, cell * np.array([[-1], [1], [1]])),
        "another basis": (charges, positions, cell + np.outer([0, 1, 0], cell[0])),
    }
    for name, image in images.items():
        np.testing.assert_allclose(
            energy(*image, cutoff=cutoff), reference, rtol=1e-11, atol=1e-11, err_msg=name
        )


@given(seeds)
def test_wrapping_atoms_changes_nothing(seed):
    charges, positions, cell = random_crystal(seed)
    images = np.random.default_rng(seed).integers(-50, 50, size=(8, 3))
    np.testing.assert_allclose(
        energy(charges, positions + images @ cell, cell),
        energy(charges, positions, cell),
        rtol=1e-10,
        atol=1e-11,
    )


@given(seeds)
def test_energy_is_extensive_in_supercells(seed):
    charges, positions, cell = random_crystal(seed, atoms=3, edge=5.0, neutral=False)
    repeats = (2, 1, 2)
    shifts = np.array([[i, 0, k] for i in range(2) for k in range(2)]) @ cell
    many = (positions[None] + shifts[:, None]).reshape(-1, 3)
    found = energy(np.tile(charges, 4), many, cell * np.array(repeats)[:, None])
    np.testing.assert_allclose(found, 4.0 * energy(charges, positions, cell), rtol=1e-11)


@pytest.mark.parametrize("chunk", [None, 1, 3, 8])
def test_chunks_and_padding_change_nothing(chunk):
    charges, positions, cell = random_crystal(3)
    padded_charges = np.concatenate([charges, np.zeros(5)])
    padded_positions = np.concatenate([positions, np.full((5, 3), 1e3)])
    found = energy(padded_charges, padded_positions, cell, chunk=chunk)
    np.testing.assert_allclose(found, energy(charges, positions, cell), rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda r: energy(padded_charges, r, cell, chunk=chunk)))(
        padded_positions
    )
    plain = jax.jit(jax.grad(lambda r: energy(charges, r, cell)))(positions)
    np.testing.assert_allclose(gradient[:8], plain, atol=1e-12)
    np.testing.assert_array_equal(gradient[8:], 0.0)


def test_a_larger_plan_changes_nothing():
    charges, positions, cell = random_crystal(5)
    grid = plan_kgrid(cell, math.pi)
    larger = KGrid(grid.n_a + 2, grid.n_b, grid.n_c + 5)
    np.testing.assert_allclose(
        energy(charges, positions, cell, grid=larger),
        energy(charges, positions, cell, grid=grid),
        rtol=1e-12,
    )


def test_energies_of_channels_add_up():
    charges, positions, cell = random_crystal(7, neutral=False)
    columns = np.stack([charges, charges[::-1], 0.3 * charges], axis=1)
    total = sum(energy(column, positions, cell, chunk=3) for column in columns.T)
    np.testing.assert_allclose(energy(columns, positions, cell, chunk=3), total, rtol=1e-12)


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
