"""A run that is stopped in any way and resumed ends as an uninterrupted run."""

import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.small_systems import (
    TINY_MODEL,
    labelled,
    rattled,
    training_values,
    write_frames,
)

SAME = ("metrics.csv", "metrics.jsonl", "params.safetensors", "metrics.json", "config.yaml")

# Runs `jles` with a trap at one place of one epoch: argv is place, epoch, arguments.
_TRAP = """
import os, resource, signal, sys
import jles.train.loop
from jles.cli.main import main
from jles.data.loader import Loader
from jles.train.checkpoints import Checkpoints

place, at = sys.argv[1], int(sys.argv[2])
epoch_of, save = Loader.epoch, Checkpoints.save

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def epoch(self, order=None, **options):
    for n, batch in enumerate(epoch_of(self, order, **options)):
        if place == "kill mid-epoch" and order is not None and order[1] == at and n == 1:
            die()
        yield batch

def save_tree(self, name, step, tree, host):
    if place == "kill between checkpoints" and name == "best" and step == at + 1:
        die()
    if place == "full disk at checkpoint" and name == "last" and step == at + 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    save(self, name, step, tree, host)

Loader.epoch, Checkpoints.save = epoch, save_tree
jles.train.loop.learning_curve = jles.train.loop.validation_pictures = lambda *_: None
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def run_jles(tmp_path):
    """Runs `jles` in a process of its own, without pictures (slow) unless `real`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # A program on a full disk would leave broken entries in a shared cache of compilations.
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)

    def run(*arguments, trap=("nowhere", 0), real=False):
        program = ["-m", "jles"] if real else ["-c", _TRAP, *map(str, trap)]
        return subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def training_file(folder, **changes):
    crystals = [labelled(rattled(n, count=3)) for n in range(6)]
    values = training_values(
        write_frames(folder / "train.xyz", crystals[:5]),
        write_frames(folder / "valid.xyz", crystals[5:]),
        epochs=4,
        loss={"energy": {0: 1.0, 2: 4.0}, "forces": 1.0},
        **changes,
    )
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def assert_same(left, right):
    for name in SAME:
        assert (left / name).read_bytes() == (right / name).read_bytes(), name


@pytest.mark.long
def test_killed_and_full_disks_leave_no_trace_in_the_result(run_jles, tmp_path):
    """One run, stopped before any checkpoint, while one is written and between two of them."""
    optimizer = {
        "learning_rate": 0.005,
        "schedule": "plateau",
        "patience": 1,
        "ema": 0.7,
        "warmup_steps": 4,
        "name": "muon",
    }
    # The hidden layers have a matrix for Muon.
    model = TINY_MODEL | {"charges": None, "energy": {"hidden": [8, 8]}}
    config = training_file(tmp_path, optimizer=optimizer, model=model)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run_jles("train", config, "--out", whole).returncode == 0
    stops = (
        ("kill mid-epoch", 0),
        ("full disk at checkpoint", 1),
        ("kill between checkpoints", 2),
    )
    for n, (place, epoch) in enumerate(stops):
        resume = ["--resume"] if n else []
        result = run_jles("train", config, "--out", out, *resume, trap=(place, epoch))
        if place.startswith("kill"):
            assert result.returncode == -signal.SIGKILL, result.stderr
        else:
            assert result.returncode == 2, result.stderr
            *progress, line = result.stderr.splitlines()
            assert all(text.startswith(("epoch ", "compiling: ")) for text in progress)
            assert line.startswith(f"jles: error: {out}")
            assert "--resume" in line
        assert not (out / "params.safetensors").exists()
    result = run_jles("train", config, "--out", out, "--resume", real=True)
    assert result.returncode == 0, result.stderr
    assert_same(out, whole)
    assert (out / "parity.png").is_file()
    rows = (whole / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == list(range(4))


@pytest.mark.long
def test_float64_survives_a_kill_bit_for_bit(run_jles, tmp_path):
    """In a process where float64 is off until the run switches it on."""
    config = training_file(tmp_path, dtype="float64")
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run_jles("train", config, "--out", whole).returncode == 0
    stopped = run_jles("train", config, "--out", out, trap=("kill mid-epoch", 2))
    assert stopped.returncode == -signal.SIGKILL
    assert run_jles("train", config, "--out", out, "--resume").returncode == 0
    assert_same(out, whole)
    from safetensors.numpy import load_file

    arrays = load_file(whole / "params.safetensors").values()
    assert {array.dtype.name for array in arrays} == {"float64"}
