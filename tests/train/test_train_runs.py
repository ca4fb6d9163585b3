"""Whole trainings: what they learn, record and leave, and how they stop."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jles
from jles.cli.main import main
from jles.config import from_dict
from jles.errors import InputError
from jles.models.store import read_model
from jles.train import loop
from jles.train.config import DataConfig, LossConfig, TrainConfig
from jles.train.log import MetricsLog
from jles.train.losses import Errors
from jles.train.optimizer import learning_rate
from jles.train.prepare import load_frames, prepare
from tests.support.small_systems import (
    TINY_MODEL,
    labelled,
    mixed_frames,
    rattled,
    training_values,
    write_frames,
)

WITHOUT_CHARGES = TINY_MODEL | {"charges": None}


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures take most of the time of a run this small."""
    monkeypatch.setattr(loop, "learning_curve", lambda *_: None)
    monkeypatch.setattr(loop, "validation_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on crystals and clusters in one bucket, with stress from epoch 2 on."""
    folder = tmp_path_factory.mktemp("run")
    values = training_values(
        write_frames(folder / "train.xyz", mixed_frames(6)),
        write_frames(folder / "valid.xyz", mixed_frames(3, seed=50)),
        epochs=8,
        batch_size=6,
        loss={"energy": {0: 1.0, 4: 3.0}, "forces": 1.0, "stress": {0: 0.0, 2: 10.0}},
        optimizer={"learning_rate": 0.03, "ema": 0.5, "schedule": "constant"},
    )
    config = from_dict(TrainConfig, values, "train.yaml")
    out = loop.train(config, folder / "out")
    rows = [
        json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    return SimpleNamespace(folder=folder, config=config, out=out, rows=rows, values=values)


def test_a_run_learns(run):
    forces = [row["train_forces_rmse"] for row in run.rows]
    assert min(forces[-2:]) < 0.7 * forces[0]
    assert [row["epoch"] for row in run.rows] == list(range(8))


def test_the_loss_is_weighted_as_scheduled(run):
    """One batch an epoch, so that its errors and its loss belong together."""
    for row in run.rows:
        energy, stress = (1.0 if row["epoch"] < 4 else 3.0), (10.0 if row["epoch"] > 1 else 0.0)
        expected = (
            energy * row["train_energy_per_atom_rmse"] ** 2
            + row["train_forces_rmse"] ** 2
            + stress * row["train_stress_rmse"] ** 2
        )
        np.testing.assert_allclose(row["train_loss"], expected, rtol=1e-5)


def test_a_run_leaves_a_model_and_all_that_belongs_to_it(run):
    names = {path.name for path in run.out.iterdir()}
    assert names == {
        "README.md",
        "checkpoints",
        "config.yaml",
        "learning_curve.png",
        "metrics.csv",
        "metrics.json",
        "metrics.jsonl",
        "params.safetensors",
        "parity.png",
        "train.yaml",
    }
    for name in ("learning_curve.png", "parity.png"):
        assert (run.out / name).read_bytes().startswith(b"\x89PNG")
    stored = read_model(run.out)
    assert stored.training["frames"] == 6
    assert stored.training["labels"] == ["energy", "forces", "stress"]
    best = min(run.rows, key=lambda row: row["valid_loss"])
    assert stored.training["best_epoch"] == best["epoch"] + 1
    assert stored.metrics["valid"]["forces_rmse"] == best["valid_forces_rmse"]


def test_recorded_errors_are_those_of_the_saved_model(run):
    """Recomputed by predict, frame by frame, from the files alone; offsets included."""
    model = jles.load(run.out)
    recorded = read_model(run.out).metrics["valid"]
    energy, forces, stress = [], [], []
    from ase.io import read

    for atoms in read(run.folder / "valid.xyz", ":"):
        want = ("energy", "forces", "stress") if atoms.pbc.all() else ("energy", "forces")
        out = model.predict(atoms, want)
        energy.append((out.energy - atoms.get_potential_energy()) / len(atoms))
        forces.append((out.forces - atoms.get_forces()).ravel())
        if atoms.pbc.all():
            stress.append((out.stress - atoms.get_stress(voigt=False)).ravel())
    for name, errors in (
        ("energy_per_atom_rmse", np.array(energy)),
        ("forces_rmse", np.concatenate(forces)),
        ("stress_rmse", np.concatenate(stress)),
    ):
        expected = np.sqrt(np.mean(errors**2))
        np.testing.assert_allclose(recorded[name], expected, rtol=2e-3, err_msg=name)


def test_element_energies_are_fitted_to_the_training_frames(run):
    energies = read_model(run.out).config.element_energies
    assert energies["O"] == pytest.approx(-430.0, abs=2.0)
    assert energies["H"] == pytest.approx(-13.0, abs=2.0)


def test_feature_statistics_are_measured_and_never_trained(run):
    params = read_model(run.out).params
    prepared = prepare(run.config)
    for name in ("mean", "scale"):
        np.testing.assert_array_equal(
            params["features"][name], prepared.params["features"][name]
        )
    features_fn = jax.jit(jax.vmap(prepared.potential.features_fn, (None, 0)))
    blocks = []
    for batch in prepared.train_loader.epoch(None):
        features = features_fn(prepared.params, batch.structure).invariants
        blocks.append(np.asarray(features, np.float64)[batch.structure.mask])
    values = np.concatenate(blocks)
    normal = (values - params["features"]["mean"]) * params["features"]["scale"]
    np.testing.assert_allclose(normal.mean(axis=0), 0.0, atol=1e-4)
    # All entries vary here; together they make a vector of length one on average.
    np.testing.assert_allclose(normal.std(axis=0), normal.shape[1] ** -0.5, rtol=1e-3)
    np.testing.assert_allclose(np.mean(np.sum(normal**2, axis=1)), 1.0, rtol=1e-3)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.long
def test_fine_tuning_starts_from_the_model_given(run, tmp_path):
    """With a vanishing rate nothing changes: parameters, element energies, errors."""
    values = run.values | {
        "model": {"start_from": str(run.out)},
        "loss": {"energy": 1.0, "forces": 1.0},
        "epochs": 1,
        "optimizer": {"learning_rate": 1e-30, "ema": 0.0},
    }
    config = from_dict(TrainConfig, values, "tune.yaml")
    loop.train(config, tmp_path / "tuned")
    before, after = read_model(run.out), read_model(tmp_path / "tuned")
    assert after.config == before.config
    for old, new in zip(
        jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    for name in ("energy_per_atom_rmse", "forces_rmse"):
        old, new = (stored.metrics["valid"][name] for stored in (before, after))
        np.testing.assert_allclose(new, old, rtol=1e-5)


def test_an_unlabelled_run_of_another_file_fits_the_rest(tmp_path):
    """One file may have what another lacks; a label that neither has is an error."""
    energies = write_frames(tmp_path / "e.xyz", [labelled(rattled(0), ("energy",))])
    forces = write_frames(tmp_path / "f.xyz", [labelled(rattled(1), ("forces",))])
    values = training_values([energies, forces], [forces, energies], model=WITHOUT_CHARGES)
    prepared = prepare(from_dict(TrainConfig, values, "x"))
    assert len(prepared.train_frames) == 2
    values["loss"] = {"energy": 1.0, "forces": 1.0, "stress": 1.0}
    with pytest.raises(InputError, match=r"e\.xyz.*'stress'"):
        prepare(from_dict(TrainConfig, values, "x"))


def test_seeds_choose_the_parameters_and_the_frames_held_out(tmp_path):
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(n, count=4)) for n in range(8)])

    def held_out(**changes):
        frames = load_frames(DataConfig(train, valid_fraction=0.25, **changes), ("energy",))[1]
        return [frame.source for frame in frames]

    assert held_out() == held_out()
    assert held_out() != held_out(split_seed=1)
    assert len(held_out()) == len(held_out(limit=7)) == 2
    assert all(int(source.split()[-1]) < 5 for source in held_out(limit=5, split_seed=1))
    values = training_values(train, train, model=WITHOUT_CHARGES)
    trees = [
        prepare(from_dict(TrainConfig, values | {"seed": seed}, "x")).params for seed in (0, 1)
    ]
    for name in ("sender_embedding", "radial_mixing_0"):
        assert not np.any(trees[0]["backbone"][name] == trees[1]["backbone"][name])


@pytest.mark.usefixtures("no_pictures")
def test_checkpoints_may_come_before_the_first_validation(tmp_path):
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(0, count=3))])
    values = training_values(train, train, model=WITHOUT_CHARGES, validate_every=3)
    out = loop.train(from_dict(TrainConfig, values, "x"), tmp_path / "out")
    rows = MetricsLog(out).rows()
    assert ["valid_loss" in row for row in rows] == [False, False, True]
    assert read_model(out).training["best_epoch"] == 3


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_the_run_which_can_go_on(tmp_path, monkeypatch, capsys):
    """In epoch 2 the rate explodes; the frames are named, the last checkpoint is whole."""
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(n, count=4)) for n in range(3)])
    values = training_values(train, train, model=WITHOUT_CHARGES)
    config, out = tmp_path / "c.yaml", tmp_path / "out"
    config.write_text(json.dumps(values), encoding="utf-8")

    def explode(optimizer, step, epoch, *rest):
        return 1e30 if epoch == 1 else learning_rate(optimizer, step, epoch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", explode)
        assert main(["train", str(config), "--out", str(out)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert "epoch 2" in lines[0]
    assert "t.xyz, frame" in lines[0]
    assert not (out / "params.safetensors").exists()
    (row,) = MetricsLog(out).rows()
    assert main(["train", str(config), "--out", str(out), "--resume"]) == 0
    rows = MetricsLog(out).rows()
    assert rows[0] == row
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert all(math.isfinite(row["valid_loss"]) for row in rows)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(read_model(out).params))


def test_a_filler_is_not_named():
    frames = [SimpleNamespace(source=f"x.xyz, frame {n}") for n in range(3)]
    message = loop._not_finite(0, SimpleNamespace(frames=np.array([1, -1])), frames)
    assert "frame 1" in message
    assert "frame 2" not in message


def test_validation_errors_that_are_not_finite_stop_a_run():
    fine = Errors(*[np.float32(1.0)] * 6)
    loop._check_validation(fine, 3)
    for bad in (math.nan, math.inf):
        with pytest.raises(InputError, match=r"epoch 4.*validation"):
            loop._check_validation(fine._replace(forces=np.float32(bad)), 3)


def test_a_place_that_is_taken_is_refused(run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.out.rglob("*")}
    with pytest.raises(InputError, match="already holds a run"):
        loop.train(run.config, run.out)
    changed = replace(run.config, loss=LossConfig(energy=7.0), seed=3)
    with pytest.raises(InputError, match=r"another config.*loss\.energy was.*now 7\.0"):
        loop.train(changed, run.out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in run.out.rglob("*")} == before
    with pytest.raises(InputError, match="nothing to resume"):
        loop.train(run.config, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.yaml").write_text("format: 1", encoding="utf-8")
    with pytest.raises(InputError, match="already holds a model"):
        loop.train(run.config, tmp_path / "model")
