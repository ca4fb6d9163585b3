"""A run in a skewed cell is that of the compact one; its files hold the cell of the start."""

import numpy as np
from ase.io import read

from jles.dynamics.run import run_md
from jles.dynamics.start import compact_cell
from tests.support.md_runs import CONFIG, contents

SKEW = np.array([[1, 0, 0], [6, 1, 0], [0, 6, 1]])
NPT = {"kind": "npt", "temperature": 300.0, "pressure": 0.1, "pressure_unit": "GPa"}


def test_a_cell_is_made_compact_and_back(atoms):
    skewed = atoms.copy()
    skewed.set_cell(SKEW @ atoms.cell.array)
    compact, back = compact_cell(skewed)
    assert np.linalg.norm(compact.cell.array, axis=1).max() < 8.0
    np.testing.assert_array_equal(compact.positions, skewed.positions)
    np.testing.assert_allclose(back @ compact.cell.array, skewed.cell.array, atol=1e-12)


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
