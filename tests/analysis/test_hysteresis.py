"""Loop of a quasi-static double well and order parameters, against closed forms."""

import numpy as np
import pytest

from jles.analysis.hysteresis import field_axis, full_halves, hysteresis_loop, turning_points
from jles.analysis.order import order_parameter, tetragonality
from jles.analysis.run import open_run
from jles.analysis.units import ENERGY_DENSITY, POLARIZATION
from jles.cli.main import main
from jles.errors import InputError
from tests.support.processes import write_run

A, B = 0.02, 4.0
"""Double well U = -A p^2/2 + B p^4/4 - E p; p in e/angstrom^2, E in V/angstrom."""
SPINODAL = np.sqrt(A / (3.0 * B))
COERCIVE = 2.0 / 3.0 * A * SPINODAL
REMANENT = np.sqrt(A / B)


def triangle(amplitude, cycles, points):
    """From zero up, down through zero, and back, `cycles` times."""
    corners = np.concatenate([[0.0], np.tile([1.0, -1.0], cycles), [0.0]])
    times = np.arange(len(corners)) * 2.0 - 1.0
    times[0] = 0.0
    times[-1] = times[-2] + 1.0
    grid = np.linspace(0.0, times[-1], points * 2 * cycles + 1)
    return amplitude * np.interp(grid, times, corners)


def quasi_static(field):
    """The minimum of U that is followed until it is lost, then the other one."""
    dipole, found = REMANENT, []
    for value in field:
        roots = np.roots([B, 0.0, -A, -value])
        roots = np.sort(roots[np.abs(roots.imag) < 1e-7].real)
        branch = roots[-1] if dipole > 0.0 else roots[0]
        is_lost = branch * dipole < 0.0 or abs(branch) < SPINODAL * 0.999
        dipole = (roots[0] if dipole > 0.0 else roots[-1]) if is_lost else branch
        found.append(dipole)
    return np.array(found)


def area_in_closed_form():
    """Energy lost in a cycle: twice that of one switching."""

    def well(p):
        return -0.5 * A * p**2 + 0.25 * B * p**4

    return 2.0 * (3.0 * COERCIVE * SPINODAL + well(SPINODAL) - well(2.0 * SPINODAL))


@pytest.fixture(scope="module")
def cycled():
    field = triangle(2.5 * COERCIVE, 3, 1000)
    return field, quasi_static(field)


def test_a_double_well_gives_its_coercive_field_remanence_and_area(cycled):
    field, dipole = cycled
    loop = hysteresis_loop(field, dipole + 0.3)
    step = np.max(np.abs(np.diff(field)))
    assert (len(loop.falling), len(loop.rising)) == (3, 2)
    np.testing.assert_allclose(loop.coercive_falling, -COERCIVE, atol=step)
    np.testing.assert_allclose(loop.coercive_rising, COERCIVE, atol=step)
    np.testing.assert_allclose(loop.remanent_falling, POLARIZATION * REMANENT, rtol=1e-3)
    np.testing.assert_allclose(loop.remanent_rising, -POLARIZATION * REMANENT, rtol=1e-3)
    expected = ENERGY_DENSITY * area_in_closed_form()
    np.testing.assert_allclose(loop.areas, expected, rtol=0.01)
    assert len(loop.areas) == 2


def test_noise_of_the_polarization_averages_over_cycles(cycled, rng):
    field, dipole = cycled
    noisy = dipole + 0.2 * REMANENT * rng.standard_normal(len(dipole))
    loop = hysteresis_loop(field, noisy)
    # A bin around zero holds about seven frames of each half; the offset that of five ends.
    spread = 0.2 * POLARIZATION * REMANENT * np.sqrt(1.0 / (7 * 3) + 1.0 / 5)
    assert np.mean(loop.remanent_falling) == pytest.approx(
        POLARIZATION * REMANENT, abs=4.0 * spread
    )
    step = 4.0 * np.max(np.abs(np.diff(field)))
    np.testing.assert_allclose(loop.coercive_falling, -COERCIVE, atol=step)


def test_an_imprint_shows_in_the_fields(cycled):
    field, dipole = cycled
    # The same loop driven about a field of its own.
    loop = hysteresis_loop(field + 0.2 * COERCIVE, dipole)
    assert np.mean(loop.coercive_rising) == pytest.approx(1.2 * COERCIVE, rel=0.01)
    assert np.mean(loop.coercive_falling) == pytest.approx(-0.8 * COERCIVE, rel=0.01)


def test_a_stepwise_field_turns_once_a_plateau():
    field = np.repeat(triangle(1.0, 2, 20), 5)
    smooth = triangle(1.0, 2, 20)
    assert len(turning_points(field)) == len(turning_points(smooth)) == 2 * 2 + 2
    assert len(full_halves(field)) == 3


def test_a_dielectric_without_a_loop_loses_nothing():
    field = triangle(0.1, 2, 200)
    loop = hysteresis_loop(field, 0.5 * field)
    np.testing.assert_allclose(loop.areas, 0.0, atol=1e-9)
    # The ends are means over bins, hundredths of the whole.
    np.testing.assert_allclose(loop.coercive_falling, 0.0, atol=2e-3 * 0.1)
    assert (
        np.isnan(hysteresis_loop(field, np.sin(9 * field) ** 2 + 1e3 * field**2).areas).sum()
        == 0
    )


def test_the_axis_is_the_line_of_the_field():
    steps = np.linspace(-1.0, 1.0, 30)[:, None]
    np.testing.assert_allclose(
        field_axis(steps * [0.0, -0.6, -0.8]), [0.0, 0.6, 0.8], atol=1e-12
    )
    with pytest.raises(InputError, match="zero throughout"):
        field_axis(0.0 * steps * np.ones(3))
    with pytest.raises(InputError, match="one direction"):
        field_axis(np.concatenate([steps * [1.0, 0.0, 0.0], steps * [0.0, 1.0, 0.0]]))


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
    (line,) = [
        line for line in printed.splitlines() if line.startswith("coercive field, rising")
    ]
    assert float(line.split(":")[1].split()[0]) == pytest.approx(COERCIVE, rel=0.01)
    assert float(line.split("(")[1].split()[0]) == pytest.approx(1e5 * COERCIVE, rel=0.01)
    table = np.genfromtxt(path / "analysis" / "hysteresis.csv", delimiter=",", skip_header=1)
    assert table.shape[1] == 6


def test_half_a_loop_is_refused(cycled, tmp_path, capsys):
    field, dipole = (values[: len(values) // 3] for values in cycled)
    path = run_in_field(tmp_path / "run", field, dipole, np.array([1.0, 0.0, 0.0]))
    assert main(["analyse", "hysteresis", str(path)]) == 2
    line = capsys.readouterr().err
    assert "no complete loop" in line
    assert str(path) in line


def test_order_follows_a_second_order_transition(tmp_path, rng):
    frames, critical = 4000, 700.0
    temperature = np.linspace(300.0, 1100.0, frames)
    order = np.sqrt(np.clip(1.0 - temperature / critical, 0.0, None))
    polar = np.stack([0.0 * order, 0.0 * order, order], axis=1)
    volume = 1000.0 * (1.0 + 0.06 * order)
    cells = np.stack([np.diag([10.0, 10.0, 10.0 * (1.0 + 0.06 * o)]) for o in order])
    reference = np.array([0.3, -0.2, 0.1])
    dipole = 0.05 * volume[:, None] * polar + reference
    run = write_run(
        tmp_path / "heating",
        {
            "thermo": {"temperature": temperature, "cell": cells},
            "polarization": {"polarization": dipole, "cell": cells},
        },
    )
    table = order_parameter([open_run(run)], 40, zero=tuple(reference)).columns
    expected = np.sqrt(np.clip(1.0 - table["temperature (K)"] / critical, 0.0, None))
    found = table["|P| (microC/cm^2)"] / (0.05 * POLARIZATION)
    np.testing.assert_allclose(found, expected, atol=0.03)
    np.testing.assert_allclose(table["c/a"], 1.0 + 0.06 * expected, atol=2e-3)
    assert np.all(np.diff(table["temperature (K)"]) > 0.0)


def test_fluctuations_of_a_cubic_cell_are_no_tetragonality(rng):
    edges = 4.0 + 0.02 * rng.standard_normal((4000, 3))
    cells = edges[:, :, None] * np.eye(3)
    # The longest of three means is 0.85 of their spread above; no more than that is left.
    assert abs(np.mean(tetragonality(cells)) - 1.0) < 5.0 * 0.005 / np.sqrt(4000)


def test_too_many_stretches_are_refused(tmp_path, capsys):
    values = {"polarization": {"polarization": np.zeros((100, 3))}}
    path = write_run(tmp_path / "run", values)
    assert main(["analyse", "order", str(path), "--stretches", "50"]) == 2
    assert "--stretches 25" in capsys.readouterr().err
