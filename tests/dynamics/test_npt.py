"""Constant pressure: what is conserved, and the distributions of volume and shape."""

import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

from jles.dynamics.config import EnsembleConfig, RecordConfig
from jles.dynamics.npt import cell_energy, exponentials
from jles.dynamics.records import Recorder
from jles.dynamics.start import draw_momenta
from jles.dynamics.system import System
from jles.dynamics.units import BOLTZMANN
from tests.dynamics.test_thermostats import block_error
from tests.support.dynamics_systems import begin, engine_of, network, run, values

TEMPERATURE = 300.0
KT = BOLTZMANN * TEMPERATURE


def npt(pressure, cell, **keys):
    times = {"thermostat_time": 50.0, "barostat_time": 100.0} | keys
    return EnsembleConfig(
        "npt",
        temperature=TEMPERATURE,
        pressure=pressure,
        pressure_unit="eV/angstrom^3",
        cell=cell,
        **times,
    )


def with_cell_heat(engine):
    """The engine, writing down the kinetic energy of the cell too."""
    engine.plan.recorders["cell"] = Recorder(
        5, lambda snapshot: {"energy": cell_energy(snapshot.motion.bath)}
    )
    return engine


def crystal():
    return bulk("Ar", "fcc", a=3.7, cubic=True) * (2, 1, 1)


@given(
    st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6), st.sampled_from([1e-9, 1e-3, 1.0])
)
def test_exponentials_of_a_symmetric_rate(entries, time):
    rate = np.zeros((3, 3))
    rate[np.triu_indices(3)] = entries
    rate = rate + rate.T
    grow, integral = exponentials(jnp.asarray(rate), time)
    np.testing.assert_allclose(grow, expm(rate * time), rtol=1e-11, atol=1e-12)
    # [[v, 1], [0, 0]] holds the integral of its exponential in the corner.
    both = expm(np.block([[rate, np.eye(3)], [np.zeros((3, 6))]]) * time)
    np.testing.assert_allclose(integral, both[:3, 3:], rtol=1e-10, atol=1e-14)


@pytest.fixture(scope="module")
def small_crystal():
    """A long run of eight atoms in a cell of any shape: the engine and its frames."""
    atoms = crystal()
    records = RecordConfig(thermo=5, positions=0)
    engine = engine_of(network(atoms, 4.0), npt(0.01, "full"), 2.0, records, block=30_000)
    engine = with_cell_heat(engine)
    momenta = draw_momenta(atoms.get_masses(), TEMPERATURE, 0)
    return run(engine, begin(engine, atoms.positions, momenta), 30_000)


def test_the_extended_energy_is_conserved(small_crystal):
    thermo = small_crystal.frames["thermo"].values
    energy = thermo["potential_energy"] + thermo["kinetic_energy"]
    first, second = np.array_split(thermo["conserved"], 2)
    # At this timestep it swings with the cell, and goes nowhere.
    assert np.ptp(thermo["conserved"]) < 0.1 * np.ptp(energy)
    assert abs(second.mean() - first.mean()) < 0.01 * np.ptp(energy)
    assert np.std(thermo["volume"]) > 0.01 * np.mean(thermo["volume"])


def test_the_inner_pressure_is_the_outer_one(small_crystal):
    r"""<(p - P) V> = -kT, the virial theorem of the volume (MTK 1994)."""
    thermo = small_crystal.frames["thermo"].values
    excess = ((thermo["pressure"] - 0.01) * thermo["volume"])[500:]
    assert abs(excess.mean() + KT) < 4.0 * block_error(excess)
    assert block_error(excess) < 3.0 * KT


def test_the_cell_has_the_heat_of_six_degrees_of_freedom(small_crystal):
    heat = values(small_crystal, "cell", "energy")[500:]
    assert abs(heat.mean() - 3.0 * KT) < 4.0 * block_error(heat)
    assert block_error(heat) < 0.2 * KT


def test_atoms_keep_their_temperature(small_crystal):
    temperature = values(small_crystal, "thermo", "temperature")[500:]
    assert abs(temperature.mean() - TEMPERATURE) < 4.0 * block_error(temperature)


def test_the_cell_changes_shape(small_crystal):
    strains = np.linalg.inv(small_crystal.state.reference.cell) @ values(
        small_crystal, "thermo", "cell"
    )
    assert np.std(strains[500:, 0, 1]) > 1e-3
    bath = small_crystal.state.loop.motion.bath
    np.testing.assert_allclose(bath.momentum, bath.momentum.T, atol=1e-12)


@pytest.mark.long
def test_the_volume_of_an_ideal_gas_has_its_distribution():
    r"""With the centre of mass at rest :math:`f(V) \propto V^{N-1} e^{-PV/kT}`."""
    count, pressure, steps = 12, 2e-4, 100_000
    gas = System(
        np.full(count, 4.0),
        lambda r, cell, neighbors, field: 0.0 * jnp.sum(r) * jnp.sum(cell),
        pbc=(True, True, True),
        cell=np.eye(3) * (count * KT / pressure) ** (1 / 3),
    )
    records = RecordConfig(thermo=10, positions=0)
    ensemble = npt(pressure, "isotropic", barostat_time=60.0)
    engine = with_cell_heat(engine_of(gas, ensemble, 2.0, records, block=steps))
    momenta = draw_momenta(gas.masses, TEMPERATURE, 2)
    out = run(engine, begin(engine, np.ones((count, 3)), momenta), steps)
    volume = values(out, "thermo", "volume")[200:] * pressure / KT
    assert abs(volume.mean() - count) < 4.0 * block_error(volume)
    assert block_error(volume) < 0.3
    squares = (volume - volume.mean()) ** 2
    assert abs(squares.mean() - count) < 4.0 * block_error(squares)
    heat = values(out, "cell", "energy")[200:]
    assert abs(heat.mean() - 0.5 * KT) < 4.0 * block_error(heat)
    cells = values(out, "thermo", "cell")
    np.testing.assert_allclose(cells, cells[:, :1, :1] * np.eye(3), atol=1e-9 * cells.max())


@pytest.mark.long
def test_errors_fall_with_the_square_of_the_timestep_and_no_step_turns_the_cell():
    atoms = crystal()
    momenta, spread = draw_momenta(atoms.get_masses(), TEMPERATURE, 0), []
    for timestep, steps in ((4.0, 100), (2.0, 200)):
        records = RecordConfig(thermo=1, positions=0)
        ensemble = npt(0.01, "full")
        engine = engine_of(network(atoms, 4.0), ensemble, timestep, records, block=steps)
        out = run(engine, begin(engine, atoms.positions, momenta), steps)
        spread.append(np.ptp(values(out, "thermo", "conserved")))
        cells = values(out, "thermo", "cell")
        steps_of_cell = np.linalg.solve(cells[:-1], cells[1:])
        np.testing.assert_allclose(steps_of_cell, np.swapaxes(steps_of_cell, 1, 2), atol=1e-13)
    assert 3.0 < spread[0] / spread[1] < 5.0
