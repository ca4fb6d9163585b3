"""Raman spectra of runs with two modes."""

import numpy as np
import pytest

from jles.analysis.estimators.units import WAVENUMBER
from jles.analysis.reports.raman import raman
from jles.analysis.run import open_run
from jles.cli.main import main
from jles.units import COULOMB_CONSTANT
from tests.support.processes import oscillator, write_run


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


def test_the_command_takes_a_laser(run, capsys):
    assert main(["analyse", "raman", str(run), "--resolution", "20", "--laser", "532"]) == 0
    assert "Stokes" in capsys.readouterr().out
    assert main(["analyse", "raman", str(run), "--resolution", "20", "--laser", "-5"]) == 2
    assert "--laser" in capsys.readouterr().err
