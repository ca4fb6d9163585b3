"""Conductivity and self-diffusion of independent Brownian ions."""

import numpy as np
import pytest

from jles.analysis import run as run_on_disk
from jles.analysis.charge_flow import parse_formal, recorded_flow
from jles.analysis.estimators.conductivity import Conductivity, conductivity_unit
from jles.analysis.estimators.transport import (
    cumulative,
)
from jles.analysis.motion import self_diffusion
from jles.analysis.reports.conductivity import conductivity, diffusion_lag
from jles.analysis.run import open_run
from jles.cli.main import main
from jles.errors import InputError
from tests.support.processes import autoregressive, integral_of_ornstein_uhlenbeck, write_run

UNIT = conductivity_unit(1000.0, 800.0)
DECAY = 0.9


@pytest.fixture(scope="module")
def ions(tmp_path_factory):
    """Twelve independent Brownian ions; positions every fourth frame."""
    rng = np.random.default_rng(3)
    frames, atoms = 2**15, 12
    velocities = 0.01 * autoregressive(rng, frames, 3 * atoms, DECAY).reshape(frames, atoms, 3)
    flat = velocities.reshape(frames, -1)
    positions = cumulative(flat, 2.0).reshape(velocities.shape) + rng.uniform(
        0.0, 9.0, (atoms, 3)
    )
    numbers = np.array([1] * 8 + [8] * 4)
    charges = np.where(numbers == 1, 1.0, -2.0)
    current = np.einsum("i,fia->fa", charges, velocities)
    path = write_run(
        tmp_path_factory.mktemp("ions") / "run",
        {
            "current": {"current": current},
            "positions": {"positions": positions[::4], "interval": 4},
            "velocities": {"velocities": velocities},
        },
        timestep=2.0,
        numbers=numbers,
        cell=np.diag([8.0, 10.0, 10.0]),
        temperature=1000.0,
    )
    single = 0.01**2 * integral_of_ornstein_uhlenbeck(DECAY, 2.0)
    return path, single, 8 * 1.0 + 4 * 4.0


def test_independent_ions_obey_nernst_and_einstein(ions):
    path, diffusion, charge_squares = ions
    expected = 3.0 * charge_squares * diffusion * UNIT
    outcome = conductivity([open_run(path)], {"H": 1.0, "O": -2.0})
    values = [
        [float(word) for word in line.split(":")[1].replace("±", " ").split()[:2]]
        for line in outcome.lines
        if "±" in line
    ]
    *collective, _, _, nernst = values
    assert len(collective) == 4
    for value, error in collective:
        assert value == pytest.approx(expected, abs=4.0 * error)
        assert error < 0.2 * expected
    # Motion relative to the centre of mass of twelve equal masses: a twelfth of it is missing.
    assert nernst[0] == pytest.approx(expected * 11 / 12, abs=4.0 * nernst[1])
    assert set(outcome.columns["charges"]) == {"Born", "formal"}


def test_self_diffusion_is_the_integral_of_the_velocities(ions):
    path, diffusion, _ = ions
    found = self_diffusion([open_run(path)], 20)
    assert set(found) == {1, 8}
    # A twelfth of the motion of twelve equal masses is that of their centre.
    expected = diffusion * 11 / 12
    for value in found.values():
        assert value.value == pytest.approx(expected, abs=4.0 * value.error)
        assert value.error < 0.1 * expected


def test_few_atoms_at_a_time_give_the_same(ions, monkeypatch):
    runs, formal = [open_run(ions[0])], {"H": 1.0, "O": -2.0}
    at_once = conductivity(runs, formal).lines
    monkeypatch.setattr(run_on_disk, "_NUMBERS_AT_ONCE", 3 * 5 * 2**13)
    sizes = [len(runs[0].numbers[atoms]) for atoms, _ in runs[0].in_parts("positions")]
    assert sizes == [5, 5, 2]
    assert conductivity(runs, formal).lines == at_once


def test_displacements_of_a_longer_run_are_more_independent():
    """Their lag is a share of a short run, and a number of windows in a long one."""
    short = Conductivity(None, 40.0, True, None, None)
    lags = [diffusion_lag(short, frames, 4.0) for frames in (64, 400, 1000, 10**5, 10**6)]
    assert lags == [10, 20, 50, 100, 100]
    assert diffusion_lag(short._replace(is_silent=False), 10**5, 4.0) == 5000
    assert diffusion_lag(short._replace(window=400.0), 64, 4.0) == 16


def test_positions_alone_give_einstein_alone(ions, tmp_path):
    path, diffusion, charge_squares = ions
    positions = open_run(path).read("positions")
    alone = write_run(
        tmp_path / "run",
        {"positions": {"positions": positions.values, "interval": 4}},
        timestep=2.0,
        numbers=open_run(path).numbers,
        cell=np.diag([8.0, 10.0, 10.0]),
        temperature=1000.0,
    )
    outcome = conductivity([open_run(alone)], {"H": 1.0, "O": -2.0})
    assert not any("Green-Kubo:" in line for line in outcome.lines)
    assert np.isnan(outcome.columns["Green-Kubo integral (S/cm)"]).all()
    (line,) = [line for line in outcome.lines if "Einstein:" in line and "S/m" in line]
    value, error = (float(w) for w in line.split(":")[1].replace("±", " ").split()[:2])
    expected = 3.0 * charge_squares * diffusion * UNIT
    assert value == pytest.approx(expected, abs=4.0 * error)


def test_few_positions_leave_out_self_diffusion_alone(ions, tmp_path, rng):
    run = write_run(
        tmp_path / "run",
        {
            "current": {"current": rng.normal(size=(400, 3))},
            "positions": {"positions": np.zeros((20, 3, 3)), "interval": 20},
        },
        numbers=(1, 1, 8),
    )
    lines = conductivity([open_run(run)]).lines
    assert "self-diffusion: needs 64 frames of positions, there are 20" in lines
    assert any("Green-Kubo" in line for line in lines)


def test_scale_and_absence_of_the_recorded_flow(ions, tmp_path):
    run = open_run(ions[0])
    plain, doubled = (recorded_flow([run], scale) for scale in (1.0, 2.0))
    np.testing.assert_allclose(doubled.dipole.parts[0], 2.0 * plain.dipole.parts[0])
    empty = write_run(tmp_path / "empty", {})
    assert recorded_flow([open_run(empty)]) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--formal", "O=-2"), ("--formal", "H, O", "every element")),
        (("--formal", "O=-2", "H=2"), ("add up to", "neutral")),
        (("--formal", "O:-2"), ("O:-2", "ELEMENT=CHARGE")),
        (("--formal", "O=two"), ("two", "not a finite number")),
        (("--formal", "O=nan", "H=nan"), ("nan", "not a finite number")),
        (("--formal", "O=-2", "O=-1"), ("O is given twice",)),
        (("--window", "60000"), ("--window", "quarter of the run")),
        (("--window", "-1"), ("--window", "positive")),
    ],
)
def test_mistakes_are_one_line(ions, capsys, options, words):
    assert main(["analyse", "conductivity", str(ions[0]), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_a_polarization_is_not_called_born_charges(tmp_path, rng):
    path = write_run(
        tmp_path / "run", {"polarization": {"polarization": rng.normal(size=(400, 3))}}
    )
    outcome = conductivity([open_run(path)])
    assert any(line.startswith("recorded polarization, window") for line in outcome.lines)
    assert set(outcome.columns["charges"]) == {"recorded polarization"}


def test_a_current_that_stays_correlated_has_a_warning(tmp_path, rng):
    for decay in (0.5, 0.999):
        values = autoregressive(rng, 512, 3, decay)
        path = write_run(tmp_path / str(decay), {"current": {"current": values}})
        lines = conductivity([open_run(path)]).lines
        found = any(line.startswith("warning: the run is short: the cur") for line in lines)
        assert found == (decay > 0.9)


def test_a_run_in_a_field_is_refused(tmp_path, rng):
    records = {
        "current": {"current": rng.standard_normal((400, 3))},
        "thermo": {"field": np.tile([0.0, 0.0, 0.05], (400, 1))},
    }
    with pytest.raises(InputError, match="was run in a field; fluctuations of the current"):
        conductivity([open_run(write_run(tmp_path / "run", records))])


def test_nothing_recorded_says_what_to_record(tmp_path):
    empty = open_run(write_run(tmp_path / "empty", {}))
    with pytest.raises(InputError, match="record: {current: 1}"):
        conductivity([empty])
    with pytest.raises(InputError, match="--formal needs positions"):
        conductivity([empty], parse_formal(["H=0"]))
