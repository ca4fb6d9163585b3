"""Temperature, volume and interval of runs."""

import h5py
import numpy as np
import pytest

from jles.analysis.conditions import check_alike, conditions, mean_temperature, same_interval
from jles.analysis.estimators.units import (
    ATOMIC_MASS,
    BOLTZMANN,
)
from jles.analysis.reports.conductivity import conductivity
from jles.analysis.reports.dielectric import dielectric
from jles.analysis.reports.hysteresis import hysteresis
from jles.analysis.reports.infrared import infrared
from jles.analysis.reports.profile import profiles
from jles.analysis.reports.raman import raman
from jles.analysis.reports.rdf import radial_distributions
from jles.analysis.reports.vdos import vibrational_density
from jles.analysis.run import Run, open_run
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


def two_runs(tmp_path, numbers=((1, 8), (1, 8)), **second):
    """Of 200 and of 600 frames of everything that an analysis reads."""
    runs, rng = [], np.random.default_rng(4)
    for n, frames in enumerate((200, 600)):
        records = {
            name: {name: rng.standard_normal((frames, *shape))}
            for name, shape in (
                ("current", (3,)),
                ("polarizability", (3, 3)),
                ("positions", (len(numbers[n]), 3)),
                ("velocities", (len(numbers[n]), 3)),
            )
        }
        options = second if n else {}
        runs.append(write_run(tmp_path / str(n), records, numbers=numbers[n], **options))
    return [open_run(path) for path in runs]


AVERAGING = {
    "ir": lambda runs: infrared(runs, resolution=800.0),
    "raman": lambda runs: raman(runs, resolution=800.0),
    "vdos": lambda runs: vibrational_density(runs, resolution=800.0),
    "conductivity": conductivity,
    "dielectric": dielectric,
    "hysteresis": hysteresis,
    "rdf": radial_distributions,
    "profile": profiles,
}


@pytest.mark.parametrize("name", AVERAGING)
def test_runs_of_other_atoms_are_never_averaged(tmp_path, name):
    runs = two_runs(tmp_path, ((1, 8), (8, 1)))
    with pytest.raises(InputError, match="other atoms than those of"):
        AVERAGING[name](runs)


@pytest.mark.parametrize("name", ["ir", "raman", "vdos", "conductivity", "dielectric", "rdf"])
def test_averages_over_temperatures_and_volumes_say_so(tmp_path, name):
    assert check_alike(two_runs(tmp_path / "same", temperature=310.0)) == []
    runs = two_runs(tmp_path, temperature=400.0, cell=11.0 * np.eye(3))
    lines = [line for line in AVERAGING[name](runs).lines if "of the runs are" in line]
    assert [" ".join(line.split()[:4]) for line in lines] == [
        "warning: the mean temperatures",
        "warning: the mean volumes",
    ]
    assert "300 to 400 K" in lines[0]
    assert "1000 to 1331 angstrom^3" in lines[1]


def test_means_over_runs_are_weighted_by_their_length(tmp_path, monkeypatch):
    """And each run is read once for its means and the warnings about them."""
    runs = two_runs(tmp_path, temperature=400.0, cell=11.0 * np.eye(3))
    shares = np.array([199.0, 599.0]) / 798.0
    expected = shares @ [300.0, 400.0], shares @ [1000.0, 1331.0]
    assert len(check_alike(runs)) == 2
    monkeypatch.setattr(Run, "read", None)
    assert conditions(runs) == pytest.approx(expected)


def test_runs_with_different_intervals_stay_apart(current_run):
    runs = [open_run(current_run)] * 2
    first = runs[0].read("current")
    assert same_interval([first, first], runs) == 1.0
    with pytest.raises(InputError, match="different intervals"):
        same_interval([first, first._replace(interval=2.0)], runs)
