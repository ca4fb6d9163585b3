"""Dielectric constant of Gaussian dipoles: closed form, error bars, the way there."""

import re

import numpy as np
import pytest

from jles.analysis.conditions import Conditions
from jles.analysis.dielectric import dielectric, fluctuation, running_fluctuation
from jles.analysis.run import open_run
from jles.analysis.units import BOLTZMANN
from jles.cli.main import main
from jles.units import EPSILON0
from tests.support.processes import autoregressive, write_run

STATE = Conditions(300.0, 2000.0)
PER_VARIANCE = 1.0 / (EPSILON0 * 2000.0 * BOLTZMANN * 300.0)


def test_gaussian_dipoles_have_the_susceptibility_of_their_variance(rng):
    copies, width = 400, 1.7
    pulls = []
    for _ in range(copies):
        dipole = width * autoregressive(rng, 4096, 3, 0.95) + 40.0
        mean = fluctuation([dipole], STATE).mean
        pulls.append((float(mean.value) - width**2 * PER_VARIANCE) / float(mean.error))
    # The mean that is taken off costs 39/4096 of the variance, 0.2 error bars; it is put back.
    assert abs(np.mean(pulls)) < 0.1 + 4.0 / np.sqrt(copies)
    # Two thirds with a binomial deviation of 0.024; the errors of 16 blocks are a bit low.
    assert 0.55 < np.mean(np.abs(pulls) < 1.0) < 0.77


def test_each_direction_has_its_own(rng):
    widths = np.array([1.0, 2.0, 3.0])
    dipole = widths * autoregressive(rng, 2**15, 3, 0.5)
    tensor = fluctuation([dipole, dipole + 100.0], STATE).tensor
    expected = PER_VARIANCE * np.diag(widths**2)
    assert np.all(np.abs(tensor.value - expected) < 5.0 * tensor.error)


def test_the_running_estimate_is_that_of_the_frames_so_far(rng):
    dipole = rng.standard_normal((50, 3)) + 7.0
    found = running_fluctuation(dipole, STATE)
    for count in (1, 7, 50):
        expected = PER_VARIANCE * np.mean(np.var(dipole[:count], axis=0))
        assert found[count - 1] == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_runs_on_other_branches_and_latent_moments(rng, tmp_path):
    dipole = autoregressive(rng, 4096, 3, 0.2)
    runs = []
    for name, values in (("one", dipole), ("other branch", dipole + 10.0)):
        path = write_run(tmp_path / name, {"polarization": {"polarization": values}})
        runs.append(open_run(path))
    alone, together = dielectric(runs[:1], 1.78, scale=1.78**0.5), dielectric(runs, 1.78)
    expected = 1.78 + 1.78 / (EPSILON0 * 1000.0 * BOLTZMANN * 300.0)
    value, error = (
        float(w) for w in re.split("[=,]", alone.lines[1])[1].replace("±", " ").split()[:2]
    )
    assert value == pytest.approx(expected, abs=4.0 * error)
    ends = together.columns["running epsilon (1)"][together.columns["run"] == "1"]
    assert ends[-1] == pytest.approx(1.78 + (value - 1.78) / 1.78, rel=1e-2)


def test_mistakes_are_one_line(tmp_path, capsys):
    empty = write_run(tmp_path / "empty", {})
    field = np.tile([0.0, 0.0, 0.1], (100, 1))
    pulled = write_run(tmp_path / "pulled", {"thermo": {"field": field}})
    assert main(["analyse", "dielectric", str(pulled)]) == 2
    assert "was run in a field" in capsys.readouterr().err
    assert main(["analyse", "dielectric", str(empty)]) == 2
    assert "record: {polarization: 1}" in capsys.readouterr().err
    assert main(["analyse", "dielectric", str(empty), "--epsilon-infinity", "0.5"]) == 2
    assert "--epsilon-infinity must be at least 1" in capsys.readouterr().err
