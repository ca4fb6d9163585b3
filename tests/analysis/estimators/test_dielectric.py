"""Dielectric constant of Gaussian dipoles: closed form, error bars, running estimate."""

import numpy as np
import pytest

from jles.analysis.estimators.dielectric import (
    fluctuation,
    running_fluctuation,
    susceptibility_unit,
)
from jles.analysis.estimators.units import BOLTZMANN
from jles.units import EPSILON0
from tests.support.processes import autoregressive

UNIT = susceptibility_unit(300.0, 2000.0)
PER_VARIANCE = 1.0 / (EPSILON0 * 2000.0 * BOLTZMANN * 300.0)


def test_gaussian_dipoles_have_the_susceptibility_of_their_variance(rng):
    copies, width = 400, 1.7
    pulls = []
    for _ in range(copies):
        dipole = width * autoregressive(rng, 4096, 3, 0.95) + 40.0
        mean = fluctuation([dipole], UNIT).mean
        pulls.append((float(mean.value) - width**2 * PER_VARIANCE) / float(mean.error))
    # The mean that is taken off costs 39/4096 of the variance, 0.2 error bars; it is put back.
    assert abs(np.mean(pulls)) < 0.1 + 4.0 / np.sqrt(copies)
    # Two thirds with a binomial deviation of 0.024; the errors of 16 blocks are a bit low.
    assert 0.55 < np.mean(np.abs(pulls) < 1.0) < 0.77


def test_each_direction_has_its_own(rng):
    widths = np.array([1.0, 2.0, 3.0])
    dipole = widths * autoregressive(rng, 2**15, 3, 0.5)
    tensor = fluctuation([dipole, dipole + 100.0], UNIT).tensor
    expected = PER_VARIANCE * np.diag(widths**2)
    assert np.all(np.abs(tensor.value - expected) < 5.0 * tensor.error)


def test_the_running_estimate_is_that_of_the_frames_so_far(rng):
    dipole = rng.standard_normal((50, 3)) + 7.0
    found = running_fluctuation(dipole, UNIT)
    for count in (1, 7, 50):
        expected = PER_VARIANCE * np.mean(np.var(dipole[:count], axis=0))
        assert found[count - 1] == pytest.approx(expected, rel=1e-10, abs=1e-12)
