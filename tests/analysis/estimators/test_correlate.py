"""Autocorrelation against the double sum, and where it is only noise."""

import numpy as np
import pytest

from jles.analysis.estimators.correlate import (
    autocorrelation,
    lag_of_silence,
    noise_of_correlation,
)
from tests.support.processes import autoregressive


def test_autocorrelation_is_the_double_sum_and_falls_silent_when_noise_is_left(rng):
    short = rng.standard_normal((40, 3))
    direct = [np.mean(np.sum(short[: 40 - k] * short[k:], axis=1)) for k in range(10)]
    np.testing.assert_allclose(autocorrelation(short, 10), direct, atol=1e-12)
    decay, frames = 0.9, 2**15
    found = autocorrelation(autoregressive(rng, frames, 3, decay), 4000)
    exact = 3.0 * decay ** np.arange(4000)
    noise = noise_of_correlation(exact, frames, 3)
    # About two hundred independent lags.
    assert np.std(found[100:]) == pytest.approx(noise, rel=0.25)
    silence = lag_of_silence(found, frames, 3)
    assert exact[silence] < noise
    assert 30 < silence < 260
