"""Temperature, volume and interval of runs."""

import h5py
import numpy as np
import pytest

from jles.analysis.conditions import conditions, mean_temperature, same_interval
from jles.analysis.estimators.units import (
    ATOMIC_MASS,
    BOLTZMANN,
)
from jles.analysis.reports.profile import profiles
from jles.analysis.reports.raman import raman
from jles.analysis.reports.rdf import radial_distributions
from jles.analysis.run import open_run
from jles.errors import InputError
from tests.support.processes import write_run


def test_temperature_and_volume_are_the_recorded_ones(current_run, tmp_path, rng):
    state = conditions([open_run(current_run)])
    assert state == pytest.approx((300.0, 343.0))
    masses = np.array([16.0, 1.0, 1.0])
    spread = np.sqrt(BOLTZMANN * 250.0 / (masses * ATOMIC_MASS))[:, None]
    velocities = spread * rng.standard_normal((2000, 3, 3))
    # Nine independent momenta; three are taken to be the centre of mass at rest in "nve".
    for ensemble, expected in (("nve", 250.0 * 9.0 / 6.0), ("langevin", 250.0)):
        run = write_run(
            tmp_path / ensemble,
            {"velocities": {"velocities": velocities}},
            masses=masses,
            numbers=[1] * 3,
            ensemble=ensemble,
        )
        with h5py.File(run / "trajectory.h5", "a") as file:
            del file["thermo"]
        assert mean_temperature(open_run(run)) == pytest.approx(
            expected, rel=4 * np.sqrt(2 / 18000)
        )


def test_only_what_depends_on_the_temperature_needs_it(tmp_path, rng):
    positions = 10.0 * rng.random((20, 4, 3))
    polarizability = rng.standard_normal((200, 3, 3))
    records = {
        "positions": {"positions": positions},
        "polarizability": {"polarizability": polarizability},
    }
    run = write_run(tmp_path / "cold", records, numbers=[1] * 4)
    with h5py.File(run / "trajectory.h5", "a") as file:
        del file["thermo"]
    runs = [open_run(run)]
    found = radial_distributions(runs), profiles(runs), raman(runs, resolution=500.0)
    for outcome in found:
        assert " K, " not in outcome.lines[0]
    assert "4.0 K, " in radial_distributions(runs, temperature=4.0).lines[0]
    with pytest.raises(InputError, match="--temperature"):
        raman(runs, resolution=500.0, stokes=True)


def test_runs_with_different_intervals_stay_apart(current_run):
    runs = [open_run(current_run)] * 2
    first = runs[0].read("current")
    assert same_interval([first, first], runs) == 1.0
    with pytest.raises(InputError, match="different intervals"):
        same_interval([first, first._replace(interval=2.0)], runs)
