"""`jles evaluate`: errors, tables and pictures."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from jles.cli import evaluate
from jles.cli.evaluate import compare, statistics
from jles.cli.main import main
from jles.data.frames import Frame
from jles.models.store import save_model
from jles.predict.prediction import Prediction
from tests.support.commands import assert_one_line_error, snapshot
from tests.support.small_systems import rattled, small_backbone, small_config, small_model


@pytest.fixture(scope="module")
def labelled(structures, predictions, tmp_path_factory):
    """The structures with the model's own results as labels, energies 0.25 eV/atom higher."""
    frames = read(structures, ":")
    for atoms, out in zip(frames, predictions, strict=True):
        atoms.info["energy"] = out.energy + 0.25 * len(atoms)
        atoms.arrays["forces"] = out.forces
        if atoms.pbc.any():
            atoms.info["stress"] = out.stress
        else:
            atoms.info["dipole_ref"] = -out.dipole
    path = tmp_path_factory.mktemp("data") / "labelled.xyz"
    write(path, frames, format="extxyz")
    return path


def test_evaluate_finds_the_error_that_was_put_in(model_path, labelled, tmp_path, capsys):
    out = tmp_path / "evaluation"
    arguments = ["evaluate", model_path, labelled, "--out", out, "--dtype", "float64"]
    assert main(list(map(str, arguments))) == 0
    record = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    errors = record["errors"]
    assert set(errors) == {
        "energy_per_atom",
        "energy_per_atom_shifted",
        "forces",
        "stress",
        "dipole",
    }
    assert errors["energy_per_atom"]["mae"] == pytest.approx(0.25, rel=1e-6)
    assert errors["energy_per_atom_shifted"]["rmse"] < 1e-6
    assert errors["forces"]["count"] == 2 * 9
    # The sign of latent charges is arbitrary, and the data has the other one.
    for name in ("forces", "stress", "dipole"):
        assert errors[name]["rmse"] < 1e-6
        assert errors[name]["r2"] == pytest.approx(1.0, abs=1e-6)
        assert (out / f"parity_{name}.png").stat().st_size > 0
    assert any("sign" in note for note in record["notes"])
    assert "forces" in capsys.readouterr().out


def test_notes_of_predictions_are_among_those_of_the_comparison(monkeypatch):
    """Four notes on five frames; the first one is on three of them."""
    notes = iter([("a",), ("a", "b"), ("a",), ("c",), ("d",)])
    energy = {"energy": np.zeros(())}
    monkeypatch.setattr(
        evaluate, "predict_frame", lambda *_, **__: Prediction(next(notes), **energy)
    )
    model = SimpleNamespace(config=small_config(), where="the model", label_keys={})
    frame = Frame(np.array([1]), np.zeros((1, 3)), np.eye(3), np.zeros(3, bool), energy)
    found = compare(model, [replace(frame, source=f"frame {n}") for n in range(5)]).notes
    assert "frame 0 and 2 more, the model: a" in found
    assert "and 1 more notes" in found


def test_evaluate_without_labels_says_what_it_looked_for(model_path, structures, capsys):
    """Before anything is computed or promised."""
    assert main(["evaluate", str(model_path), str(structures)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"jles: error: {structures}: no label")
    assert "energy, forces, stress" in captured.err


def test_statistics_know_their_limits(rng):
    reference = rng.normal(size=50)
    assert statistics(reference, reference) == {"count": 50, "mae": 0.0, "rmse": 0.0, "r2": 1.0}
    mean = np.full(50, reference.mean())
    assert statistics(reference, mean)["r2"] == pytest.approx(0.0, abs=1e-12)
    assert statistics(reference, mean)["rmse"] == pytest.approx(reference.std())
    assert statistics(reference, reference + 2.0)["mae"] == pytest.approx(2.0)
    assert statistics(np.ones(3), np.zeros(3))["r2"] is None


def test_labels_of_a_slab_without_a_third_vector_are_compared(tmp_path):
    config = small_config(backbone=small_backbone(n_radial_basis=1, l_max=1, body_order=2))
    save_model(tmp_path / "model", config, small_model(config)[1])
    slab = rattled(3, pbc=(True, True, False))
    cell = slab.cell.array.copy()
    cell[2] = 0.0
    atoms = Atoms(slab.symbols, slab.positions, cell=cell, pbc=slab.pbc)
    atoms.info["dipole_ref"] = np.array([0.1, 0.2, 0.3])
    write(tmp_path / "slab.xyz", atoms, format="extxyz")
    arguments = ["evaluate", tmp_path / "model", tmp_path / "slab.xyz", "--out", tmp_path / "e"]
    assert main(list(map(str, arguments))) == 0


def test_evaluate_spares_the_metrics_of_a_model(model_path, labelled, capsys):
    before = snapshot(model_path)
    arguments = ["evaluate", str(model_path), str(labelled), "--out", str(model_path)]
    assert main(arguments) == 2
    assert_one_line_error(capsys, str(model_path), "holds a model", "--out")
    assert snapshot(model_path) == before
