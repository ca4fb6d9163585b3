"""Where a run may start or resume."""

import shutil

import pytest

from jles.config import from_dict
from jles.errors import InputError
from jles.lock import only_writer
from jles.train import loop
from jles.train.checkpoints import Checkpoints
from jles.train.config import LossConfig, TrainConfig
from jles.train.directory import check_data, has_checkpoint
from jles.train.log import MetricsLog
from tests.support.commands import snapshot
from tests.support.messages import message_of


def test_a_place_that_is_taken_is_refused(run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.out.rglob("*")}
    with pytest.raises(InputError, match="already holds a run"):
        loop.train(run.config, run.out)
    changed = run.config.replace(loss=LossConfig(energy=7.0), seed=3)
    with pytest.raises(InputError, match=r"loss\.energy was.*now 7\.0.*train\.yaml as CONFIG"):
        loop.train(changed, run.out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in run.out.rglob("*")} == before
    with pytest.raises(InputError, match="nothing to resume"):
        loop.train(run.config, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.yaml").write_text("format: 1", encoding="utf-8")
    with pytest.raises(InputError, match="already holds a model"):
        loop.train(run.config, tmp_path / "model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my project", encoding="utf-8")
    with pytest.raises(InputError, match=r"has a README\.md, which would be replaced"):
        loop.train(run.config, tmp_path / "mine")


def test_the_directory_of_a_live_run_is_left_untouched(run):
    with only_writer(run.out):
        before = snapshot(run.out)
        for resume in (False, True):
            message = message_of(loop.train, run.config, run.out, resume=resume)
            assert "is writing into it" in message
        assert snapshot(run.out) == before


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
        assert "metrics of 8 epochs" in message
        assert (out / "metrics.csv").read_bytes() == metrics
        if gone == "config.yaml":
            (out / gone).unlink()
        elif gone:
            shutil.rmtree(out / gone)


def test_a_run_is_not_resumed_with_other_data(run, tmp_path, monkeypatch):
    out, file = copy_run(run, tmp_path), str(run.folder / "valid.xyz")
    before = snapshot(out)
    with monkeypatch.context() as patch:
        changed = loop.digests_of
        patch.setattr(loop, "digests_of", lambda *sets: changed(*sets) | {file: "other"})
        message = message_of(loop.train, run.config, out, resume=True)
    assert message.startswith(f"{file}: --resume with other data than {out} began with")
    (out / "metrics.jsonl").unlink()
    message = message_of(loop.train, run.config, out, resume=True)
    assert f"{out / 'metrics.jsonl'}: has no row of epoch" in message
    del before[out / "metrics.jsonl"]
    assert snapshot(out) == before


def test_only_runs_with_digests_are_compared(tmp_path):
    check_data(tmp_path, {"a.xyz": "1"}, resume=True)
    check_data(tmp_path, {"a.xyz": "1", "b.xyz": "2"}, resume=False)
    check_data(tmp_path, {"b.xyz": "2", "a.xyz": "1"}, resume=True)
    assert message_of(check_data, tmp_path, {"a.xyz": "1"}, resume=True).startswith("b.xyz: ")


def test_a_run_killed_before_its_first_checkpoint_may_begin_again(run, tmp_path):
    config = from_dict(TrainConfig, run.values, "x")
    log = MetricsLog(tmp_path)
    log.start(0)
    log.append({"epoch": 0, "step": 2})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert not has_checkpoint(config, tmp_path, log, checkpoints)
        log.append({"epoch": 1, "step": 4})
        assert "no checkpoint" in message_of(has_checkpoint, config, tmp_path, log, checkpoints)
