"""The reciprocal sum against oracles, exact limits and symmetries."""

import json
import math

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
    plan_kgrid,
)
from jles.units import COULOMB_CONSTANT
from tests.support.coulomb_oracles import (
    converged,
    dense_ewald,
    energy,
    plan_kgrid_coarse,
    random_crystal,
    rotation,
    short_range_complement,
)
from tests.support.paths import data_path

seeds = st.integers(min_value=0, max_value=10**6)
# Rock salt, nearest-neighbour distance 1: Crandall & Buhler, J. Phys. A 20, 5497 (1987);
# OEIS A085469.
MADELUNG_NACL = 1.74756459463318219063621203554439740348516


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
    counts = plan_kgrid_coarse(cell, k_max)
    axes = np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij")
    index = np.stack(axes, -1).reshape(-1, 3)
    kvecs = jnp.asarray(index @ (2.0 * math.pi * np.linalg.inv(cell).T))
    solver = solvers.ewald(potentials.potential(exponent=1))
    # It takes every vector it is given: those beyond the sphere weigh 1e-9 and less.
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
