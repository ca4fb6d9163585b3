"""Polarization along a run: the current takes precedence over the recorded moment."""

from functools import partial

import numpy as np
import pytest

from jles.analysis.charge_flow import recorded_flow
from jles.analysis.moment import (
    agreement,
    at_steps,
    in_mean_cell,
    polarization_path,
    volumes,
)
from jles.analysis.reports.conductivity import conductivity
from jles.analysis.reports.dielectric import dielectric
from jles.analysis.reports.infrared import infrared
from jles.analysis.reports.order import order_parameter
from jles.analysis.run import Record, open_run
from jles.errors import InputError
from tests.support.processes import write_run

START = np.array([3.0, -1.0, 2.0])


@pytest.mark.parametrize(
    "report",
    [partial(infrared, resolution=800.0), conductivity, dielectric],
    ids=["ir", "conductivity", "dielectric"],
)
def test_a_crystal_without_a_current_has_a_warning(tmp_path, rng, report):
    """Its recorded polarization depends on the images of the atoms in the start."""
    values = rng.standard_normal((200, 3))
    records = {"polarization": {"polarization": values}}
    alone = open_run(write_run(tmp_path / "alone", records))
    both = open_run(write_run(tmp_path / "both", records | {"current": {"current": values}}))
    assert f"warning: {alone.path}: holds no current" in "\n".join(report([alone]).lines)
    assert "holds no current" not in "\n".join(report([both]).lines)


@pytest.fixture
def motion(rng):
    """Dipole and current of free oscillations, every fs."""
    times = np.arange(6000.0)[:, None]
    frequencies, phases = rng.uniform(0.02, 0.3, (20, 3)), rng.uniform(0.0, 7.0, (20, 3))
    dipole = sum(np.cos(w * times + p) for w, p in zip(frequencies, phases, strict=True))
    current = sum(-w * np.sin(w * times + p) for w, p in zip(frequencies, phases, strict=True))
    return dipole, current


ERROR = 20 * 2.0 * (0.3**2 / 12.0)
"""The trapezoidal rule takes (w dt)^2/12 off each of 20 oscillations, here and at the start."""


@pytest.fixture
def path(motion, tmp_path):
    """The recorded moment, every tenth step, has another size and jumps half-way."""
    dipole, current = motion
    moment = 0.8 * (dipole - dipole[0]) + START
    moment[3000:] += 10.0
    records = {
        "current": {"current": current},
        "polarization": {"polarization": moment[::10], "interval": 10},
    }
    return write_run(tmp_path / "run", records)


def test_the_current_goes_on_from_the_recorded_start(path, motion):
    dipole, _ = motion
    found = polarization_path(open_run(path))
    assert found.source == "current"
    expected = dipole - dipole[0] + START
    np.testing.assert_allclose(found.record.values, expected, atol=ERROR)
    recorded = polarization_path(open_run(path), "polarization")
    assert recorded.source == "polarization"
    assert len(recorded.record.values) == 600
    np.testing.assert_allclose(volumes(open_run(path), found.record), 1000.0)


@pytest.mark.parametrize("skip", [101.0, 105.0, 109.0, 110.0])
def test_the_path_without_its_start_passes_through_a_recorded_frame(path, motion, skip):
    dipole, _ = motion
    found = polarization_path(open_run(path, skip)).record
    assert found.steps[0] == skip
    recorded = 0.8 * (dipole[110] - dipole[0]) + START
    expected = dipole[int(skip) :] - dipole[110] + recorded
    np.testing.assert_allclose(found.values, expected, atol=ERROR)


@pytest.fixture
def breathing(motion, tmp_path):
    """Charges that move in a cell that changes; half a cycle is left out at the start."""
    reduced, rate = (0.1 * part for part in motion)
    times = np.arange(len(reduced))
    strain = 0.05 * np.sin(0.01 * times)[:, None, None] * (np.eye(3) + np.eye(3)[::-1])
    cells = 10.0 * (np.eye(3) + strain)
    polarization = np.einsum("fa,fab->fb", reduced + [3.0, -1.0, 2.0], cells)
    records = {
        "current": {"current": np.einsum("fa,fab->fb", rate, cells)},
        "polarization": {
            "polarization": polarization[::10],
            "cell": cells[::10],
            "interval": 10,
        },
        "thermo": {"cell": cells, "temperature": np.full(len(times), 300.0)},
    }
    return write_run(tmp_path / "breathing", records), polarization, reduced, cells


def test_the_polarization_moves_with_the_cell(breathing):
    place, polarization, reduced, cells = breathing
    run = open_run(place, skip=315.0)
    path = polarization_path(run).record
    np.testing.assert_allclose(path.values, polarization[315:], atol=1.1 * ERROR)
    assert float(agreement(run)[0].split("by ")[1].split()[0]) < 1.1 * ERROR
    still = in_mean_cell(run, path).values
    expected = (reduced[315:] - reduced[315:].mean(axis=0)) @ cells[315:].mean(axis=0)
    np.testing.assert_allclose(still - still.mean(axis=0), expected, atol=1.1 * ERROR)


def test_a_moment_that_is_not_the_integral_is_reported(path, motion, tmp_path):
    (line,) = agreement(open_run(path))
    apart = float(line.split("by ")[1].split()[0])
    assert apart > 0.5 * 5.0 * np.sqrt(3.0)
    dipole, current = motion
    same = write_run(
        tmp_path / "same",
        {"current": {"current": current}, "polarization": {"polarization": dipole}},
    )
    (line,) = agreement(open_run(same))
    assert float(line.split("by ")[1].split()[0]) < ERROR


def test_flow_and_order_take_the_current(path, motion):
    dipole, _ = motion
    flow = recorded_flow([open_run(path)])
    np.testing.assert_allclose(flow.dipole.parts[0], dipole - dipole[0], atol=ERROR)
    table = order_parameter([open_run(path)], 1).columns
    expected = np.mean(dipole - dipole[0] + START, axis=0) * 1.602176634
    found = [table[f"P{axis} (microC/cm^2)"].item() for axis in "xyz"]
    np.testing.assert_allclose(found, expected, atol=1.7 * ERROR)


def test_records_are_not_continued_beyond_their_interval():
    record = Record(np.arange(5.0), 10 * np.arange(5), 10.0)
    np.testing.assert_allclose(at_steps(record, np.array([3, 40, 49])), [0.3, 4.0, 4.0])
    with pytest.raises(InputError, match="cell: recorded in steps 0 to 40 only"):
        at_steps(record, np.array([3, 50]))
