"""Whole trainings: results, records, files and stopping."""

import json
import math
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ase.io import read

import jles
from jles.cli.main import main
from jles.config import from_dict, override
from jles.data.frames import read_frames
from jles.errors import InputError
from jles.models.config import DirectCharges
from jles.models.store import read_model, save_model
from jles.structures.distances import DistanceRange
from jles.train import loop
from jles.train.best_model import keep_best, write_model
from jles.train.checkpoints import Checkpoints
from jles.train.config import TrainConfig
from jles.train.directory import after_interrupt
from jles.train.log import MetricsLog
from jles.train.losses import LABELS, Errors, PerLabel
from jles.train.optimizer import learning_rate
from jles.train.prepare import Prepared, prepare
from jles.train.run_state import LoopState
from jles.train.step import Steps
from tests.support.messages import message_of
from tests.support.small_systems import (
    labelled,
    mixed_frames,
    rattled,
    small_backbone,
    small_config,
    small_model,
    training_values,
    write_frames,
)
from tests.support.training import WITHOUT_CHARGES, without_pictures


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
        "digests.yaml",
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
    assert stored.training["trained_elements"] == ["H", "O"]
    assert stored.training["labels"] == ["energy", "forces", "stress"]
    best = min(run.rows, key=lambda row: row["valid_loss"])
    assert stored.training["best_epoch"] == best["epoch"] + 1
    assert stored.metrics["valid"]["forces_rmse"] == best["valid_forces_rmse"]


def test_recorded_errors_are_those_of_the_saved_model(run):
    """Recomputed by predict, frame by frame, from the files alone; offsets included."""
    model = jles.load(run.out)
    recorded = read_model(run.out).metrics["valid"]
    energy, forces, stress = [], [], []

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
        # Two measurements may differ by rounding; training would change them far more.
        np.testing.assert_allclose(
            params["features"][name], prepared.params["features"][name], rtol=1e-6
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
        np.testing.assert_allclose(new, old, rtol=0.0, atol=1e-29)
    for name in ("energy_per_atom_rmse", "forces_rmse"):
        old, new = (stored.metrics["valid"][name] for stored in (before, after))
        np.testing.assert_allclose(new, old, rtol=1e-5)


@pytest.mark.usefixtures("no_pictures")
def test_checkpoints_may_come_before_the_first_validation(tmp_path):
    frames = [labelled(rattled(0, count=3))]
    files = (write_frames(tmp_path / f"{part}.xyz", frames) for part in ("train", "valid"))
    values = training_values(*files, model=WITHOUT_CHARGES, validate_every=3)
    out = loop.train(from_dict(TrainConfig, values, "x"), tmp_path / "out")
    rows = MetricsLog(out).rows()
    assert ["valid_loss" in row for row in rows] == [False, False, True]
    assert read_model(out).training["best_epoch"] == 3


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_the_run_which_can_go_on(tmp_path, monkeypatch, capsys):
    """In epoch 2 the rate explodes; the frames are named, the last checkpoint is whole."""
    frames = [labelled(rattled(n, count=4)) for n in range(3)]
    files = (write_frames(tmp_path / f"{part}.xyz", frames) for part in ("train", "valid"))
    values = training_values(*files, model=WITHOUT_CHARGES)
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
    assert "train.xyz, frame" in lines[0]
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
    ones = PerLabel(*[np.float32(1.0)] * len(LABELS))
    fine = Errors(ones, ones, ones)
    loop._check_validation(fine, 3)
    for bad in (math.nan, math.inf):
        spoilt = ones._replace(forces=np.float32(bad))
        with pytest.raises(InputError, match=r"epoch 4.*validation"):
            loop._check_validation(fine._replace(squares=spoilt), 3)


def test_a_model_remembers_what_its_labels_were_called(run):
    training = read_model(run.out).training
    assert training["label_keys"]["dipole"] == "my_dipole"
    assert training["label_keys"]["energy"] == "energy"
    assert training["labels"] == ["energy", "forces", "stress"]


def test_validation_that_is_not_finite_names_its_batch():
    ones = PerLabel(*[np.float32(1.0)] * len(LABELS))
    fine = Errors(ones, ones, ones)
    frames = [SimpleNamespace(source=f"v.xyz, frame {n}") for n in range(3)]
    batches = [
        SimpleNamespace(structure=n, labels=n, frames=np.array([n, -1])) for n in range(3)
    ]
    loader = SimpleNamespace(epoch=lambda order, start, share: batches)
    prepared = Prepared(None, {}, [], frames, None, loader)

    def steps(bad):
        def evaluate(params, n, labels):
            spoilt = fine._replace(squares=ones._replace(forces=np.float32(math.nan)))
            return spoilt if n == bad else fine

        return Steps(None, None, evaluate)

    assert loop._validate(steps(None), {}, prepared, 4).squares.forces == 3.0
    message = message_of(loop._validate, steps(1), {}, prepared, 4)
    assert "epoch 5" in message
    assert "batch of v.xyz, frame 1;" in message


@pytest.mark.long
def test_a_run_that_stops_leaves_its_best_model(run, tmp_path, monkeypatch):
    """The learning rate explodes in epoch 3; epochs 1 and 2 are those of the other run."""
    without_pictures(monkeypatch)
    rate_of = loop.learning_rate

    def explode(optimizer, step, epoch, *rest):
        return 1e30 if epoch == 2 else rate_of(optimizer, step, epoch, *rest)

    monkeypatch.setattr(loop, "learning_rate", explode)
    out = tmp_path / "out"
    message = message_of(loop.train, from_dict(TrainConfig, run.values, "x"), out)
    place = out / "best_before_stop"
    assert str(place) in message
    rows = MetricsLog(out).rows()
    assert rows == MetricsLog(run.out).rows()[:2]
    best = min(rows, key=lambda row: row["valid_loss"])
    assert f"(epoch {best['epoch'] + 1})" in message
    stored = read_model(place)
    assert stored.metrics["valid"]["forces_rmse"] == best["valid_forces_rmse"]
    assert all(np.isfinite(leaf).all() for leaf in stored.params["backbone"].values())
    values = override(run.values, [f"model={{start_from: {place}}}"])
    assert prepare(from_dict(TrainConfig, values, "x")).potential.config == stored.config


def test_ctrl_c_leaves_the_best_model_and_the_checkpoints(tmp_path, monkeypatch):
    """Three epochs, the second of which is the best."""
    frames = write_frames(tmp_path / "train.xyz", mixed_frames(2))
    config = from_dict(TrainConfig, training_values(frames, frames, epochs=9), "x")
    potential, params = small_model(small_config())
    loader = SimpleNamespace(
        distance_range=lambda: DistanceRange(np.zeros((9, 9)), 0.0),
        average_neighbors=lambda: 5.0,
    )
    known = read_frames(frames)
    prepared = Prepared(potential, params, known, known, loader, loader)

    def advance(config, prepared, steps, run, counters, epoch, files):
        if epoch == 3:
            raise KeyboardInterrupt
        row = {"epoch": epoch, "train_loss": 1.0, "valid_forces_rmse": 0.1 * (epoch + 1)}
        return run, loop.Counters(epoch + 1, epoch + 1, 0.5, min(epoch, 1)), row

    monkeypatch.setattr(loop, "_advance", advance)
    out = tmp_path / "out"
    run, counters = LoopState({}, params, {}), loop.Counters(0, 0, math.inf, -1)
    nowhere = tmp_path / "not validated"
    assert keep_best(config, nowhere, prepared, run, counters, MetricsLog(nowhere)) == ""
    assert not nowhere.exists()
    with loop._files(config, out, False) as files, pytest.raises(KeyboardInterrupt) as caught:
        loop._epochs(config, prepared, Steps(None, max, max), run, counters, files)
    place = out / "best_before_stop"
    assert str(caught.value) == f"; the best model so far (epoch 2) is in {place}"
    stored = read_model(place)
    assert stored.metrics["valid"] == {"forces_rmse": 0.2}
    jax.tree.map(np.testing.assert_array_equal, stored.params, params)
    assert after_interrupt(out) == "; continue with --resume"
    with Checkpoints(out / "checkpoints") as kept:
        assert (kept.newest("last"), kept.newest("best")) == (3, 2)
    without_pictures(monkeypatch)
    finished = loop.Counters(9, 9, 0.5, 1)
    for kept_by_hand in (True, False):
        write_model(config, place, prepared, run, counters, MetricsLog(out))
        if kept_by_hand:
            (place / "notes.txt").touch()
        loop._finish(config, out, prepared, run, finished, MetricsLog(out))
        assert read_model(out).metrics == stored.metrics
        assert list(place.glob("*")) == [place / "notes.txt"] * kept_by_hand
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.long
def test_fine_tuning_on_born_charges_alone(tmp_path, monkeypatch):
    """From a stored model and frames without energies: one loss, one error, and it falls.

    Charges can learn to vanish, so that labels of zero can be met.
    """
    atoms = [rattled(n, count=3, pbc=False) for n in range(3)]
    for one in atoms:
        one.arrays["bec"] = np.zeros((3, 9))
    files = (write_frames(tmp_path / f"{part}.xyz", atoms) for part in ("train", "valid"))
    config = small_config(
        backbone=small_backbone(l_max=0, body_order=1),
        charges=DirectCharges(hidden=(), total="shift", scale=5.0),
        element_energies={"H": -1.0, "O": -2.0},
    )
    potential, params = small_model(config, dtype=np.float32)
    save_model(tmp_path / "published", config, params, {}, {})
    values = training_values(
        *files,
        model={"start_from": str(tmp_path / "published")},
        loss={"born_charges": 1.0, "energy": 0, "forces": 0},
        epochs=12,
        batch_size=3,
        optimizer={"learning_rate": 0.1, "ema": 0.0},
    )
    without_pictures(monkeypatch)
    out = loop.train(from_dict(TrainConfig, values, "x"), tmp_path / "tuned")
    rows = [
        json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    expected = {"loss", "born_charges_rmse"}
    for part in ("train", "valid"):
        names = {key.removeprefix(f"{part}_") for key in rows[0] if key.startswith(part)}
        assert names == expected
    first, last = rows[0]["valid_born_charges_rmse"], rows[-1]["valid_born_charges_rmse"]
    assert last < 0.5 * first
    np.testing.assert_allclose(rows[-1]["valid_loss"], last**2, rtol=1e-5)
    stored = read_model(out)
    assert stored.config == read_model(tmp_path / "published").config
    assert stored.training["labels"] == ["born_charges"]
