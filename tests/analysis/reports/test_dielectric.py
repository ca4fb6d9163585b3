"""Dielectric constant of runs: branches, latent moments, mistakes."""

import re

import numpy as np
import pytest

from jles.analysis.estimators.units import BOLTZMANN
from jles.analysis.reports.dielectric import dielectric
from jles.analysis.run import open_run
from jles.cli.main import main
from jles.units import EPSILON0
from tests.support.processes import autoregressive, write_run


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
