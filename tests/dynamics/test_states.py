"""Charge and labels of a run are those of its start, and its files keep them."""

import csv

import ase.io
import jax
import numpy as np
import pytest

import jles
from jles.models.state_config import StateConfig
from jles.predict.model import Model
from tests.support.md_runs import CONFIG, tiny_model
from tests.support.small_systems import rattled


@pytest.mark.long
def test_frames_of_a_run_keep_charge_and_labels(tmp_path):
    tiny_model(tmp_path / "model", state=StateConfig(labels=(1, 3)))
    model = jles.load(tmp_path / "model", dtype="float64")
    backbone = jax.tree.map(lambda weights: weights + 0.2, model.params["backbone"])
    model = Model(model.config, model.params | {"backbone": backbone}, "float64")
    atoms = rattled(1, count=4, pbc=False)
    atoms.info["total_charge"] = 1.0
    atoms.set_array("state", np.array([1, 3, 1, 1]))
    config = CONFIG | {"steps": 4, "block": 4, "checkpoint": 4}
    config["record"] = {"thermo": 2, "extxyz": 2}
    final = jles.run_md(model, atoms, config, tmp_path / "run")
    last = ase.io.read(tmp_path / "run" / "trajectory.extxyz", -1)
    for frame in (final, last, ase.io.read(tmp_path / "run" / "final.extxyz")):
        assert frame.info["total_charge"] == 1.0
        np.testing.assert_array_equal(frame.arrays["state"], [1, 3, 1, 1])
    with open(tmp_path / "run" / "log.csv", encoding="utf-8") as file:
        row = list(csv.DictReader(file))[-1]
    (column,) = [name for name in row if name.startswith("potential_energy")]
    energy = model.predict(final).energy
    elements = sum(model.config.element_energies[symbol] for symbol in final.symbols)
    assert np.isclose(float(row[column]), energy - elements, rtol=0, atol=1e-5)
    final.info["total_charge"] = 0.0
    assert abs(model.predict(final).energy - energy) > 1e-3
