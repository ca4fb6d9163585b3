"""Runs in a skewed cell or far from the origin; files hold cells and positions of the start."""

import numpy as np
import pytest
from ase.io import read

import jles
from jles.dynamics.run import run_md
from jles.dynamics.start import placed
from tests.support.marks import long
from tests.support.md_runs import CONFIG, contents

SKEW = np.array([[1, 0, 0], [6, 1, 0], [0, 6, 1]])
NPT = {"kind": "npt", "temperature": 300.0, "pressure": 0.1, "pressure_unit": "GPa"}


def test_a_cell_is_made_compact_and_back(atoms):
    skewed = atoms.copy()
    skewed.set_cell(SKEW @ atoms.cell.array)
    compact, place = placed(skewed)
    assert np.linalg.norm(compact.cell.array, axis=1).max() < 8.0
    np.testing.assert_array_equal(compact.positions, skewed.positions)
    cell = place.cell(compact.cell.array)
    np.testing.assert_allclose(cell, skewed.cell.array, atol=1e-12)


@pytest.mark.long
def test_files_hold_the_cell_of_the_start_and_the_trajectory_is_the_same(
    model, atoms, tmp_path
):
    changes = {"ensemble": NPT, "steps": 6, "block": 3, "checkpoint": 3}
    changes["record"] = {"thermo": 1, "positions": 2, "extxyz": 3}
    skewed = atoms.copy()
    skewed.set_cell(SKEW @ atoms.cell.array)
    finals = {
        name: run_md(model, start, CONFIG | changes, tmp_path / name)
        for name, start in (("plain", atoms), ("skewed", skewed))
    }
    plain, found = (contents(tmp_path / name / "trajectory.h5") for name in finals)
    options = {"rtol": 1e-8, "atol": 1e-9}
    for name in ("positions/positions", "thermo/conserved", "thermo/volume"):
        np.testing.assert_allclose(found[name], plain[name], err_msg=name, **options)
    for name in ("thermo/cell", "positions/cell"):
        np.testing.assert_allclose(found[name], SKEW @ plain[name], err_msg=name, **options)
    cell = finals["skewed"].cell.array
    np.testing.assert_allclose(cell, SKEW @ finals["plain"].cell.array, **options)
    frames = read(tmp_path / "skewed" / "trajectory.extxyz", ":")
    np.testing.assert_allclose(frames[-1].cell.array, cell, atol=1e-7)


@pytest.mark.filterwarnings("ignore:there is a cell but pbc F F F")
@pytest.mark.parametrize("pbc", [(True, False, True), long(False)])
def test_a_run_in_float32_is_the_same_far_from_the_origin(folder, atoms, tmp_path, pbc):
    """It is resumed from another place, which does not matter."""
    model = jles.load(folder / "model")
    near = atoms.copy()
    near.pbc = pbc
    _, normal, _ = np.linalg.inv(near.cell.array).T
    away = 30_000.0 * normal / np.linalg.norm(normal)
    far = near.copy()
    far.positions += away
    record = {"thermo": 2, "positions": 2}
    config = CONFIG | {"dtype": "float32", "steps": 8, "checkpoint": 4, "record": record}
    run_md(model, far, config | {"steps": 4}, tmp_path / "far")
    ends = {
        "near": run_md(model, near, config, tmp_path / "near").positions,
        "far": run_md(model, near, config, tmp_path / "far", resume=True).positions,
    }
    np.testing.assert_allclose(ends["far"] - away, ends["near"], rtol=0, atol=2e-5)
    found = {name: contents(tmp_path / name / "trajectory.h5") for name in ends}
    positions = found["far"]["positions/positions"]
    assert positions.dtype == np.float32
    np.testing.assert_allclose(positions[-1], ends["far"], rtol=1e-7)
    conserved = (found[name]["thermo/conserved"] for name in ends)
    np.testing.assert_allclose(*conserved, rtol=0, atol=1e-4)
