"""Training on several devices and in several processes: the same metrics, and its mistakes."""

import json
import os
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
import yaml

from jles.config import from_dict
from jles.data.frames import digests
from jles.data.loader import Share
from jles.data.shards.build import build_shards
from jles.local_devices import LocalDevices
from jles.train.config import TrainConfig
from jles.train.directory import what_to_train
from jles.train.parallel import _does_not_divide, choose_devices
from jles.train.processes import check_same, from_first, together
from tests.support.messages import message_of
from tests.support.paths import ROOT
from tests.support.small_systems import (
    labelled,
    mixed_frames,
    rattled,
    training_values,
    write_frames,
)
from tests.support.training import WITHOUT_CHARGES, frames_of, loader_of

ROUNDING = 1e-9
"""Relative; sums over structures are added up in another order, over a few epochs."""


def test_shares_of_processes_make_up_the_batch(tmp_path):
    """Also of an epoch with fillers, and of fewer frames than devices."""
    for count, batch_size in ((7, 4), (2, 8)):
        loader = loader_of(frames_of(mixed_frames(count), tmp_path), batch_size, parts=4)
        shares = [Share(0, 1, 4), Share(1, 4, 4)]
        parts = [loader.epoch((0, 1), share=share) for share in shares]
        for whole, *own in zip(loader.epoch((0, 1)), *parts, strict=True):
            assert len(whole.frames) % 4 == 0
            for part in own:
                np.testing.assert_array_equal(part.frames, whole.frames)
            pieces = [(part.structure, part.labels) for part in own]
            joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *pieces)
            both = joined, (whole.structure, whole.labels)
            for one, other in zip(*map(jax.tree.leaves, both), strict=True):
                np.testing.assert_array_equal(one, other)


def test_digests_tell_files_labels_and_order_apart(tmp_path):
    frames = frames_of([labelled(rattled(n, count=3)) for n in range(3)], tmp_path)
    (name,) = digests(frames)
    assert name == str(tmp_path / "frames.xyz")
    found = [digests(frames), digests(frames[::-1]), digests(frames[:2])]
    unlabelled = frames_of([rattled(n, count=3) for n in range(3)], tmp_path)
    found.append(digests(unlabelled))
    assert len({one[name] for one in found}) == len(found)
    assert digests(frames_of([rattled(n, count=3) for n in range(3)], tmp_path)) == found[-1]


def test_devices_that_cannot_share_a_batch_are_refused():
    have = len(jax.devices())
    line = message_of(choose_devices, LocalDevices(devices=have + 3), 8)
    assert f"parallel.devices: {have + 3} asked for" in line
    assert f"has {have} (" in line
    line = _does_not_divide(12, 8, 1)
    assert "batch_size: 12" in line
    assert "take 8 or 16, or 2, 3, 4, 6 devices" in line
    line = _does_not_divide(12, 8, 2)
    assert "in 2 parts each (accumulate); take 16, or 1, 2, 3, 6 devices" in line
    line = message_of(choose_devices, None, 4, 3)
    assert "4 structures cannot be cut into 3 equal parts (accumulate); take 3 or 6" in line


@pytest.mark.parametrize(
    ("parallel", "words"),
    [
        ({"kind": "manual", "processes": 2, "process": 0}, "missing key 'coordinator'"),
        ({"kind": "manual", "coordinator": "a:1", "process": 0}, "missing key 'processes'"),
        ({"kind": "manual", "coordinator": "a:1", "processes": 2}, "missing key 'process'"),
        (
            {"kind": "manual", "coordinator": "a", "processes": 2, "process": 0},
            "parallel.coordinator: expected HOST:PORT",
        ),
        (
            {"kind": "manual", "coordinator": "a:1", "processes": 2, "process": 2},
            "parallel.process: 2 of 2 processes",
        ),
        ({"devices": "many"}, "devices: got 'many'; choose one of 'all', a whole number"),
        ({"kind": "mpi"}, "choose one of 'local', 'cluster', 'manual'"),
    ],
)
def test_keys_of_processes_are_checked(parallel, words):
    values = training_values("train.xyz") | {"parallel": parallel}
    assert words in message_of(from_dict, TrainConfig, values, "train.yaml")


def test_a_resumed_run_may_have_other_devices():
    plain = from_dict(TrainConfig, training_values("train.xyz"), "x")
    shared = plain.replace(parallel=LocalDevices(devices=2))
    assert what_to_train(plain) == what_to_train(shared)
    assert what_to_train(plain) != what_to_train(shared.replace(seed=1))


def test_one_process_agrees_with_itself():
    with together():
        pass
    check_same({"anything": 1})
    assert from_first({"a": 1.5}) == {"a": 1.5}


# Runs `jles` and kills it in an epoch: argv is the epoch, arguments.
_TRAP = """
import os, signal, sys
import jles.train.loop
from jles.cli.main import main
from jles.data.loader import Loader
from jles.data.stream import StreamLoader

def trapped(epoch_of):
    def epoch(self, order=None, **options):
        for n, batch in enumerate(epoch_of(self, order, **options)):
            if order is not None and order[1] == int(sys.argv[1]) and n == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    return epoch

for loader in (Loader, StreamLoader):
    loader.epoch = trapped(loader.epoch)
jles.train.loop.learning_curve = jles.train.loop.validation_pictures = lambda *_: None
sys.exit(main(sys.argv[2:]))
"""
NEVER = -1


def training_file(folder, **changes):
    """Eleven crystals in batches of eight: the second batch of an epoch has five fillers."""
    crystals = [labelled(rattled(n, count=3)) for n in range(15)]
    values = training_values(
        write_frames(folder / "train.xyz", crystals[:11]),
        write_frames(folder / "valid.xyz", crystals[11:]),
        epochs=4,
        batch_size=8,
        dtype="float64",
        model=WITHOUT_CHARGES,
        optimizer={"learning_rate": 0.02, "ema": 0.7, "schedule": "plateau", "patience": 1},
        **changes,
    )
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def start(devices, *arguments, kill=NEVER, folder=None):
    """`jles train` in a process of its own, with a CPU that appears as several devices."""
    flags = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    )
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", _TRAP, str(kill), "train", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(*arguments, kills=(NEVER, NEVER), more=((), ()), folders=(None, None)):
    """Two processes on the loopback interface, with two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = ("parallel.kind=manual", f"parallel.coordinator=127.0.0.1:{port}")
    common += ("parallel.processes=2",)
    running = []
    for n in range(2):
        keys = (*common, f"parallel.process={n}", *more[n])
        running.append(start(2, *arguments, "--set", *keys, kill=kills[n], folder=folders[n]))
    ended = [process.communicate(timeout=500) for process in running]
    return [process.returncode for process in running], [errors for _, errors in ended]


def finish(process):
    """Asserts that a process ends well."""
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors


def metrics(out):
    """All numbers of a run, a row per epoch."""
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [list(json.loads(line).values()) for line in lines]


def error_line(errors):
    """The only line on stderr beside those of progress."""
    lines = errors.splitlines()
    (line,) = (one for one in lines if not one.startswith(("epoch ", "frame ", "compiling: ")))
    return line


@pytest.mark.long
def test_eight_devices_have_the_metrics_of_one(tmp_path):
    """Also when a run is stopped on two devices and goes on on eight."""
    config = training_file(tmp_path)
    one, eight, moved = (tmp_path / name for name in ("one", "eight", "moved"))
    on_all = ("--set", "parallel.devices=all")
    finish(start(1, config, "--out", one))
    finish(start(8, config, "--out", eight, *on_all))
    stopped = start(2, config, "--out", moved, *on_all, kill=2)
    stopped.communicate(timeout=500)
    assert stopped.returncode == -signal.SIGKILL
    finish(start(8, config, "--out", moved, *on_all, "--resume"))
    assert len(metrics(one)) == 4
    np.testing.assert_allclose(metrics(eight), metrics(one), rtol=ROUNDING)
    np.testing.assert_allclose(metrics(moved), metrics(one), rtol=ROUNDING)
    refused = start(8, config, "--out", tmp_path / "no", *on_all, "batch_size=12")
    assert "batch_size: 12 structures" in error_line(refused.communicate()[1])
    assert not (tmp_path / "no").exists()


@pytest.mark.long
def test_two_processes_have_the_metrics_of_one_and_go_on_after_a_kill(tmp_path):
    """Whichever is killed, the other ends with one line; process 0 alone writes."""
    config = training_file(tmp_path)
    one = tmp_path / "one"
    finish(start(1, config, "--out", one))
    for victim in range(2):
        out = tmp_path / f"killed-{victim}"
        kills = [2 if n == victim else NEVER for n in range(2)]
        statuses, errors = start_two(config, "--out", out, kills=kills)
        assert statuses[victim] == -signal.SIGKILL
        assert statuses[1 - victim] == 2, errors
        line = error_line(errors[1 - victim])
        assert line.startswith(f"jles: error: process {1 - victim} has lost another process")
        assert "--resume" in line
        statuses, errors = start_two(config, "--out", out, "--resume")
        assert statuses == [0, 0], errors
        assert errors[1] == ""
        np.testing.assert_allclose(metrics(out), metrics(one), rtol=ROUNDING)
        assert (out / "params.safetensors").is_file()
    statuses, errors = start_two(config, "--out", out)
    assert statuses == [2, 2]
    assert "already holds a run" in error_line(errors[0])
    assert errors[1] == ""


@pytest.mark.long
def test_two_processes_read_their_shares_of_shards(tmp_path):
    """The metrics of one process with the files in memory, after a kill within an epoch too."""
    config = training_file(tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start(1, config, "--out", one))
    for name in ("train", "valid"):
        build_shards([str(tmp_path / f"{name}.xyz")], tmp_path / name, shard_bytes=1500)
    keys = (f"data.train={tmp_path / 'train'}", f"data.valid={tmp_path / 'valid'}")
    more = ((*keys, "checkpoint_steps=1"),) * 2
    statuses, errors = start_two(config, "--out", two, more=more, kills=(NEVER, 2))
    assert statuses == [2, -signal.SIGKILL], errors
    assert len(metrics(two)) == 2
    statuses, errors = start_two(config, "--out", two, "--resume", more=more)
    assert statuses == [0, 0], errors
    np.testing.assert_allclose(metrics(two), metrics(one), rtol=ROUNDING)


@pytest.mark.long
def test_processes_with_other_keys_or_data_are_refused(tmp_path):
    """In one line of process 0, which names what differs; the other one is silent."""
    folders = [tmp_path / name for name in ("first", "second")]
    for n, folder in enumerate(folders):
        folder.mkdir()
        training_file(folder)
        if n == 1:
            frames = [labelled(rattled(99 + n, count=3)) for n in range(11)]
            write_frames(folder / "train.xyz", frames)
    files = ("data.train=train.xyz", "data.valid=valid.xyz")
    lacking = ("data.train=first.xyz", "data.valid=valid.xyz")
    (folders[0] / "first.xyz").write_bytes((folders[0] / "train.xyz").read_bytes())
    keys = {
        "seed is 5, in process 0 it is 0": ((*files, "seed=0"), (*files, "seed=5")),
        "data in train.xyz is '": (files, files),
        "process 1: data.train: first.xyz: ": (lacking, lacking),
        "train.yaml.batch_size: 6 structures cannot be shared equally by 4 devices; ": (
            (*files, "batch_size=6"),
            (*files, "batch_size=6"),
        ),
    }
    for words, more in keys.items():
        out = tmp_path / "out"
        statuses, errors = start_two("train.yaml", "--out", out, more=more, folders=folders)
        assert statuses == [2, 2]
        assert words in error_line(errors[0])
        assert errors[1] == ""
        assert not out.exists()
