"""Sampling is reproducible, is continued run by run, and stops when it explodes."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from jles.distill.config import SampleConfig
from jles.distill.sample import Start, disturbed, plan_runs, sample
from jles.distill.teacher import Teacher
from jles.errors import InputError
from tests.support.salt import Broken, Salt, cluster

SALT = Teacher("salt", Salt())
CONFIG = SampleConfig(
    temperatures=(200.0, 400.0), steps=25, discard=7, interval=5, timestep=2.0
)


def runs(config=CONFIG):
    return plan_runs([Start(cluster(), "a.xyz, frame 0")], config)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pool_that_is_continued_is_the_one_that_was_not_interrupted(tmp_path):
    found = sample(SALT, runs(), CONFIG, 3, tmp_path / "a")
    assert [len(frames) for frames in found] == [5, 5]
    again = tmp_path / "b"
    again.mkdir()
    first = "run-0000.xyz"
    (again / first).write_bytes((tmp_path / "a" / first).read_bytes())
    sample(SALT, runs(), CONFIG, 3, again)
    assert contents(tmp_path / "a") == contents(again)
    sample(SALT, runs(), CONFIG, 4, tmp_path / "c")
    assert not contents(tmp_path / "a").items() & contents(tmp_path / "c").items()


@pytest.mark.long
def test_the_temperature_of_the_frames_is_that_of_the_run(tmp_path):
    """Of harmonic motion: the energy above the minimum is on average 3/2 kT for every atom."""
    config = SampleConfig(
        temperatures=(300.0,), steps=1200, interval=20, friction=50.0, timestep=5.0, strain=0.0
    )
    copper = bulk("Cu", cubic=True) * (2, 2, 1)
    copper.calc = EMT()
    lowest = copper.get_potential_energy()
    (frames,) = sample(
        Teacher("emt", EMT()), plan_runs([Start(copper, "cu")], config), config, 0, tmp_path
    )
    above = [atoms.get_potential_energy() - lowest for atoms in frames]
    # 48 degrees of freedom, over 30 independent frames: four per cent, and anharmonicity.
    assert np.mean(above) / 16 == pytest.approx(1.5 * 8.617e-5 * 300.0, rel=0.2)


def test_crystals_are_strained_and_clusters_are_not():
    rng = np.random.default_rng(0)
    config = SampleConfig(strain=0.02, rattle=0.0)
    copper, salt = bulk("Cu", cubic=True), cluster()
    strained = disturbed(copper, config, rng)
    change = strained.cell.array @ np.linalg.inv(copper.cell.array)
    assert 0.0 < np.abs(change - np.eye(3)).max() < 0.1
    np.testing.assert_allclose(change, change.T)
    np.testing.assert_allclose(
        strained.get_scaled_positions(), copper.get_scaled_positions(), atol=1e-12
    )
    np.testing.assert_array_equal(disturbed(salt, config, rng).positions, salt.positions)


def test_an_exploding_run_says_what_to_lower(tmp_path):
    config = SampleConfig(timestep=50.0, steps=100, discard=0, interval=1)
    with pytest.raises(InputError, match="at 300 K: .*lower sample.timestep"):
        sample(SALT, runs(config), config, 0, tmp_path / "a")
    assert list(tmp_path.rglob("*.xyz")) == []


def test_forces_that_are_not_finite_name_the_run_and_the_step(tmp_path):
    with pytest.raises(InputError, match="run 0 at 200 K: .* not finite at step 5"):
        sample(Teacher("broken", Broken()), runs(), CONFIG, 0, tmp_path)
