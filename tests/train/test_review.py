"""Mistakes and accidents around a training: each ends in one line that helps."""

import errno
import json
import math
import shutil
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
from ase.io import read

from jles.cli import import_torch
from jles.cli.main import main
from jles.config import from_dict, override
from jles.errors import InputError
from jles.models.config import ModelConfig
from jles.models.store import read_model
from jles.train import loop
from jles.train.checkpoints import Checkpoints
from jles.train.config import DataConfig, TrainConfig
from jles.train.log import MetricsLog
from jles.train.losses import Errors
from jles.train.prepare import Prepared, load_frames, prepare
from jles.train.step import Steps
from tests.support.small_systems import (
    TINY_MODEL,
    labelled,
    rattled,
    small_backbone,
    training_values,
    write_frames,
)

WITHOUT_CHARGES = TINY_MODEL | {"charges": None}


def message_of(call, *arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- labels


def frames_file(path, *labels):
    """One frame for each set of labels."""
    return write_frames(
        path, [labelled(rattled(n, count=3), names) for n, names in enumerate(labels)]
    )


def test_a_label_that_no_file_has_is_missed_in_all_of_them(tmp_path):
    files = (frames_file(tmp_path / "a.xyz", ("energy",)), frames_file(tmp_path / "b.xyz", ()))
    message = message_of(load_frames, DataConfig(files, files), ("energy", "forces"))
    for words in ("a.xyz", "b.xyz", "'forces'", "keys present: energy"):
        assert words in message


def test_a_label_is_needed_in_the_frames_that_are_trained_on(tmp_path):
    """Those that `limit` and the split leave; elsewhere it does not help."""
    train = frames_file(tmp_path / "t.xyz", ("energy",), ("energy",), ("energy", "forces"))
    need = ("energy", "forces")
    assert len(load_frames(DataConfig(train, train), need)[0]) == 3
    message = message_of(load_frames, DataConfig(train, train, limit=2), need)
    assert "t.xyz" in message
    assert "none of the 2 frames" in message
    learns = {
        seed: load_frames(DataConfig(train, valid_fraction=0.3, split_seed=seed), ("energy",))[
            0
        ]
        for seed in range(6)
    }
    learns = {n: any("forces" in f.labels for f in frames) for n, frames in learns.items()}
    assert set(learns.values()) == {True, False}
    for seed, has_forces in learns.items():
        data = DataConfig(train, valid_fraction=0.3, split_seed=seed)
        if has_forces:
            assert len(load_frames(data, need)[0]) == 2
        else:
            assert "data.split_seed" in message_of(load_frames, data, need)


def test_validation_frames_may_lack_a_label_but_not_all(tmp_path):
    train = frames_file(tmp_path / "t.xyz", ("energy", "forces"))
    some, none = (
        frames_file(tmp_path / "v.xyz", ("energy",)),
        frames_file(tmp_path / "n.xyz", ()),
    )
    assert len(load_frames(DataConfig(train, some), ("energy", "forces"))[1]) == 1
    message = message_of(load_frames, DataConfig(train, none), ("energy", "forces"))
    assert "n.xyz" in message
    assert "energy or forces" in message


# --- going on from a model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three epochs that is over, all its files, and the training file."""
    folder = tmp_path_factory.mktemp("run")
    train = write_frames(folder / "t.xyz", [labelled(rattled(n, count=4)) for n in range(3)])
    values = training_values(train, train, model=WITHOUT_CHARGES)
    values["data"]["labels"] = {"dipole": "my_dipole"}
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        loop.train(from_dict(TrainConfig, values, "x"), out)
    return SimpleNamespace(values=values, out=out, train=train)


def without_pictures(patch):
    patch.setattr(loop, "learning_curve", lambda *_: None)
    patch.setattr(loop, "validation_pictures", lambda *_: None)


def test_a_model_remembers_what_its_labels_were_called(run):
    training = read_model(run.out).training
    assert training["label_keys"]["dipole"] == "my_dipole"
    assert training["label_keys"]["energy"] == "energy"
    assert training["labels"] == ["energy", "forces"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("charges", None), ("elements", ["H"]), ("energy", {"hidden": [3]})]
    + [("normalize_features", False), ("electrostatics", {"sigma": 2.0})],
)
def test_start_from_says_that_the_rest_would_be_ignored(key, value):
    values = training_values("t.xyz", model={"start_from": "runs/a", key: value})
    message = message_of(from_dict, TrainConfig, values, "train.yaml")
    assert message.startswith(f"train.yaml.model.{key}: ")
    assert "start_from" in message


def test_start_from_keeps_replaces_or_fits_the_element_energies(run, tmp_path):
    stored = read_model(run.out).config
    shifted = read(run.train, ":")
    for atoms in shifted:
        # Oxygen alone is shifted, by 5 eV an atom; hydrogen keeps its energy.
        moved = atoms.get_potential_energy() + 5.0 * np.sum(atoms.numbers == 8)
        atoms.info["energy"] = moved
        atoms.arrays["forces"] = atoms.get_forces()
        atoms.calc = None
    train = write_frames(tmp_path / "t.xyz", shifted)

    def energies(**model):
        values = training_values(train, train, model={"start_from": str(run.out)} | model)
        prepared = prepare(from_dict(TrainConfig, values, "x"))
        assert prepared.potential.config.backbone == stored.backbone
        return prepared.potential.config.element_energies

    assert energies() == stored.element_energies
    given = energies(element_energies={"O": -1.5})
    assert given == {"H": stored.element_energies["H"], "O": -1.5}
    fitted = energies(element_energies="fit")
    new = prepare(
        from_dict(TrainConfig, training_values(train, train, model=WITHOUT_CHARGES), "x")
    )
    assert fitted == pytest.approx(new.potential.config.element_energies)
    assert fitted != stored.element_energies
    values = {"start_from": str(run.out), "element_energies": {"C": 1.0}}
    assert "C not among" in message_of(energies, **values)


def test_a_model_is_not_overwritten_by_an_import(run, tmp_path):
    before = (run.out / "config.yaml").read_bytes()
    arguments = Namespace(checkpoint=str(tmp_path / "m.pth"), out=str(run.out), offsets=[])
    message = message_of(import_torch.run, arguments)
    assert str(run.out) in message
    assert "already holds a model" in message
    assert (run.out / "config.yaml").read_bytes() == before


# --- checkpoints


def copy_run(run, folder):
    return shutil.copytree(run.out, folder / "copy")


def test_a_run_without_its_checkpoint_does_not_begin_again(run, tmp_path):
    out = copy_run(run, tmp_path)
    config = from_dict(TrainConfig, run.values, "x")
    metrics = (out / "metrics.csv").read_bytes()
    shutil.rmtree(out / "checkpoints" / "last")
    for gone in ("checkpoints/best", "config.yaml", None):
        message = message_of(loop.train, config, out, resume=True)
        assert str(out / "checkpoints" / "last") in message
        assert "metrics of 3 epochs" in message
        assert (out / "metrics.csv").read_bytes() == metrics
        if gone == "config.yaml":
            (out / gone).unlink()
        elif gone:
            shutil.rmtree(out / gone)


def test_a_run_killed_before_its_first_checkpoint_may_begin_again(run, tmp_path):
    config = from_dict(TrainConfig, run.values, "x")
    log = MetricsLog(tmp_path)
    log.start(0)
    log.append({"epoch": 0, "step": 2})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert not loop._has_checkpoint(config, tmp_path, log, checkpoints)
        log.append({"epoch": 1, "step": 4})
        assert "no checkpoint" in message_of(
            loop._has_checkpoint, config, tmp_path, log, checkpoints
        )


@pytest.mark.parametrize(
    "damage",
    ["cut", *(pytest.param(name, marks=pytest.mark.long) for name in ("removed", "host"))],
)
def test_a_damaged_checkpoint_is_one_line(run, tmp_path, damage, capfd):
    out = copy_run(run, tmp_path)
    step = out / "checkpoints" / "last" / "3"
    if damage == "host":
        (step / "host" / "metadata").write_text('{"epoch": 3}', encoding="utf-8")
    else:
        for path in (step / "tree").rglob("*"):
            if path.is_file() and damage == "cut":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            elif path.is_file():
                path.unlink()
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps(run.values), encoding="utf-8")
    assert main(["train", str(config), "--out", str(out), "--resume"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"jles: error: {step}: damaged")
    assert "another --out" in line


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (ValueError("Error writing: [OS error 28: ENOSPC No space left on device]"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (KeyError("tree"), False),
    ],
)
def test_only_a_full_disk_is_called_full(error, full, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    checkpoints = Checkpoints(tmp_path)
    manager = SimpleNamespace(save=fail)
    monkeypatch.setattr(checkpoints, "_manager", lambda _: manager)
    message = message_of(checkpoints.save, "last", 1, {"a": np.ones(2)}, {})
    assert ("free some space" in message) == full
    assert "--resume" in message
    assert str(tmp_path / "last" / "1") in message


def test_the_best_parameters_are_written_when_they_have_changed(tmp_path):
    saved = []

    class Recorder(Checkpoints):
        def save(self, name, step, tree, host):
            saved.append((name, step))
            super().save(name, step, tree, host)

    tree = {"a": np.ones(2)}
    run = loop.RunState({"a": np.zeros(2)}, tree, {"scale": np.ones(1)})
    for best_epochs in ((-1, 0, 0), (0, 3)):
        with Recorder(tmp_path) as checkpoints:
            for best in best_epochs:
                epoch = 1 + sum(name == "last" for name, _ in saved)
                loop._save_checkpoints(checkpoints, run, loop.Progress(epoch, 0, 1.0, best))
    assert [step for name, step in saved if name == "last"] == [1, 2, 3, 4, 5]
    # Also a run that goes on sees that the best is there already.
    assert [step for name, step in saved if name == "best"] == [1, 4]
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest("best") == 4
        assert checkpoints.newest("other") is None
        restored, host = checkpoints.restore("best", tree)
    np.testing.assert_array_equal(restored["a"], tree["a"])
    assert host["best_epoch"] == 3


# --- what is not finite


def test_validation_that_is_not_finite_names_its_batch():
    fine = Errors(*[np.float32(1.0)] * 6)
    frames = [SimpleNamespace(source=f"v.xyz, frame {n}") for n in range(3)]
    batches = [
        SimpleNamespace(structure=n, labels=n, frames=np.array([n, -1])) for n in range(3)
    ]
    loader = SimpleNamespace(epoch=lambda _: batches)
    prepared = Prepared(None, {}, [], frames, None, loader)

    def steps(bad):
        def evaluate(params, n, labels):
            return fine._replace(forces=np.float32(math.nan)) if n == bad else fine

        return Steps(None, None, evaluate)

    assert loop._validate(steps(None), {}, prepared, 4).forces == 3.0
    message = message_of(loop._validate, steps(1), {}, prepared, 4)
    assert "epoch 5" in message
    assert "batch of v.xyz, frame 1;" in message


@pytest.mark.long
def test_a_run_that_stops_leaves_its_best_model(run, tmp_path, monkeypatch):
    """The rate explodes in the last epoch; those before it were like the other run's."""
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


def test_nothing_is_left_where_nothing_was_validated(tmp_path):
    progress = loop.Progress(0, 0, math.inf, -1)
    assert loop._keep_best(None, tmp_path, None, None, progress, None) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_element_energies_of_a_model_are_finite(bad):
    message = message_of(ModelConfig, ("H",), small_backbone(), element_energies={"H": bad})
    assert "element_energies: H" in message
