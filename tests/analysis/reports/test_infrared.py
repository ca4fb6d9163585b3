"""Infrared absorption of charged oscillators: sum rule, sources, several runs."""

import numpy as np
import pytest

from jles.analysis.estimators.infrared import (
    absorption_factor,
)
from jles.analysis.estimators.units import (
    ATOMIC_MASS,
    SPEED_OF_LIGHT,
    WAVENUMBER,
)
from jles.analysis.reports.infrared import infrared
from jles.analysis.run import open_run
from jles.errors import InputError
from jles.units import EPSILON0
from tests.support.processes import write_run


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


def test_sources_are_not_mixed(ion_run, tmp_path):
    """Where not every run has the current, all spectra are from the polarization."""
    both = open_run(ion_run)
    values = both.read("polarization").values
    alone, current = (
        open_run(
            write_run(
                tmp_path / name,
                {name: {name: values}},
                numbers=[6] * 8,
            )
        )
        for name in ("polarization", "current")
    )
    assert "from the differences of the polarization" in infrared([both, alone]).lines[0]
    with pytest.raises(InputError, match="current in all of them"):
        infrared([current, alone])


def test_several_runs_share_their_segments(ion_run):
    one, two = (infrared([open_run(ion_run)] * n) for n in (1, 2))
    mean = "n alpha (cm^-1)"
    np.testing.assert_allclose(one.columns[mean], two.columns[mean], rtol=1e-10)
    ratio = two.columns["standard error (cm^-1)"] / one.columns["standard error (cm^-1)"]
    # (S - 1)/(2S - 1) for S segments, 17 here.
    np.testing.assert_allclose(ratio, np.sqrt(0.5), rtol=0.03)
