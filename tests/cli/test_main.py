"""The program: its list of commands, exit status and error messages."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from jles.cli import info
from jles.cli.main import build_parser, main
from jles.cli.sums import sum_options
from jles.errors import InputError
from tests.support.commands import assert_one_line_error, run_program

TRAINING = "{data: {train: x.xyz}, epochs: 1, model: {backbone: {kind: cace, cutoff: 4.0}}}"

COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "predict",
    "md",
    "serve",
    "analyse",
    "import-torch",
    "info",
    "init-config",
    "distill",
    "data",
    "doctor",
    "completion",
)


def test_help_lists_every_command_and_ends_well(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    listed = capsys.readouterr().out
    assert all(f"\n    {command}" in listed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: jles {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["trian"],
            "jles: error: argument COMMAND: unknown value 'trian'; did you mean 'train",
        ),
        (
            ["info"],
            "jles info: error: the following arguments are required: MODEL; see jles",
        ),
        (["info", "m", "--colour"], "jles info: error: unrecognized arguments: --colour; see "),
        (
            ["predict", "m", "x", "-o", "y", "--born_charges"],
            "unrecognized arguments: --born_charges; did you mean '--born-charges'?",
        ),
        (
            ["evaluate", "m", "x", "--dtype", "half"],
            "argument --dtype: unknown value 'half'; choose one of float32, float64; see",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments, line, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert line in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (InputError("train.yaml: two\n  lines"), ["train.yaml: two lines"]),
        (OSError(errno.ENOSPC, "No space left on device", "big.bin"), ["big.bin", "No space"]),
        (PermissionError(errno.EACCES, "Permission denied", "secret"), ["secret", "denied"]),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(raised, words, monkeypatch, capsys):
    def fail(_):
        raise raised

    monkeypatch.setattr(info, "run", fail)
    assert main(["info", "model"]) == 2
    assert_one_line_error(capsys, *words)


def test_a_mistake_of_the_program_keeps_its_traceback(monkeypatch):
    def fail(_):
        raise KeyError("a bug")

    monkeypatch.setattr(info, "run", fail)
    with pytest.raises(KeyError):
        main(["info", "model"])


def test_an_interrupt_ends_with_status_130(monkeypatch, capsys):
    def fail(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", fail)
    assert main(["info", "model"]) == 130
    assert capsys.readouterr().err == "jles: interrupted\n"


@pytest.mark.parametrize("command", ["train", "md", "distill"])
def test_an_interrupt_names_resume_if_there_is_something_to_resume(
    command, tmp_path, monkeypatch, capsys
):
    arguments, function, trace = {
        "train": (["train.yaml"], "jles.train.loop.train", "checkpoints/within/12"),
        "md": (["model", "x.xyz", "md.yaml"], "jles.cli.md._run", "trajectory.h5"),
        "distill": (["model", "x.xyz"], "jles.distill.run.distill", "distill.yaml"),
    }[command]

    begins = iter([False, True])

    def fail(*_):
        if next(begins):
            Path("out", trace).parent.mkdir(parents=True, exist_ok=True)
            Path("out", trace).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(function, fail)
    monkeypatch.chdir(tmp_path)
    Path("train.yaml").write_text(TRAINING, encoding="utf-8")
    Path("md.yaml").write_text("{steps: 1, timestep: 1.0}", encoding="utf-8")
    assert main([command, *arguments, "--out", "out"]) == 130
    assert main([command, *arguments, "--out", "out"]) == 130
    assert capsys.readouterr().err.splitlines() == [
        "jles: interrupted",
        "jles: interrupted; continue with --resume",
    ]


def test_a_reader_that_leaves_is_no_error_message(model_path):
    reading, writing = os.pipe()
    os.close(reading)
    result = run_program(
        "-m", "jles", "info", model_path, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert result.stderr == ""
    assert result.returncode == 141


@pytest.mark.parametrize("command", ["predict", "evaluate", "md", "serve"])
def test_the_sum_can_be_chosen_on_the_command_line(command):
    """Either option alone leaves the other at the model's value."""
    inputs = {
        "predict": ["model", "in.xyz", "-o", "out.xyz"],
        "evaluate": ["model", "in.xyz"],
        "md": ["model", "in.xyz", "md.yaml"],
        "serve": ["--ipi", "model", "in.xyz"],
    }[command]

    def options(*more):
        return sum_options(build_parser().parse_args([command, *inputs, *more]))

    assert options() == {}
    assert options("--method", "mesh") == {"method": "mesh"}
    assert options("--accuracy", "1e-3") == {"accuracy": 1e-3}
    with pytest.raises(SystemExit):
        options("--method", "fast")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["import-torch", "m.pth", "-o", ""], "out"),
        (["info", ""], "model"),
        (["data", "check", "a.xyz", ""], "files"),
    ],
)
def test_empty_text_is_no_name(arguments, name, capsys):
    assert main(arguments) == 2
    assert_one_line_error(capsys, f"{name}: is an empty text")


def test_negative_numbers_may_have_exponents():
    found = build_parser().parse_args(
        ["lammps", "m", "in", "--field", "-1e-3", "-.5", "-2.E+1"]
    )
    assert found.field == ["-1e-3", "-.5", "-2.E+1"]


def test_the_completion_script_knows_the_commands(capsys):
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "init-config" in script
    assert "--no-self-test" in script
    assert "--born-charges" in script
