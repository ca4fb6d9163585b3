"""Raman invariants, intensities and the Stokes factor against closed forms."""

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from jles.analysis.raman import depolarization, invariants, polarized, raman, stokes_factor
from jles.analysis.run import open_run
from jles.analysis.spectra import Segments, average
from jles.analysis.units import BOLTZMANN, PLANCK, WAVENUMBER
from jles.cli.main import main
from jles.units import COULOMB_CONSTANT
from tests.support.processes import oscillator, write_run


def intensities(tensor):
    """VV and VH of one tensor by the formulas under test, as power of a still picture."""
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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A totally symmetric mode at 0.1/fs and a traceless one at 0.25/fs."""
    rng = np.random.default_rng(11)
    frames, interval = 2**14, 2.0
    symmetric, _ = oscillator(rng, frames, 1, interval, 0.10, 0.01, 0.01**2)
    traceless, _ = oscillator(rng, frames, 1, interval, 0.25, 0.01, 0.03**2)
    shape = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    values = 3.0 * np.eye(3) + symmetric[:, :, None] * np.eye(3) + traceless[:, :, None] * shape
    values /= COULOMB_CONSTANT
    records = {"polarizability": {"polarizability": values, "interval": 2}}
    return write_run(tmp_path_factory.mktemp("raman") / "run", records)


def test_modes_show_with_their_depolarization_ratio(run):
    table = raman([open_run(run)], highest=1e9, resolution=20.0).columns
    wavenumber, unit = table["wavenumber (cm^-1)"], "(angstrom^6 fs^-2 cm)"
    ratio = table["depolarization ratio"]
    breathing, shearing = (
        np.argmin(np.abs(wavenumber - w * WAVENUMBER / (2 * np.pi))) for w in (0.10, 0.25)
    )
    # A thousandth or so of the other mode's wing lies below.
    assert ratio[shearing] == pytest.approx(0.75, rel=5e-3)
    assert ratio[breathing] < 0.02
    # The power of the derivative is equipartition: kT/m of each mode, and 2/10 for the shear.
    for name, expected in (("iso", 1e-4), ("aniso", 0.2 * 9e-4)):
        found = np.trapezoid(table[f"{name} {unit}"], wavenumber)
        # Energy correlated over 1/damping in a run of 32768 fs.
        assert found == pytest.approx(expected, rel=4.0 * np.sqrt(2.0 / 328))
    np.testing.assert_allclose(
        table[f"VV {unit}"], table[f"iso {unit}"] + 4 / 3 * table[f"aniso {unit}"], rtol=1e-10
    )


def test_the_stokes_factor_makes_a_classical_oscillator_a_quantum_one():
    wavenumber, temperature, laser = np.array([0.0, 200.0, 1000.0, 3000.0]), 300.0, 532.0
    factor = stokes_factor(wavenumber, temperature, laser)
    assert np.isnan(factor[0])
    angular = 2.0 * np.pi * wavenumber[1:] / WAVENUMBER
    energy = PLANCK * wavenumber[1:] / WAVENUMBER
    # <v^2> is kT/m; the amplitude squared of 0 -> 1 with its thermal weights hbar/(2 m w) (n + 1).
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


def test_the_command_takes_a_laser(run, capsys):
    assert main(["analyse", "raman", str(run), "--resolution", "20", "--laser", "532"]) == 0
    assert "Stokes" in capsys.readouterr().out
    assert main(["analyse", "raman", str(run), "--resolution", "20", "--laser", "-5"]) == 2
    assert "--laser" in capsys.readouterr().err
