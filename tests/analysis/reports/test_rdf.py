"""Radial distributions of runs: ideal gas, rock salt, mistakes."""

import numpy as np
import pytest
from ase.build import bulk

from jles.analysis.estimators.rdf import half_height
from jles.analysis.reports.rdf import radial_distributions
from jles.analysis.run import open_run
from jles.cli.main import main
from tests.support.processes import write_run

TILTED = np.array([[9.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 1.0, 10.0]])


@pytest.mark.parametrize("handed", [1.0, -1.0])
def test_an_ideal_gas_is_flat_in_a_tilted_cell(rng, tmp_path, handed):
    frames, numbers = 400, np.array([1] * 12 + [8] * 5)
    cell = handed * TILTED
    # Unwrapped positions, cells away from the first one.
    reduced = rng.uniform(-3.0, 4.0, (frames, 17, 3))
    records = {"positions": {"positions": reduced @ cell}}
    path = write_run(tmp_path / "gas", records, numbers=numbers, cell=cell)
    outcome = radial_distributions([open_run(path)], width=0.25)
    radii = outcome.columns["r (angstrom)"]
    assert radii[-1] + 0.125 == pytest.approx(half_height(cell), abs=0.25)
    for pair in ("H-H", "H-O", "O-O"):
        g, error = (outcome.columns[f"g {pair}{end} (1)"] for end in ("", " standard error"))
        seen = (error > 0.0) & (radii > 1.0)
        pulls = (g[seen] - 1.0) / error[seen]
        assert abs(np.mean(pulls)) < 4.0 / np.sqrt(len(pulls)) + 0.3
        assert np.mean(pulls**2) < 2.0
    within = outcome.columns["n H-O up to r + 0.125 (1)"][-1]
    volume = abs(np.linalg.det(cell))
    expected = 5.0 * 4.0 / 3.0 * np.pi * (radii[-1] + 0.125) ** 3 / volume
    assert within == pytest.approx(expected, rel=0.05)


def test_shells_of_rock_salt(tmp_path, rng):
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
    noise = 0.02 * rng.standard_normal((30, len(atoms), 3))
    records = {"positions": {"positions": atoms.positions + noise}}
    path = write_run(tmp_path / "run", records, numbers=atoms.numbers, cell=atoms.cell[:])
    table = radial_distributions([open_run(path)], r_max=5.6, width=0.1).columns
    outer = table["r (angstrom)"] + 0.05
    # Shells at a/2, a/sqrt(2), sqrt(3) a/2 hold 6, 12 and 8 atoms.
    for radius, unlike, like in ((3.5, 6, 0), (4.5, 6, 12), (5.3, 14, 12)):
        at = np.argmin(np.abs(outer - radius))
        assert table["n Na-Cl up to r + 0.05 (1)"][at] == pytest.approx(unlike, abs=1e-9)
        assert table["n Na-Na up to r + 0.05 (1)"][at] == pytest.approx(like, abs=1e-9)
    assert table["g Na-Cl (1)"][np.argmin(np.abs(outer - 2.9))] > 10.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--width", "0"), ("--width 0", "positive")),
        (("--r-max", "-1"), ("--r-max -1",)),
        (("--every", "0"), ("--every", "at least 1")),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, options, words):
    path = write_run(tmp_path / "run", {"positions": {"positions": np.zeros((3, 1, 3))}})
    assert main(["analyse", "rdf", str(path), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_a_cluster_has_no_density(tmp_path, capsys):
    records = {"positions": {"positions": np.zeros((3, 1, 3))}}
    path = write_run(tmp_path / "run", records, pbc=(True, True, False))
    assert main(["analyse", "rdf", str(path)]) == 2
    assert "pbc is T T F" in capsys.readouterr().err
