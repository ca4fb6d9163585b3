"""`jles analyse`: files, options on the page, mistakes in one line."""

import h5py
import numpy as np
import pytest

from jles.cli.analyse import ANALYSES
from jles.cli.main import build_parser, main
from tests.support.paths import ROOT
from tests.support.processes import write_run


@pytest.fixture
def path(tmp_path, rng):
    current = {"current": rng.standard_normal((400, 3)), "interval": 2}
    return write_run(tmp_path / "run", {"current": current}, timestep=0.5, cell=7.0 * np.eye(3))


def complaint(capsys, *arguments):
    assert main(["analyse", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("jles: error: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("ir", "--resolution", "1e-3"), ("too short", "--resolution")),
        (("ir", "--skip", "0.35"), ("current", "after the first 350 fs", "at least 64")),
        (("ir", "--skip", "-1"), ("--skip", "negative")),
        (("ir", "--temperature", "0", "--resolution", "200"), ("--temperature", "positive")),
        (("ir", "--highest", "-1"), ("--highest -1: must be positive (cm^-1)",)),
        (("ir", "--highest", "5"), ("--highest 5 is below --resolution 20",)),
        (("ir", "--scale", "nan"), ("--scale", "nan")),
        (("conductivity", "--window", "inf"), ("--window", "positive (fs)")),
        (("vdos",), ("holds no velocities", "record: {velocities: 1}")),
    ],
)
def test_mistakes_are_one_line(path, capsys, options, words):
    what, *rest = options
    line = complaint(capsys, what, path, *rest)
    assert all(word in line for word in words), line
    assert not (path / "analysis").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--r-max", "1e6"), "--r-max 1e+06: a frame has"),
        (("--width", "1e-9"), "--width 1e-09: 5e+09 bins"),
        (("--width", "1e-4"), "take wider bins or a larger --every"),
    ],
)
def test_distributions_that_fill_the_memory_are_refused(tmp_path, rng, capsys, options, words):
    positions = {"positions": rng.uniform(0.0, 10.0, (1500, 4, 3))}
    numbers = (1, 3, 8, 11)
    path = write_run(tmp_path / "run", {"positions": positions}, numbers=numbers)
    assert words in complaint(capsys, "rdf", path, *options)


def test_what_is_no_run_is_named(tmp_path, path, capsys):
    assert "give the directory" in complaint(capsys, "ir", tmp_path / "absent")
    with h5py.File(path / "trajectory.h5", "a") as file:
        file["current/step"][3] = 7
    assert "not equally spaced" in complaint(capsys, "ir", path)
    with h5py.File(path / "trajectory.h5", "a") as file:
        file.attrs["version"] = 99
    assert "version 99" in complaint(capsys, "ir", path)
    (path / "trajectory.h5").write_text("no HDF5")
    assert "not a readable HDF5 file" in complaint(capsys, "ir", path)
    cluster = write_run(
        tmp_path / "cluster",
        {"current": {"current": np.ones((400, 3))}},
        pbc=(False, False, False),
    )
    line = complaint(capsys, "ir", cluster, "--resolution", "200")
    assert "pbc is F F F" in line


def test_a_run_given_twice_is_refused(path, capsys):
    line = complaint(capsys, "ir", path, f"{path}/../run", "--resolution", "200")
    assert "the same run as" in line
    assert "give every run once" in line


def test_a_command_writes_a_table_and_a_picture(path, capsys):
    assert main(["analyse", "ir", str(path), "--resolution", "200"]) == 0
    printed = capsys.readouterr().out
    assert "dP/dt" in printed
    folder = path / "analysis"
    assert sorted(p.name for p in folder.iterdir()) == ["ir.csv", "ir.png", "ir.txt"]
    table = np.genfromtxt(folder / "ir.csv", delimiter=",", names=True, deletechars="")
    assert table.dtype.names[0] == "wavenumber_(cm^-1)"
    assert np.all(np.diff(table["wavenumber_(cm^-1)"]) > 0.0)
    assert (folder / "ir.png").read_bytes().startswith(b"\x89PNG")


def test_every_analysis_and_option_stands_on_the_page():
    page = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    program = build_parser()
    (commands,) = (a.choices for a in program._actions if isinstance(a.choices, dict))
    (kinds,) = (a.choices for a in commands["analyse"]._actions if isinstance(a.choices, dict))
    assert set(kinds) == set(ANALYSES)
    for name, parser in kinds.items():
        assert f"| `{name}` |" in page
        for action in parser._actions:
            for option in {"--help", "-h"} ^ {"--help", "-h", *action.option_strings}:
                (row,) = [
                    line for line in page.splitlines() if line.startswith(f"| `{option}` |")
                ]
                _, _, where, default, _ = row.split("|")[:5]
                if " all" in where:
                    assert f"`{name}`" not in where
                else:
                    assert f"`{name}`" in where
                if isinstance(action.default, float):
                    assert f"{action.default:g}" in default
