"""Averages over planes: capacitors by hand, and the same potential as the lattice sum."""

import numpy as np
import pytest

from jles.analysis.estimators.planar import planar_density, planar_potential, planes_of
from jles.electrostatics import Multipoles, lattice_sum
from jles.units import EPSILON0

TILTED = np.array([[6.0, 0.0, 0.0], [1.0, 5.5, 0.0], [1.5, -1.0, 9.0]])


def test_a_capacitor_has_its_voltage():
    area, charge, gap = 50.0, 0.3, 30.0
    sheets, at = np.array([0.0, gap]), np.array([-20.0, -10.0, 15.0, 40.0, 50.0])
    found = planar_potential(at, sheets, np.array([charge, -charge]), area)
    between = charge / (EPSILON0 * area)
    np.testing.assert_allclose(found.field, [0.0, 0.0, between, 0.0, 0.0], atol=1e-14)
    assert found.potential[0] - found.potential[-1] == pytest.approx(between * gap)
    np.testing.assert_allclose(found.potential.mean(), 0.0, atol=1e-12)


def test_periodic_images_share_the_voltage():
    area, charge, gap, period = 50.0, 0.3, 30.0, 80.0
    found = planar_potential(
        np.array([15.0, 55.0]), np.array([0.0, gap]), np.array([charge, -charge]), area, period
    )
    # The field of one capacitor, less its mean over the period.
    between = charge / (EPSILON0 * area)
    expected = between * np.array([1.0 - gap / period, -gap / period])
    np.testing.assert_allclose(found.field, expected, rtol=1e-9)


def test_sheets_of_dipoles_make_a_step():
    area, dipole = 40.0, 0.25
    found = planar_potential(
        np.array([-15.0, 15.0]), np.zeros(1), np.zeros(1), area, dipoles=np.array([dipole])
    )
    assert np.diff(found.potential)[0] == pytest.approx(dipole / (EPSILON0 * area))


@pytest.mark.parametrize("period", [None, 12.0])
def test_the_field_is_the_slope_and_the_mean_is_zero(rng, period):
    heights = rng.uniform(0.0, 10.0, 7)
    charges, dipoles, quadrupoles = rng.standard_normal((3, 7))
    charges -= charges.mean()
    at, step = np.linspace(-3.0, 9.0, 240, endpoint=False), 1e-4
    low, here, high = (
        planar_potential(
            at + shift, heights, charges, 30.0, period, dipoles=dipoles, quadrupoles=quadrupoles
        )
        for shift in (-step, 0.0, step)
    )
    slope = (high.potential - low.potential) / (2.0 * step)
    np.testing.assert_allclose(here.field, -slope, atol=1e-5 * np.abs(slope).max())
    if period is not None:
        np.testing.assert_allclose([here.potential.mean(), here.field.mean()], 0.0, atol=1e-10)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_it_is_the_potential_of_the_lattice_sum_averaged_over_a_plane(rng, pbc):
    k_max = 6.0
    planes = planes_of(TILTED)
    sources = rng.uniform(0.0, 1.0, (6, 3)) @ TILTED
    charges, dipoles = rng.standard_normal(6), rng.standard_normal((6, 3))
    charges -= charges.mean()
    quadrupoles = rng.standard_normal((6, 3, 3))
    quadrupoles += np.swapaxes(quadrupoles, 1, 2)
    quadrupoles -= np.eye(3) * np.trace(quadrupoles, axis1=1, axis2=2)[:, None, None] / 3.0
    # Atoms without moments feel the potential: more of them than waves along the plane.
    grid = np.stack(np.meshgrid(*[np.arange(16) / 16] * 2), -1).reshape(-1, 2) @ TILTED[:2]
    at = np.array([-2.0, 1.3, 5.0])
    probes = [grid + height * planes.normal for height in at]
    everything = np.concatenate([sources, *probes])

    def padded(moments):
        return np.concatenate([moments, np.zeros((len(everything) - 6, *moments.shape[1:]))])

    found = lattice_sum(
        Multipoles(padded(charges), padded(dipoles), padded(quadrupoles)),
        everything.astype(np.float32),
        TILTED,
        pbc=pbc,
        k_max=k_max,
    )
    potential = np.asarray(found.potential)[6:].reshape(3, -1).mean(axis=1)
    field = (np.asarray(found.field)[6:] @ planes.normal).reshape(3, -1).mean(axis=1)
    ours = planar_potential(
        at,
        sources @ planes.normal,
        charges,
        planes.area,
        planes.period if pbc[2] else None,
        dipoles=dipoles @ planes.normal,
        quadrupoles=quadrupoles @ planes.normal @ planes.normal,
        k_max=k_max,
    )
    largest = np.abs(ours.potential).max()
    np.testing.assert_allclose(potential, ours.potential, atol=1e-4 * largest)
    np.testing.assert_allclose(field, ours.field, atol=1e-4 * np.abs(ours.field).max())


@pytest.mark.parametrize("handed", [1.0, -1.0])
def test_layers_hold_all_atoms(rng, handed):
    cell = TILTED * np.array([1.0, 1.0, handed])[:, None]
    planes = planes_of(cell)
    assert planes.area * planes.period == pytest.approx(abs(np.linalg.det(cell)))
    assert planes.normal @ cell[2] > 0.0
    edges = np.linspace(0.0, planes.period, 11)
    heights, weights = rng.uniform(-50.0, 50.0, 400), rng.standard_normal(400)
    volumes = planes.area * np.diff(edges)
    number = planar_density(heights, edges, planes.area, period=planes.period)
    assert np.sum(number * volumes) == pytest.approx(400.0)
    weighted = planar_density(heights, edges, planes.area, weights, planes.period)
    assert np.sum(weighted * volumes) == pytest.approx(weights.sum())
