"""Checkpoints: damage, full disks, and when the best is written."""

import errno
import resource
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from jles.cli.main import main
from jles.train import loop
from jles.train.checkpoints import Checkpoints
from tests.support.marks import long
from tests.support.messages import message_of


def copy_run(run, folder):
    return shutil.copytree(run.out, folder / "copy")


@pytest.mark.parametrize(
    "damage",
    ["cut", long("removed"), long("host")],
)
def test_a_damaged_checkpoint_is_one_line(run, tmp_path, damage, capfd):
    out = copy_run(run, tmp_path)
    step = out / "checkpoints" / "last" / "8"
    if damage == "host":
        (step / "host" / "metadata").write_text('{"epoch": 8}', encoding="utf-8")
    else:
        for path in (step / "tree").rglob("*"):
            if path.is_file() and damage == "cut":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            elif path.is_file():
                path.unlink()
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(run.values), encoding="utf-8")
    assert main(["train", str(config), "--out", str(out), "--resume"]) == 2
    *sums, line = capfd.readouterr().err.splitlines()
    assert all(text.startswith("long range: ") for text in sums)
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


def test_a_full_disk_is_found_before_orbax_writes(tmp_path, capfd):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with Checkpoints(tmp_path) as checkpoints:
            message = message_of(checkpoints.save, "last", 1, {"a": np.ones(2)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "(File too large); free some space and --resume" in message
    assert "previous" not in message
    assert capfd.readouterr().err == ""


def test_the_best_parameters_are_written_when_they_have_changed(tmp_path):
    saved = []

    class Recorder(Checkpoints):
        def save(self, name, step, tree, host):
            saved.append((name, step))
            super().save(name, step, tree, host)

    tree = {"a": np.ones(2)}
    run = loop.LoopState({"a": np.zeros(2)}, tree, {"scale": np.ones(1)})
    for best_epochs in ((-1, 0, 0), (0, 3)):
        with Recorder(tmp_path) as checkpoints:
            for best in best_epochs:
                epoch = 1 + sum(name == "last" for name, _ in saved)
                loop.save_after_epoch(checkpoints, run, loop.Counters(epoch, 0, 1.0, best))
    assert [step for name, step in saved if name == "last"] == [1, 2, 3, 4, 5]
    # Also a run that goes on sees that the best is there already.
    assert [step for name, step in saved if name == "best"] == [1, 4]
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest("best") == 4
        assert checkpoints.newest("other") is None
        restored, host = checkpoints.restore("best", tree)
    np.testing.assert_array_equal(restored["a"], tree["a"])
    assert host["best_epoch"] == 3


@pytest.fixture
def ctrl_c():
    """Python's own handler; a shell starts a job in the background with SIGINT ignored."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_waits_for_the_end_of_a_checkpoint(tmp_path, monkeypatch, presses):
    """A second one does not wait."""
    import orbax.checkpoint as ocp

    save = ocp.CheckpointManager.save

    def interrupted(*arguments, **options):
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)
        return save(*arguments, **options)

    monkeypatch.setattr(ocp.CheckpointManager, "save", interrupted)
    with Checkpoints(tmp_path) as kept:
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            kept.save("last", 3, {"a": np.ones(2)}, {})
        assert signal.getsignal(signal.SIGINT) is before
        assert kept.newest("last") == (3 if presses == 1 else None)
