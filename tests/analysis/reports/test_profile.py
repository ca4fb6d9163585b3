"""Profiles of runs: a capacitor that moves sideways, mistakes in one line."""

import numpy as np
import pytest

from jles.analysis.reports.profile import FIELD, POTENTIAL, profiles
from jles.analysis.run import open_run
from jles.cli.main import main
from jles.units import EPSILON0
from tests.support.processes import write_run

CELL = np.diag([5.0, 4.0, 60.0])


def capacitor(path, rng, pbc, frames=12, **more):
    """Two atoms of charges 0.2 and -0.2 e, 30 angstrom apart along c, in channels."""
    positions = np.zeros((frames, 2, 3))
    positions[:, :, :2] = rng.uniform(-20.0, 20.0, (frames, 2, 2))
    positions[:, :, 2] = [10.0, 40.0]
    charges = np.tile([[[0.3, -0.1], [-0.2, 0.0]]], (frames, 1, 1))
    records = {"positions": {"positions": positions}, "charges": {"charges": charges} | more}
    return write_run(path, records, numbers=(11, 17), cell=CELL, pbc=pbc)


@pytest.mark.parametrize("periodic", [True, False])
def test_the_field_between_two_sheets(tmp_path, rng, periodic):
    path = capacitor(tmp_path / "run", rng, (True, True, periodic))
    table = profiles([open_run(path)], width=0.5).columns
    middles = table["height (angstrom)"]
    field = 0.2 / (EPSILON0 * 20.0)
    between = (middles > 16.0) & (middles < 34.0)
    expected = field * (1.0 - 30.0 / 60.0) if periodic else field
    np.testing.assert_allclose(table[FIELD][between], expected, rtol=1e-6)
    if periodic:
        np.testing.assert_allclose(table[POTENTIAL].mean(), 0.0, atol=1e-9)
    layer = np.argmin(np.abs(middles - 10.25))
    width = middles[1] - middles[0]
    density = table["density of Na (1/angstrom^3)"]
    assert density[layer] == pytest.approx(1.0 / (20.0 * width))
    assert np.sum(density) * 20.0 * width == pytest.approx(1.0)


def test_a_layer_of_dipoles_makes_a_step(tmp_path, rng):
    """The potential rises by u/(epsilon0 A); dipoles in the plane and a pair of charges at one
    height add nothing."""
    dipoles = np.tile([[0.3, -0.2, 0.05], [0.1, 0.0, 0.03]], (12, 1, 1))
    records = {
        "positions": {"positions": np.full((12, 2, 3), 30.0)},
        "charges": {"charges": np.tile([[0.2], [-0.2]], (12, 1, 1))},
        "dipoles": {"dipoles": dipoles},
    }
    path = write_run(
        tmp_path / "run", records, numbers=(11, 17), cell=CELL, pbc=(True, True, False)
    )
    table = profiles([open_run(path)], width=0.5, sigma=0.05).columns
    step = table[POTENTIAL][-1] - table[POTENTIAL][0]
    assert step == pytest.approx(0.08 / (EPSILON0 * 20.0), rel=1e-5)


def test_the_command_writes_a_table_and_a_picture(tmp_path, rng, capsys):
    path = capacitor(tmp_path / "run", rng, (True, True, True))
    assert main(["analyse", "profile", str(path), "--width", "1"]) == 0
    assert "latent potential between" in capsys.readouterr().out
    assert (path / "analysis" / "profile.csv").is_file()
    assert (path / "analysis" / "profile.png").is_file()


def test_a_centre_of_mass_that_moves_has_a_warning(tmp_path, rng):
    """Sideways it may move, and atoms may move against each other."""
    frames, masses = 200, np.array([1.0, 3.0])
    for name, drift in (("still", 0.0), ("langevin", 0.6)):
        positions = rng.uniform(-9.0, 9.0, (frames, 2, 3))
        positions[:, 1] = -positions[:, 0] / 3.0
        positions[:, :, 2] += np.linspace(0.0, drift, frames)[:, None]
        records = {"positions": {"positions": positions}}
        path = write_run(tmp_path / name, records, numbers=(1, 1), masses=masses)
        lines = profiles([open_run(path)], width=0.5).lines
        found = [line for line in lines if "the centre of mass moves by" in line]
        assert bool(found) == (drift > 0.5)
        assert all(line.startswith(f"warning: {path}") and "0.6 ang" in line for line in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--width", "1000"), ("--width 1000", "60 angstrom")),
        (("--sigma", "0"), ("--sigma 0", "positive (angstrom)")),
    ],
)
def test_mistakes_are_one_line(tmp_path, rng, capsys, options, words):
    path = capacitor(tmp_path / "run", rng, (True, True, True))
    assert main(["analyse", "profile", str(path), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_runs_without_layers_are_refused(tmp_path, rng, capsys):
    cluster = capacitor(tmp_path / "cluster", rng, (True, False, True))
    assert main(["analyse", "profile", str(cluster)]) == 2
    assert "pbc is T F T" in capsys.readouterr().err
    other = capacitor(tmp_path / "other", rng, (True, True, True), interval=2)
    assert main(["analyse", "profile", str(other)]) == 2
    assert "different steps" in capsys.readouterr().err
    frames = {"positions": np.ones((3, 1, 3))}
    still = write_run(tmp_path / "still", {"positions": frames})
    cells = np.diag([5.0, 4.0, 60.0]) * np.linspace(1.0, 1.1, 3)[:, None, None]
    moving = write_run(tmp_path / "npt", {"positions": frames | {"cell": cells}})
    for runs, words in (([moving], "changes;"), ([still, moving], f"not that of {still};")):
        assert main(["analyse", "profile", *map(str, runs)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"jles: error: {moving}: the cell changes")
        assert words in line
