"""The lock of a directory: one writer, and no trace when it has ended or was killed."""

import os
import subprocess
import sys

import pytest

from jles.cli.main import main
from jles.errors import InputError
from jles.lock import LOCK, check_no_writer, only_writer
from tests.support.paths import ROOT

_HOLD = """
import sys, time
from jles.lock import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path):
    with only_writer(tmp_path):
        before = (tmp_path / LOCK).read_bytes()
        with (
            pytest.raises(
                InputError, match=rf"{tmp_path}: process {os.getpid()} on .* writing"
            ),
            only_writer(tmp_path),
        ):
            pass
        assert (tmp_path / LOCK).read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_a_process_that_is_killed(tmp_path):
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {other.pid} "), only_writer(tmp_path):
            pass
        other.kill()
        other.wait()
    assert (tmp_path / LOCK).exists()
    with only_writer(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text("utf-8")


def test_a_single_file_is_not_added_to_the_folder_of_a_live_run(tmp_path, capsys):
    check_no_writer(tmp_path)
    check_no_writer(tmp_path / "missing")
    with only_writer(tmp_path):
        with pytest.raises(InputError, match=f"process {os.getpid()} on .* is writing"):
            check_no_writer(tmp_path)
        for arguments in (
            ["predict", "model", "in.xyz", "-o", str(tmp_path / "out.extxyz")],
            ["init-config", "cace", "in.xyz", "-o", str(tmp_path / "train.yaml")],
        ):
            assert main(arguments) == 2
            assert "is writing into it" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    # A lock file that a killed process left behind is no lock.
    (tmp_path / LOCK).touch()
    check_no_writer(tmp_path)


def test_folders_that_stay_empty_are_removed(tmp_path):
    def fail(place):
        with only_writer(place):
            raise InputError("no run after all")

    with pytest.raises(InputError, match="after all"):
        fail(tmp_path / "runs" / "new")
    assert list(tmp_path.iterdir()) == []
    with only_writer(tmp_path / "runs"):
        (tmp_path / "runs" / "file").touch()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["file"]


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(InputError, match="cannot be written"), only_writer(place):
            pass
