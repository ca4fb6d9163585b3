"""Running `jles` in this process or another, and checking its error messages."""

import os
import subprocess
import sys

from jles.cli.main import main
from tests.support.paths import ROOT


def run_program(*arguments, **options):
    """Python with these arguments, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    # A program on a full disk would leave broken entries in a shared cache of compilations.
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        check=False,
        text=True,
        **options,
    )


_SMALL_DISK = """
import resource, sys
from jles.cli.main import main
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
sys.exit(main(sys.argv[2:]))
"""


def run_on_small_disk(size, *arguments):
    """`jles` with these arguments in a process whose files hold at most `size` bytes."""
    return run_program("-c", _SMALL_DISK, size, *arguments, capture_output=True)


def assert_one_line_error(capsys, *words):
    """One line on stderr that contains the words."""
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("jles: error: ")
    assert all(word in line for word in words), line


def snapshot(folder):
    """Contents of all files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(folder, capsys, arguments, *words):
    """Asserts a one-line error, status 2 and unchanged files."""
    before = snapshot(folder)
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    # A slow machine shows progress ("frame 2 of 4") before the error.
    *progress, line = capsys.readouterr().err.splitlines()
    assert all(text.startswith(("frame ", "epoch ", "long range: ")) for text in progress)
    assert line.startswith("jles: error: ")
    for word in words:
        assert str(word) in line, line
    assert snapshot(folder) == before
    return line


def commands(folder):
    """Every command that reads structures from data.xyz."""
    out = folder / "out"
    return [
        ["train", folder / "train.yaml", "--out", out],
        ["predict", folder / "model", folder / "data.xyz", "-o", out / "p.extxyz"],
        ["evaluate", folder / "model", folder / "data.xyz", "--out", out],
    ]
