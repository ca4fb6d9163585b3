"""Sums with two periodic directions: planar oracle, limits and symmetries of slabs."""

import itertools
import math
from functools import partial

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf, erfc, erfcx

from jles.electrostatics import (
    KGrid,
    Multipoles,
    SlabPlan,
    SumPlan,
    build_interaction,
    lattice_sum,
    plan_sum,
    self_energy,
)
from jles.electrostatics.sums.slab import slab_correction
from jles.errors import InputError
from jles.units import COULOMB_CONSTANT, EPSILON0, HALF_INVERSE_EPSILON0
from tests.support.coulomb_oracles import central_difference, rotation
from tests.support.paths import data_path

seeds = st.integers(min_value=0, max_value=10**6)
SLAB = (True, True, False)
ATOMS = 5
K_MAX = 7.5
PLAN = SumPlan(KGrid(9, 9, 46), slab=SlabPlan(2, 38.0))
"""Serves every `random_slab` at sigma 1, so that they share a compilation."""
HIGHER = SumPlan(KGrid(9, 9, 56), slab=SlabPlan(2, 46.0))


def random_slab(seed, rank=2, neutral=False):
    """Moments, positions in a slab of 5 angstrom, a cell with vacuum along the third row."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform([5.0, 5.0, 15.0], [6.0, 6.0, 40.0]))
    cell[0, 1], cell[1, 0] = rng.uniform(-1.0, 1.0, 2)
    charges = rng.normal(size=ATOMS)
    if neutral:
        charges -= charges.mean()
    dipoles, quadrupoles = rng.normal(size=(ATOMS, 3)), rng.normal(size=(ATOMS, 3, 3))
    moments = Multipoles(charges, dipoles * (rank > 0), quadrupoles * (rank > 1))
    return moments, rng.uniform([0, 0, 0], [6, 6, 5], (ATOMS, 3)), cell


def only_first(count, moments):
    """The same with the other atoms' moments zero."""
    return Multipoles(*(np.concatenate([a[:count], 0.0 * a[count:]]) for a in moments))


@partial(jax.jit, static_argnames="plan")
def jitted(moments, positions, cell, sigma, plan):
    def energy(r, c):
        return build_interaction(r, c, plan, sigma=sigma, k_max=K_MAX)(moments)

    return jax.value_and_grad(energy, (0, 1))(positions, cell)


def energy_and_gradients(moments, positions, cell, sigma=1.0, plan=PLAN):
    """Energy, and its derivatives in positions and cell."""
    arrays = jax.tree.map(jnp.asarray, (moments, positions, cell))
    return jax.tree.map(np.asarray, jitted(*arrays, sigma, plan))


# The oracle: a sum over plane waves of the plane, whose profile along the normal is known


def planar_energy(charges, positions, cell, sigma=1.0):
    """Charges smeared to pairs of width sigma, each with itself too; the third row is open."""
    first, second = cell[:2]
    normal = np.cross(first, second)
    area = np.linalg.norm(normal)
    flat = np.stack([first, second, normal / area])
    reciprocal = 2.0 * math.pi * np.linalg.inv(flat).T[:2]
    z = (positions[:, None] - positions[None]) @ normal / area
    root = math.sqrt(2.0) * sigma
    total = -2.0 * (
        z * erf(z / root) + sigma * math.sqrt(2 / math.pi) * np.exp(-((z / root) ** 2))
    )
    for index in itertools.product(range(-10, 11), repeat=2):
        wave = index @ reciprocal
        g = np.linalg.norm(wave)
        # A wave and its opposite count alike.
        if index <= (0, 0) or g > 7.0 / sigma:
            continue
        phase = np.cos((positions[:, None] - positions[None]) @ wave)
        total += 2.0 * phase / g * (_half_profile(g, z, sigma) + _half_profile(g, -z, sigma))
    return HALF_INVERSE_EPSILON0 / (4.0 * area) * charges @ total @ charges


def _half_profile(g, z, sigma):
    """exp(g z) erfc(g sigma / sqrt2 + z / (sqrt2 sigma)), without overflow."""
    x = (g * sigma + z / sigma) / math.sqrt(2.0)
    inside = np.exp(-0.5 * (g * sigma) ** 2 - 0.5 * (z / sigma) ** 2) * erfcx(
        np.maximum(x, 0.0)
    )
    return np.where(x > 0.0, inside, np.exp(g * np.minimum(z, 0.0)) * erfc(np.minimum(x, 0.0)))


def as_charges(moments, positions, step=0.05):
    """The moments as charges on a stencil that differentiates to sixth order in the step."""
    slope = {-3: -1 / 60, -2: 3 / 20, -1: -3 / 4, 1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    charges, places = [moments.charges], [positions]
    for a, weight in itertools.product(range(3), slope.items()):
        charges.append(moments.dipoles[:, a] * weight[1] / step)
        places.append(positions + weight[0] * step * np.eye(3)[a])
        for b, other in itertools.product(range(3), slope.items()):
            charges.append(0.5 * moments.quadrupoles[:, a, b] * weight[1] * other[1] / step**2)
            shift = weight[0] * np.eye(3)[a] + other[0] * np.eye(3)[b]
            places.append(positions + step * shift)
    return np.concatenate(charges), np.concatenate(places)


def self_of(moments, sigma=1.0):
    return float(self_energy(jax.tree.map(jnp.asarray, moments), sigma))


@given(seeds)
def test_charges_of_any_sum_have_the_energy_and_the_forces_of_the_planar_sum(seed):
    moments, positions, cell = random_slab(seed, rank=0)
    energy, (gradient, _) = energy_and_gradients(moments, positions, cell)
    expected = planar_energy(moments.charges, positions, cell)
    np.testing.assert_allclose(energy + self_of(moments), expected, rtol=1e-9, atol=1e-9)
    way = np.random.default_rng(seed).normal(size=positions.shape)
    slope = central_difference(
        lambda r: planar_energy(moments.charges, r, cell), positions, way, step=3e-3
    )
    np.testing.assert_allclose(np.sum(gradient * way), slope, rtol=1e-7, atol=1e-7)


def test_dipoles_and_quadrupoles_have_the_energy_of_constellations_of_charges():
    moments, positions, cell = random_slab(11)
    moments = only_first(2, moments)
    energy, _ = energy_and_gradients(moments, positions, cell)
    two = Multipoles(*(array[:2] for array in moments))
    expected = planar_energy(*as_charges(two, positions[:2]), cell)
    np.testing.assert_allclose(energy + self_of(moments), expected, rtol=1e-7)


@given(seeds)
def test_the_stress_in_the_plane_is_that_of_the_planar_sum(seed):
    moments, positions, cell = random_slab(seed, rank=0)
    _, (slope, cell_slope) = energy_and_gradients(moments, positions, cell)
    virial = positions.T @ slope + cell.T @ cell_slope
    strain = np.random.default_rng(seed).normal(size=(3, 3))
    strain[2] = strain[:, 2] = 0.0

    def strained(size):
        deform = np.eye(3) + size * strain
        return planar_energy(moments.charges, positions @ deform, cell @ deform)

    found = central_difference(strained, 0.0, 1.0, step=1e-3)
    np.testing.assert_allclose(np.sum(virial * strain), found, rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(cell_slope[2], 0.0)


# The vacuum is not there


@given(seeds)
def test_the_height_of_the_plan_changes_nothing(seed):
    for rank in (0, 2):
        system = random_slab(seed, rank=rank)
        low, high = (energy_and_gradients(*system, plan=plan) for plan in (PLAN, HIGHER))
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-7), low, high)


def test_the_third_vector_changes_nothing():
    moments, positions, cell = random_slab(1)
    reference = lattice_sum(moments, positions, cell, pbc=SLAB, k_max=K_MAX)
    expected, _ = energy_and_gradients(moments, positions, cell)
    np.testing.assert_allclose(reference.energy, expected, atol=1e-7)
    for third in ([0, 0, 400], [0, 0, 2], [0, 0, 0], [9, -4, 15], [0, 0, -30], cell[0]):
        cell[2] = third
        out = lattice_sum(moments, positions, cell, pbc=SLAB, k_max=K_MAX)
        np.testing.assert_allclose(out.energy, reference.energy, rtol=1e-12)
        np.testing.assert_allclose(out.field, reference.field, atol=1e-10)


@pytest.mark.parametrize("rows", [(2, 0, 1), (1, 2, 0), (1, 0, 2), (0, 2, 1)])
def test_any_row_may_be_the_open_one_in_either_handedness(rows):
    moments, positions, cell = random_slab(1)
    expected, (slope, _) = energy_and_gradients(moments, positions, cell)
    plan = plan_sum(cell[list(rows)], positions, np.array(SLAB)[list(rows)], k_max=K_MAX)
    # The reference's numbers of waves, so that the axis alone makes a new compilation.
    plan = SumPlan(
        KGrid(*(PLAN.grid[row] for row in rows)),
        slab=SlabPlan(plan.slab.axis, PLAN.slab.height),
    )
    found, (found_slope, _) = energy_and_gradients(
        moments, positions, cell[list(rows)], plan=plan
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(found_slope, slope, atol=1e-9)


# Symmetries


@given(seeds)
def test_rigid_motions_and_images_change_nothing(seed):
    moments, positions, cell = random_slab(seed)
    energy, (slope, _) = energy_and_gradients(moments, positions, cell)
    rng = np.random.default_rng(seed)
    turn = rotation(seed)
    turned = Multipoles(
        moments.charges, moments.dipoles @ turn.T, turn @ moments.quadrupoles @ turn.T
    )
    images = rng.integers(-5, 5, (ATOMS, 3)) * [1, 1, 0]
    for image, expected in (
        ((moments, positions + [0.0, 0.0, 400.0], cell), slope),
        ((moments, positions + rng.normal(size=3), cell), slope),
        ((moments, positions + images @ cell, cell), slope),
        ((turned, positions @ turn.T, cell @ turn.T), slope @ turn.T),
    ):
        found, (found_slope, _) = energy_and_gradients(*image)
        np.testing.assert_allclose(found, energy, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found_slope, expected, atol=1e-7)


def test_padding_changes_nothing():
    moments, positions, cell = random_slab(4)
    empty = only_first(3, moments)
    moved = positions + np.array([0, 0, 0, 7.0, -300.0])[:, None]
    energy, (slope, _) = energy_and_gradients(empty, positions, cell)
    found, (found_slope, _) = energy_and_gradients(empty, moved, cell)
    np.testing.assert_allclose(found, energy, rtol=1e-9)
    np.testing.assert_allclose(found_slope[:3], slope[:3], atol=1e-8)
    np.testing.assert_allclose(found_slope[3:], 0.0, atol=1e-12)


# Sheets: textbook energies


def sheets(heights, charges, dipoles, edge=1.05):
    """One atom per cell in each sheet: the smearing leaves nothing of the corrugation."""
    positions, moments = np.zeros((ATOMS, 3)), Multipoles(np.zeros(ATOMS), np.zeros((ATOMS, 3)))
    positions[: len(heights), 2] = heights
    moments.charges[: len(heights)] = charges
    moments.dipoles[: len(heights), 2] = dipoles
    moments = moments._replace(quadrupoles=np.zeros((ATOMS, 3, 3)))
    return moments, positions, np.diag([edge, edge, 0.0])


@pytest.mark.parametrize("distance", [5.0, 9.0, 20.0])
def test_two_charged_sheets_are_a_capacitor(distance):
    moments, positions, cell = sheets([0.0, distance], [0.3, -0.3], 0.0)
    energy, (slope, _) = energy_and_gradients(moments, positions, cell)
    area, density = 1.05**2, 0.3 / 1.05**2
    # Each sheet is as thick as its smearing, where the field is not yet full.
    width = distance - math.sqrt(2.0 / math.pi)
    expected = density**2 * width * area / (2.0 * EPSILON0)
    np.testing.assert_allclose(energy + self_of(moments), expected, rtol=1e-6)
    force = density**2 * area / (2.0 * EPSILON0)
    np.testing.assert_allclose(slope[:2, 2], [-force, force], rtol=1e-6)


def test_a_charged_sheet_repels_another_by_the_bare_field_of_a_plane():
    moments, positions, cell = sheets([0.0, 8.0], [0.2, 0.3], 0.0)
    _, (slope, _) = energy_and_gradients(moments, positions, cell)
    force = 0.2 * 0.3 / (2.0 * EPSILON0 * 1.05**2)
    np.testing.assert_allclose(slope[:2, 2], [force, -force], rtol=1e-6)


def test_a_sheet_of_dipoles_has_the_energy_of_its_inner_field():
    moments, positions, cell = sheets([1.0], 0.0, 0.4)
    energy, _ = energy_and_gradients(moments, positions, cell)
    # Polarization 0.4 / area, spread with half the variance of a pair: integral P^2 / 2 eps0.
    expected = 0.4**2 / (2.0 * EPSILON0 * 1.05**2) / math.sqrt(2.0 * math.pi)
    np.testing.assert_allclose(energy + self_of(moments), expected, rtol=1e-5)


def test_the_potential_steps_by_the_dipole_of_the_slab():
    moments, positions, cell = random_slab(3, neutral=True)
    moments = only_first(3, moments)
    moments.charges[:3] -= moments.charges[:3].mean()
    positions[3:, 2] = -9.0, 14.0
    out = lattice_sum(moments, positions, cell, pbc=SLAB, k_max=K_MAX)
    dipole = moments.charges @ positions[:, 2] + moments.dipoles[:, 2].sum()
    area = np.linalg.norm(np.cross(cell[0], cell[1]))
    assert abs(dipole) > 0.5
    step = out.potential[4] - out.potential[3]
    np.testing.assert_allclose(step, dipole / (EPSILON0 * area), rtol=1e-3)
    np.testing.assert_allclose(out.field[3:, 2], 0.0, atol=2e-3)


# Point charges


def planar_complement(charges, positions, cell, sigma):
    """k_e q q erfc(r / (sqrt2 sigma)) / r over the images in the plane."""
    total = 0.0
    for index in itertools.product(range(-3, 4), range(-3, 4), [0]):
        apart = positions[:, None] - positions[None] + np.array(index) @ cell
        distance = np.linalg.norm(apart, axis=-1)
        distance[distance < 1e-9] = np.inf
        pairs = erfc(distance / (math.sqrt(2.0) * sigma)) / distance
        total += 0.5 * COULOMB_CONSTANT * charges @ pairs @ charges
    return total


@pytest.mark.parametrize("index", [3, 4, 5])
def test_point_charge_energies_and_forces_of_the_slab_test_frames(index):
    atoms = ase.io.read(data_path("coulomb-reference/coulomb_test_frames.xyz"), index)
    charges, positions, cell = atoms.get_initial_charges(), atoms.positions, atoms.cell.array
    sigma = 1.1
    out = lattice_sum(
        Multipoles(charges), positions, cell, pbc=atoms.pbc, sigma=sigma, k_max=6.0
    )
    energy = out.energy + planar_complement(charges, positions, cell, sigma)
    # The file was made with CODATA's Coulomb constant.
    scale = COULOMB_CONSTANT / 14.399645478425668
    np.testing.assert_allclose(energy, scale * atoms.get_potential_energy(), rtol=5e-7)
    way = np.random.default_rng(index).normal(size=positions.shape)
    slope = central_difference(
        lambda r: planar_complement(charges, r, cell, sigma), positions, way, step=1e-3
    )
    power = np.sum(charges[:, None] * out.field * way) - slope
    np.testing.assert_allclose(power, np.sum(atoms.get_forces() * way), rtol=1e-5)


# Ways to compute it


def test_the_particle_mesh_gives_the_same_slab():
    moments, positions, cell = random_slab(1)
    out = lattice_sum(
        moments, positions, cell, pbc=SLAB, k_max=K_MAX, method="pme", accuracy=1e-7
    )
    expected, _ = energy_and_gradients(moments, positions, cell)
    np.testing.assert_allclose(out.energy, expected, rtol=1e-6)


def test_float32_is_as_good_as_its_digits():
    system = random_slab(1)
    expected, (slope, _) = energy_and_gradients(*system)
    single = jax.tree.map(lambda array: array.astype(np.float32), system)
    energy, (found, _) = energy_and_gradients(*single)
    assert energy.dtype == np.float32
    np.testing.assert_allclose(energy, expected, rtol=2e-5)
    np.testing.assert_allclose(found, slope, atol=2e-5 * np.abs(slope).max())


def test_padding_far_from_a_slab_costs_no_digits():
    moments, positions, cell = jax.tree.map(jnp.asarray, random_slab(1))
    expected = slab_correction(moments, positions, cell, 2, 1.0)
    padded = jax.tree.map(
        lambda array: jnp.concatenate([array, jnp.zeros_like(array)]),
        (moments, positions + jnp.array([0.0, 0.0, 500.0])),
    )
    moments, positions, cell = jax.tree.map(
        lambda array: array.astype(jnp.float32), (*padded, cell)
    )
    mask = jnp.arange(2 * ATOMS) < ATOMS
    found = slab_correction(moments, positions, cell, 2, 1.0, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_channels_of_a_charged_slab_add_up():
    moments, positions, cell = random_slab(6, rank=0)
    columns = np.stack([moments.charges, 0.5 * moments.charges[::-1]], axis=1)
    out = lattice_sum(Multipoles(columns), positions, cell, pbc=SLAB, k_max=4.0)
    ones = [
        lattice_sum(Multipoles(column), positions, cell, pbc=SLAB, k_max=4.0).energy
        for column in columns.T
    ]
    np.testing.assert_allclose(out.energy, sum(ones), rtol=1e-10)


def test_a_wire_and_a_slab_without_area_are_refused():
    moments, positions, cell = random_slab(1)
    for pbc in ((True, False, False), (False, False, True)):
        with pytest.raises(InputError, match="one direction only"):
            lattice_sum(moments, positions, cell, pbc=pbc)
    cell[1] = 2.0 * cell[0]
    with pytest.raises(InputError, match="span no area"):
        lattice_sum(moments, positions, cell, pbc=SLAB)
