"""Fixtures of the training: one finished run, and frames with labels of the response."""

import json
from types import SimpleNamespace

import pytest

from jles.config import from_dict
from jles.data.frames import read_frames
from jles.train import loop
from jles.train.config import TrainConfig
from tests.support.small_systems import (
    labelled,
    mixed_frames,
    rattled,
    training_values,
    write_frames,
)
from tests.support.training import with_responses, without_pictures


@pytest.fixture
def no_pictures(monkeypatch):
    """Leaves out the pictures of a run."""
    without_pictures(monkeypatch)


@pytest.fixture(scope="session")
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
    values["data"]["labels"] = {"dipole": "my_dipole"}
    config = from_dict(TrainConfig, values, "train.yaml")
    out = loop.train(config, folder / "out")
    rows = [
        json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    return SimpleNamespace(folder=folder, config=config, out=out, rows=rows, values=values)


@pytest.fixture(scope="session")
def response_frames(tmp_path_factory):
    """A crystal, a cluster, a crystal without labels of responses, the first crystal again."""
    crystal = with_responses(labelled(rattled(0, count=4)))
    cluster = with_responses(rattled(1, count=3, pbc=False), seed=1)
    atoms = [crystal, cluster, labelled(rattled(2, count=2)), crystal]
    return read_frames(write_frames(tmp_path_factory.mktemp("data") / "frames.xyz", atoms))
