"""Spectra of white noise and thermal oscillators: Parseval, line shapes, error bars."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.analysis.estimators.spectra import (
    Spectrum,
    average,
    derivative_periodograms,
    integral,
    periodograms,
    segment_length,
)
from jles.analysis.estimators.units import (
    WAVENUMBER,
)
from jles.errors import InputError
from tests.support.processes import oscillator, velocity_spectrum


def spectrum_of(series, interval, length):
    segments = periodograms(series, interval, length)
    return average(segments, segments.power.sum(axis=1))


@given(length=st.integers(8, 90), interval=st.floats(0.1, 20.0), seed=st.integers(0, 99))
def test_the_integral_is_the_windowed_mean_square(length, interval, seed):
    series = np.random.default_rng(seed).standard_normal((length, 2))
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)
    expected = np.sum((window[:, None] * series) ** 2) / np.sum(window**2)
    assert integral(spectrum_of(series, interval, length)) == pytest.approx(expected, rel=1e-10)


def test_white_noise_is_flat_with_error_bars_that_cover(rng):
    interval, length = 2.0, 128
    spectrum = spectrum_of(rng.standard_normal((2**16, 1)), interval, length)
    # One-sided up to the Nyquist wavenumber, integral one.
    level = 2.0 * interval / WAVENUMBER
    inner = slice(4, -4)
    pulls = ((spectrum.mean - level) / spectrum.error)[inner][::4]
    assert abs(np.mean(pulls)) < 4.0 / np.sqrt(len(pulls))
    assert np.mean(pulls**2) == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / len(pulls)))
    # Where there is no mirror image the density is the same, not half.
    assert spectrum.mean[0] == pytest.approx(level, abs=5.0 * spectrum.error[0])


def test_a_thermal_oscillator_has_its_line_width_and_equipartition(rng):
    frequency, damping, variance, interval = 0.15, 0.012, 2e-3, 2.0
    _, velocity = oscillator(rng, 2**16, 12, interval, frequency, damping, variance)
    length = segment_length(6.0, interval, len(velocity))
    spectrum = spectrum_of(velocity, interval, length).scaled(1.0 / velocity.shape[1])
    # Energies are correlated over 1/damping.
    spread = np.sqrt(2.0 / (damping * interval * velocity.size))
    assert integral(spectrum) == pytest.approx(variance, rel=4.0 * spread)
    angular = 2.0 * np.pi * spectrum.wavenumber / WAVENUMBER
    exact = 2.0 * velocity_spectrum(angular, frequency, damping, variance) / WAVENUMBER
    line = np.abs(angular - frequency) < 2.0 * damping
    pulls = ((spectrum.mean - exact) / spectrum.error)[line]
    # 124 points of which every fourth is new, errors from 31 segments: 1.07 with spread 0.27.
    assert 0.3 < np.mean(pulls**2) < 2.2
    centre = np.sum(angular[line] * spectrum.mean[line]) / np.sum(spectrum.mean[line])
    expected = np.sum(angular[line] * exact[line]) / np.sum(exact[line])
    assert centre == pytest.approx(expected, rel=5e-3)
    # Half the maximum is reached a damping apart: what lies in between measures the width. Ten
    # independent points, 31 segments and 12 channels make it certain to 1.6 per cent.
    core = np.abs(angular - frequency) < 0.5 * damping
    share = np.sum(spectrum.mean[core]) / np.sum(spectrum.mean[line])
    assert share == pytest.approx(np.sum(exact[core]) / np.sum(exact[line]), rel=0.065)


def test_differences_give_the_spectrum_of_the_derivative(rng):
    frequency, damping, interval, length = 0.35, 0.02, 4.0, 1024
    position, velocity = oscillator(rng, 2**15, 8, interval, frequency, damping, 1.0)
    from_positions = derivative_periodograms(position, interval, length).power.mean(axis=(0, 1))
    direct = periodograms(velocity, interval, length).power.mean(axis=(0, 1))
    angular = 2.0 * np.pi * np.arange(len(direct)) / (2.0 * length * interval)
    line = np.abs(angular - frequency) < damping
    np.testing.assert_allclose(from_positions[line], direct[line], rtol=0.06)


def test_the_resolution_is_the_width_of_a_sharp_line():
    interval, resolution = 1.0, 20.0
    length = segment_length(resolution, interval, 10**5)
    times = np.arange(4 * length) * interval
    line = np.cos(2.0 * np.pi * 1000.0 / WAVENUMBER * times)[:, None]
    segments = periodograms(line, interval, length)
    power = segments.power.mean(axis=(0, 1))
    above = segments.wavenumber[power > 0.5 * power.max()]
    assert np.mean(above) == pytest.approx(1000.0, abs=3.0)
    assert np.ptp(above) == pytest.approx(resolution, rel=0.35)  # three points of the grid


@pytest.mark.parametrize(
    ("resolution", "word"), [(0.0, "positive"), (1.0, "--resolution"), (9000.0, "smaller")]
)
def test_impossible_resolutions_are_refused(resolution, word):
    with pytest.raises(InputError, match=word):
        segment_length(resolution, 1.0, 1000)


def test_one_segment_has_no_error():
    spectrum = spectrum_of(np.ones((16, 1)), 1.0, 16)
    assert isinstance(spectrum, Spectrum)
    assert np.isnan(spectrum.error).all()
