"""Spectra of white noise, thermal oscillators and charges: Parseval, lines, sum rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.analysis.correlate import autocorrelation, lag_of_silence, noise_of_correlation
from jles.analysis.infrared import (
    absorption_factor,
    continuous_branch,
    infrared,
    quantum_correction,
)
from jles.analysis.run import open_run
from jles.analysis.spectra import (
    Spectrum,
    average,
    derivative_periodograms,
    integral,
    periodograms,
    segment_length,
)
from jles.analysis.units import ATOMIC_MASS, BOLTZMANN, PLANCK, SPEED_OF_LIGHT, WAVENUMBER
from jles.analysis.vdos import vibrational_density
from jles.errors import InputError
from jles.units import EPSILON0
from tests.support.processes import autoregressive, oscillator, velocity_spectrum, write_run


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


def ions(rng, frames, interval, charge=0.7, mass=12.0, temperature=300.0, atoms=8):
    """Charges on springs: velocities and the two records of their dipole."""
    variance = BOLTZMANN * temperature / (mass * ATOMIC_MASS)
    position, velocity = oscillator(rng, frames, 3 * atoms, interval, 0.2, 0.01, variance)
    shape = (frames, atoms, 3)
    position, velocity = position.reshape(shape), velocity.reshape(shape)
    return velocity, charge * velocity.sum(axis=1), charge * position.sum(axis=1)


@pytest.fixture(scope="module")
def ion_run(tmp_path_factory):
    velocity, current, polarization = ions(np.random.default_rng(5), 2**15, 1.0)
    return write_run(
        tmp_path_factory.mktemp("ions") / "run",
        {
            "current": {"current": current},
            "polarization": {"polarization": polarization},
            "velocities": {"velocities": velocity.astype(np.float32)},
        },
        numbers=[6] * 8,
        masses=[12.0] * 8,
    )


def test_infrared_absorption_obeys_the_sum_rule_of_fixed_charges(ion_run):
    outcome = infrared([open_run(ion_run)], highest=1e9)
    wavenumber, absorption, _ = outcome.columns.values()
    # In angstrom and fs: the integral over angular frequency is pi/(2 c V eps0) sum Z^2/m.
    expected = (
        np.pi / (2.0 * SPEED_OF_LIGHT * 1000.0 * EPSILON0) * 8 * 0.7**2 / (12 * ATOMIC_MASS)
    )
    found = np.trapezoid(1e-8 * absorption, 2.0 * np.pi * wavenumber / WAVENUMBER)
    # The dipole is one oscillator a direction, its energy correlated over 1/damping = 100 fs.
    assert found == pytest.approx(expected, rel=4.0 * np.sqrt(2.0 / (3 * 328)))
    peak = wavenumber[np.argmax(absorption)]
    assert peak == pytest.approx(0.2 * WAVENUMBER / (2.0 * np.pi), rel=0.03)
    assert absorption_factor(300.0, 1000.0) > 0.0


def test_absorption_is_the_same_from_the_polarization(ion_run, tmp_path):
    run = open_run(ion_run)
    values = run.read("polarization").values
    alone = write_run(tmp_path / "run", {"polarization": {"polarization": values}})
    direct, differences = infrared([run]), infrared([open_run(alone)])
    a, b = (np.array(list(o.columns.values())) for o in (direct, differences))
    line = a[1] > 0.1 * a[1].max()
    np.testing.assert_allclose(b[1][line], a[1][line], rtol=0.02)
    assert "polarization" in differences.lines[0]


def test_several_runs_share_their_segments(ion_run):
    one, two = (infrared([open_run(ion_run)] * n) for n in (1, 2))
    mean = "n alpha (cm^-1)"
    np.testing.assert_allclose(one.columns[mean], two.columns[mean], rtol=1e-10)
    ratio = two.columns["standard error (cm^-1)"] / one.columns["standard error (cm^-1)"]
    # (S - 1)/(2S - 1) for S segments, 17 here.
    np.testing.assert_allclose(ratio, np.sqrt(0.5), rtol=0.03)


def test_the_density_of_states_counts_degrees_of_freedom(ion_run):
    outcome = vibrational_density([open_run(ion_run)], highest=1e9)
    wavenumber, *_, total, _ = outcome.columns.values()
    assert np.trapezoid(total, wavenumber) == pytest.approx(24.0, rel=0.05)


@given(seed=st.integers(0, 1000), handed=st.sampled_from([1.0, -1.0]))
def test_jumps_by_quanta_are_taken_off(seed, handed):
    rng = np.random.default_rng(seed)
    cell = handed * (6.0 * np.eye(3) + rng.uniform(-1.0, 1.0, (3, 3)))
    smooth = np.cumsum(rng.uniform(-0.5, 0.5, (50, 3)), axis=0)
    jumps = rng.integers(-2, 3, (50, 3))
    jumps[0] = 0
    cells = np.tile(cell, (50, 1, 1))
    found = continuous_branch(smooth + jumps @ cell, cells, (True, True, True))
    np.testing.assert_allclose(found, smooth, atol=1e-10)
    jumps[:, 2] = 0
    slab = continuous_branch(smooth + jumps @ cell, cells, (True, True, False))
    np.testing.assert_allclose(slab, smooth, atol=1e-10)


def test_quantum_corrections_have_detailed_balance_in_common():
    wavenumber, temperature = np.array([0.0, 10.0, 500.0, 3400.0]), 300.0
    x = PLANCK * wavenumber / (WAVENUMBER * BOLTZMANN * temperature)
    assert x[3] == pytest.approx(1.438777 * 3400.0 / 300.0, rel=1e-6)
    for kind, closed in (
        ("harmonic", np.ones(3)),
        ("standard", 2.0 * (1.0 - np.exp(-x[1:])) / (1.0 + np.exp(-x[1:])) / x[1:]),
        ("schofield", (1.0 - np.exp(-x[1:])) * np.exp(x[1:] / 2.0) / x[1:]),
    ):
        found = quantum_correction(kind, wavenumber, temperature)
        assert found[0] == 1.0
        np.testing.assert_allclose(found[1:], closed, rtol=1e-10)


def test_one_segment_has_no_error():
    spectrum = spectrum_of(np.ones((16, 1)), 1.0, 16)
    assert isinstance(spectrum, Spectrum)
    assert np.isnan(spectrum.error).all()
