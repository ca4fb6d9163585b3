"""Reading runs and writing results: what is asked for, and mistakes in one line."""

import h5py
import numpy as np
import pytest
from scipy import constants

from jles.analysis.conditions import conditions, mean_temperature, same_interval
from jles.analysis.outcome import table_text
from jles.analysis.run import open_run
from jles.analysis.units import (
    ATOMIC_MASS,
    BOLTZMANN,
    CONDUCTIVITY,
    DIFFUSION,
    ENERGY_DENSITY,
    PLANCK,
    POLARIZATION,
    SPEED_OF_LIGHT,
    WAVENUMBER,
)
from jles.cli.analyse import ANALYSES
from jles.cli.main import build_parser, main
from jles.errors import InputError
from tests.support.paths import ROOT
from tests.support.processes import write_run


@pytest.fixture
def path(tmp_path, rng):
    current = {"current": rng.standard_normal((400, 3)), "interval": 2}
    return write_run(tmp_path / "run", {"current": current}, timestep=0.5, cell=7.0 * np.eye(3))


def test_frames_come_with_their_times_and_the_start_is_left_out(path):
    whole, later = (open_run(path, skip).read("current") for skip in (0.0, 100.5))
    assert (whole.interval, whole.length) == (1.0, 399.0)
    np.testing.assert_array_equal(later.steps * 0.5, np.arange(101.0, 400.0))
    np.testing.assert_array_equal(later.values, whole.values[101:])


def test_a_run_killed_while_it_wrote_is_read_up_to_there(path):
    with h5py.File(path / "trajectory.h5", "a") as file:
        values = file["current/current"][:300]
        del file["current/current"]
        file["current/current"] = values
    assert len(open_run(path).read("current").steps) == 300


def test_temperature_and_volume_are_the_recorded_ones(path, tmp_path, rng):
    state = conditions([open_run(path)])
    assert state == pytest.approx((300.0, 343.0))
    masses = np.array([16.0, 1.0, 1.0])
    spread = np.sqrt(BOLTZMANN * 250.0 / (masses * ATOMIC_MASS))[:, None]
    velocities = spread * rng.standard_normal((2000, 3, 3))
    run = write_run(
        tmp_path / "other",
        {"velocities": {"velocities": velocities}},
        masses=masses,
        numbers=[1] * 3,
    )
    with h5py.File(run / "trajectory.h5", "a") as file:
        del file["thermo"]
    # Nine independent momenta, of which three are taken to be the centre of mass at rest.
    expected = 250.0 * 9.0 / 6.0
    assert mean_temperature(open_run(run)) == pytest.approx(
        expected, rel=4 * np.sqrt(2 / 18000)
    )


def test_runs_with_different_intervals_stay_apart(path):
    runs = [open_run(path)] * 2
    first = runs[0].read("current")
    assert same_interval([first, first], runs) == 1.0
    with pytest.raises(InputError, match="different intervals"):
        same_interval([first, first._replace(interval=2.0)], runs)


def test_tables_have_units_in_their_first_line_and_empty_cells_for_unknowns():
    text = table_text({"time (fs)": np.array([0.0, 0.5]), "error": np.array([np.nan, 1e-12])})
    assert text == "time (fs),error\n0,\n0.5,1e-12\n"


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
        (("vdos",), ("holds no velocities", "record: {velocities: 1}")),
    ],
)
def test_mistakes_are_one_line(path, capsys, options, words):
    what, *rest = options
    line = complaint(capsys, what, path, *rest)
    assert all(word in line for word in words), line
    assert not (path / "analysis").exists()


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


def test_constants_are_codata():
    mass = constants.atomic_mass * (constants.angstrom / constants.femto) ** 2 / constants.e
    boltzmann = constants.value("Boltzmann constant in eV/K")
    planck = constants.value("Planck constant in eV/Hz") / constants.femto
    light = constants.c * constants.femto / constants.angstrom
    found = (ATOMIC_MASS, BOLTZMANN, PLANCK, SPEED_OF_LIGHT, WAVENUMBER)
    assert found == pytest.approx((mass, boltzmann, planck, light, 1e8 / light), rel=2e-6)
    area, volume = constants.angstrom**2, constants.angstrom**3
    per_area = constants.e / area * constants.micro**-1 * constants.centi**2
    per_volume = constants.e / volume * constants.centi**3
    conducting = constants.e / (constants.angstrom * constants.femto)
    shown = (POLARIZATION, ENERGY_DENSITY, CONDUCTIVITY, DIFFUSION)
    diffusing = area / constants.femto / constants.centi**2
    assert shown == pytest.approx((per_area, per_volume, conducting, diffusing), rel=2e-6)
