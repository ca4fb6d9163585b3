"""Raman invariants, intensities and the Stokes factor against closed forms."""

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from jles.analysis.estimators.raman import depolarization, invariants, polarized, stokes_factor
from jles.analysis.estimators.spectra import Segments, average
from jles.analysis.estimators.units import BOLTZMANN, PLANCK, WAVENUMBER


def intensities(tensor):
    """VV and VH intensities of one constant tensor by the formulas under test."""
    power = invariants(tensor[None])[:, :, None] ** 2
    found = polarized(Segments(np.zeros(1), power, 1))
    return found["VV"].item(), found["VH"].item()


def test_invariants_are_averages_over_orientations(rng):
    tensor = rng.standard_normal((3, 3))
    tensor = tensor + tensor.T
    turns = special_ortho_group.rvs(3, size=40000, random_state=rng)
    turned = np.einsum("nai,ij,nbj->nab", turns, tensor, turns)
    found = intensities(tensor)
    for value, samples in zip(found, (turned[:, 2, 2] ** 2, turned[:, 0, 2] ** 2), strict=True):
        error = np.std(samples) / np.sqrt(len(samples))
        assert value == pytest.approx(np.mean(samples), abs=4.0 * error)
    # The 45-convention with a^2 and gamma^2 as optics has them.
    a, b, c = np.linalg.eigvalsh(tensor)
    mean_square = ((a + b + c) / 3.0) ** 2
    gamma_square = 0.5 * ((a - b) ** 2 + (b - c) ** 2 + (c - a) ** 2)
    expected = ((45.0 * mean_square + 4.0 * gamma_square) / 45.0, 3.0 * gamma_square / 45.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_stokes_factor_makes_a_classical_oscillator_a_quantum_one():
    wavenumber, temperature, laser = np.array([0.0, 200.0, 1000.0, 3000.0]), 300.0, 532.0
    factor = stokes_factor(wavenumber, temperature, laser)
    assert np.isnan(factor[0])
    angular = 2.0 * np.pi * wavenumber[1:] / WAVENUMBER
    energy = PLANCK * wavenumber[1:] / WAVENUMBER
    # <v^2> is kT/m; the squared amplitude of 0 -> 1 with thermal weights, hbar/(2 m w) (n + 1).
    planck = PLANCK / (2.0 * np.pi)
    occupation = 1.0 / np.expm1(energy / (BOLTZMANN * temperature))
    expected = planck / (2.0 * angular) * (occupation + 1.0) / (BOLTZMANN * temperature)
    scattered = (1e7 / laser - wavenumber[1:]) / (1e7 / laser)
    np.testing.assert_allclose(factor[1:], expected * scattered**4, rtol=1e-10)


def test_no_ratio_where_there_is_no_intensity():
    segments = Segments(np.arange(3.0), np.ones((2, 1, 3)), 4)
    spectra = {
        "VV": average(segments, np.array([[1.0, 0.5, 0.0]] * 2)),
        "VH": average(segments, np.array([[0.5, 0.1, 0.0]] * 2)),
    }
    np.testing.assert_allclose(depolarization(spectra), [0.5, 0.2, np.nan])
