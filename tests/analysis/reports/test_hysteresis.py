"""Hysteresis of runs in a cycled field."""

import numpy as np
import pytest

from jles.analysis.reports.hysteresis import hysteresis
from jles.analysis.run import open_run
from jles.cli.main import main
from jles.errors import InputError
from tests.support.double_well import COERCIVE
from tests.support.processes import write_run


def run_in_field(path, field, dipole, axis, volume=1000.0):
    frames = len(field)
    cells = np.tile(10.0 * np.eye(3), (frames, 1, 1))
    records = {
        "thermo": {
            "temperature": np.full(frames, 300.0),
            "cell": cells,
            "field": field[:, None] * axis,
        },
        "polarization": {"polarization": volume * dipole[::2, None] * axis, "interval": 2},
    }
    return write_run(path, records)


def test_the_command_reads_field_and_polarization(cycled, tmp_path, capsys):
    field, dipole = cycled
    path = run_in_field(tmp_path / "run", field, dipole, np.array([0.0, 0.6, 0.8]))
    assert main(["analyse", "hysteresis", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "[0.0, 0.6, 0.8]" in printed
    assert "the run is short" not in printed
    (line,) = [
        line for line in printed.splitlines() if line.startswith("coercive field, rising")
    ]
    assert float(line.split(":")[1].split()[0]) == pytest.approx(COERCIVE, rel=0.01)
    assert float(line.split("(")[1].split()[0]) == pytest.approx(1e5 * COERCIVE, rel=0.01)
    table = np.genfromtxt(path / "analysis" / "hysteresis.csv", delimiter=",", skip_header=1)
    assert table.shape[1] == 6


def test_a_single_cycle_has_no_error(cycled, tmp_path, capsys):
    field, dipole = (values[: int(0.45 * len(values))] for values in cycled)
    path = run_in_field(tmp_path / "run", field, dipole, np.array([1.0, 0.0, 0.0]))
    assert main(["analyse", "hysteresis", str(path)]) == 0
    assert "warning: the run is short" in capsys.readouterr().out


def test_a_loop_in_a_moving_cell_is_the_same_on_every_branch(cycled, tmp_path):
    field, dipole = cycled
    axis, cells = np.array([0.0, 0.0, 1.0]), np.tile(10.0 * np.eye(3), (len(field), 1, 1))
    cells *= 1.0 + 0.02 * (dipole / np.abs(dipole).max())[:, None, None] ** 2
    tables = []
    for branch in (0.0, 7.0):
        reduced = 100.0 * dipole[:, None] * axis + branch
        polarization = {
            "polarization": np.einsum("fa,fab->fb", reduced, cells),
            "cell": cells,
        }
        temperature = np.full(len(field), 300.0)
        thermo = {"temperature": temperature, "cell": cells, "field": field[:, None] * axis}
        records = {"thermo": thermo, "polarization": polarization}
        run = open_run(write_run(tmp_path / f"{branch}", records))
        tables.append(hysteresis([run]).columns)
    for name, values in tables[0].items():
        np.testing.assert_allclose(tables[1][name], values, atol=1e-9)


def test_loops_along_other_directions_are_refused(cycled, tmp_path):
    field, dipole = cycled
    runs = [
        open_run(run_in_field(tmp_path / str(n), sign * field, sign * dipole, axis))
        for n, (sign, axis) in enumerate(
            ((1.0, np.eye(3)[0]), (-1.0, np.eye(3)[0]), (1.0, np.eye(3)[2]))
        )
    ]
    assert "along [1.0, 0.0, 0.0]" in hysteresis(runs[:2]).lines[0]
    with pytest.raises(InputError, match="2: the field is along .* of the first run along"):
        hysteresis(runs)


def test_half_a_loop_is_refused(cycled, tmp_path, capsys):
    field, dipole = (values[: len(values) // 3] for values in cycled)
    path = run_in_field(tmp_path / "run", field, dipole, np.array([1.0, 0.0, 0.0]))
    assert main(["analyse", "hysteresis", str(path)]) == 2
    line = capsys.readouterr().err
    assert "no complete loop" in line
    assert str(path) in line
