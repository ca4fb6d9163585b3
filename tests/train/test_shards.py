"""Training on shards: the metrics of frames in memory, and a run that is stopped within one."""

import json

import numpy as np
import pytest

from jles.config import from_dict
from jles.data.frames import LabelKeys
from jles.data.shards.build import build_shards
from jles.data.stream import StreamLoader
from jles.models.store import read_model
from jles.train import loop
from jles.train.checkpoints import Checkpoints
from jles.train.config import DataConfig, TrainConfig
from jles.train.losses import LABELS, Errors, PerLabel
from jles.train.run_state import (
    Counters,
    LoopState,
    Within,
    _read_counters,
    restore,
    save_after_epoch,
    save_within,
)
from jles.train.training_frames import load_frames
from tests.support.messages import message_of
from tests.support.small_systems import (
    labelled,
    mixed_frames,
    rattled,
    training_values,
    write_frames,
)
from tests.support.training import WITHOUT_CHARGES


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A file of crystals and clusters, and its shards."""
    folder = tmp_path_factory.mktemp("shards")
    file = write_frames(folder / "train.xyz", mixed_frames(12))
    keys = LabelKeys(dipole="my_dipole")
    build_shards([file], folder / "shards", keys, shard_bytes=1500)
    return file, str(folder / "shards")


def config(train, **changes):
    values = training_values(
        train,
        dtype="float64",
        epochs=2,
        model=WITHOUT_CHARGES,
        batch_atoms=8,
        checkpoint_steps=1,
    )
    return from_dict(TrainConfig, values | changes, "train.yaml")


def rows(out):
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


class Stopped(Exception):
    pass


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures")
def test_metrics_are_those_of_memory_and_a_stopped_epoch_goes_on(places, tmp_path, monkeypatch):
    """Bit for bit after the stop; to rounding between memory and shards. With Huber's loss."""
    file, shards = places
    memory, whole, stopped = (tmp_path / name for name in ("memory", "whole", "stopped"))
    loss = {"energy": 1.0, "forces": 1.0, "huber": {"energy": 1e-3, "forces": 1e-3}}
    loop.train(config(file, loss=loss), memory)
    loop.train(config(shards, loss=loss), whole)
    for row in rows(memory):
        for part in ("train", "valid"):
            errors = row[f"{part}_energy_per_atom_rmse"], row[f"{part}_forces_rmse"]
            assert 0.0 < row[f"{part}_loss"] < 0.5 * sum(np.square(errors))
    for one, other in zip(rows(memory), rows(whole), strict=True):
        assert other == pytest.approx(one, rel=1e-8)
    epoch_of = StreamLoader.epoch

    def epoch(self, order=None, **options):
        for n, batch in enumerate(epoch_of(self, order, **options)):
            if order is not None and order[1] == 1 and n == 2:
                raise Stopped
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(StreamLoader, "epoch", epoch)
        with pytest.raises(Stopped):
            loop.train(config(shards, loss=loss), stopped)
    assert len(rows(stopped)) == 1
    starts = []

    def watched(self, order=None, start=0, **options):
        starts.append(start)
        return epoch_of(self, order, start=start, **options)

    monkeypatch.setattr(StreamLoader, "epoch", watched)
    loop.train(config(shards, loss=loss), stopped, resume=True)
    assert 2 in starts
    assert rows(stopped) == rows(whole)
    record = [read_model(out).training for out in (whole, stopped)]
    assert record[0] == record[1]
    assert record[0]["frames"] == 11
    assert record[0]["label_keys"]["dipole"] == "my_dipole"


def test_an_epoch_of_other_batches_is_not_continued(tmp_path):
    """Batches of other lengths hold other frames: some would be lost, others come twice."""
    run = LoopState({"w": np.ones(2)}, {"w": np.zeros(2)}, ())
    counters = Counters(3, 17, 0.5, 2, Within(2, 0.25))
    with Checkpoints(tmp_path) as checkpoints:
        save_within(checkpoints, run, counters, (4, 8))
        found, now = restore(checkpoints, run, (4, 8))
        assert now == counters
        np.testing.assert_array_equal(found.state["w"], run.state["w"])
        line = message_of(restore, checkpoints, run, (6, 8))
        assert "within epoch 4" in line
        assert "held 4, 8 structures" in line
        save_after_epoch(checkpoints, run, Counters(4, 18, 0.5, -1))
        assert restore(checkpoints, run, (6, 8))[1].epoch == 4


def test_an_epoch_of_a_version_without_huber_is_continued():
    """Its loss was that of the squared errors."""
    squares, counts = ([value + n for n in range(len(LABELS))] for value in (0.5, 7.0))
    host = {"epoch": 3, "step": 17, "best_loss": "0.5", "best_epoch": 2}
    counters, _ = _read_counters(host | {"within": [2, 0.25, squares, counts]})
    errors = Errors(PerLabel(*squares), PerLabel(*counts), PerLabel(*squares))
    assert counters.within == Within(2, 0.25, errors)


def test_shards_stand_alone_and_have_their_labels(places, tmp_path):
    file, shards = places
    line = message_of(load_frames, DataConfig([shards, file]), ())
    assert "data.train" in line
    assert "must stand alone" in line
    line = message_of(load_frames, DataConfig(shards, shards), ("dipole",))
    assert "none of the 12 training frames has the label dipole" in line
    assert "energy, forces" in line
    other = from_dict(DataConfig, {"train": shards, "labels": {"energy": "E"}}, "x")
    line = message_of(load_frames, other, ())
    assert "data.labels.energy is 'E'" in line
    train, valid = load_frames(DataConfig(shards, file, limit=5), ("energy",))
    assert (len(train), len(valid)) == (5, 12)


def test_a_build_with_other_names_is_trained_without_them(tmp_path):
    atoms = labelled(rattled(0, count=3), ("forces",))
    atoms.info["REF"] = -1.0
    file = write_frames(tmp_path / "a.xyz", [atoms])
    build_shards([file], tmp_path / "s", LabelKeys(energy="REF"))
    train, _ = load_frames(DataConfig(str(tmp_path / "s"), str(tmp_path / "s")), ("energy",))
    assert train[0].labels["energy"] == -1.0
