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
from tests.support.dynamics_systems import engine_of, network
from tests.support.replicas import COPIES, assert_mean, run_copies

TEMPERATURE = 300.0
KT = BOLTZMANN * TEMPERATURE
THERMO = RecordConfig(thermo=1, positions=0)


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


def with_cell_record(engine):
    """The engine, with a record of the kinetic energy and the momentum of the cell."""
    engine.plan.recorders["cell"] = Recorder(
        1,
        lambda snapshot: {
            "energy": cell_energy(snapshot.motion.bath),
            "momentum": snapshot.motion.bath.momentum,
        },
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


PRESSURE, FRAMES, DISCARDED = 0.01, 500, 125


def starts(masses, positions, temperature):
    """The same positions and random momenta for independent copies."""
    momenta = [draw_momenta(masses, temperature, seed) for seed in range(COPIES)]
    return np.tile(positions, (COPIES, 1, 1)), np.stack(momenta)


@pytest.fixture(scope="module")
def equilibrated():
    """Records of 64 copies of eight atoms in a flexible cell, every 8 fs, in equilibrium."""
    atoms = crystal()
    engine = engine_of(network(atoms, 4.0), npt(PRESSURE, "full"), 2.0, THERMO)
    engine = with_cell_record(engine)
    # Half the heat of a crystal that starts at rest positions goes into its potential energy.
    start = starts(atoms.get_masses(), atoms.positions, 2.0 * TEMPERATURE)
    found = run_copies(engine, *start, FRAMES, every=4)
    kept = {
        kind: {key: rows[:, DISCARDED:] for key, rows in part.items()}
        for kind, part in found.items()
    }
    return engine.plan.integrator.degrees, kept["thermo"], kept["cell"]


def test_the_internal_pressure_is_the_external_one(equilibrated):
    r"""<(p - P) V> = -kT, the virial theorem of the volume (MTK 1994)."""
    _, thermo, _ = equilibrated
    assert_mean((thermo["pressure"] - PRESSURE) * thermo["volume"] / KT, -1.0, error=0.15)


def test_the_cell_has_the_heat_of_six_degrees_of_freedom(equilibrated):
    *_, cell = equilibrated
    assert_mean(cell["energy"] / KT, 3.0, error=0.1)


def test_the_atoms_keep_their_temperature_and_its_fluctuations(equilibrated):
    degrees, thermo, _ = equilibrated
    assert_mean(thermo["temperature"] / TEMPERATURE, 1.0, error=0.01)
    kinetic = thermo["kinetic_energy"] / KT
    assert_mean((kinetic - degrees / 2.0) ** 2 / (degrees / 2.0), 1.0, error=0.06)


def test_the_cell_changes_volume_and_shape(equilibrated):
    _, thermo, cell = equilibrated
    assert np.std(thermo["volume"]) > 0.01 * np.mean(thermo["volume"])
    strains = np.linalg.inv(crystal().cell.array) @ thermo["cell"]
    assert np.std(strains[..., 0, 1]) > 1e-3
    symmetric = np.swapaxes(cell["momentum"], -1, -2)
    np.testing.assert_allclose(cell["momentum"], symmetric, atol=1e-12)


def test_the_volume_of_an_ideal_gas_has_its_distribution():
    r"""With the centre of mass at rest :math:`f(V) \propto V^{N-1} e^{-PV/kT}`."""
    count, pressure = 12, 2e-4
    gas = System(
        np.full(count, 4.0),
        lambda r, cell, neighbors, field: 0.0 * jnp.sum(r) * jnp.sum(cell),
        pbc=(True, True, True),
        cell=np.eye(3) * (count * KT / pressure) ** (1 / 3),
    )
    ensemble = npt(pressure, "isotropic", barostat_time=60.0)
    engine = with_cell_record(engine_of(gas, ensemble, 4.0, THERMO))
    start = starts(gas.masses, np.ones((count, 3)), TEMPERATURE)
    found = run_copies(engine, *start, FRAMES, every=10)
    volume = found["thermo"]["volume"][:, DISCARDED:] * pressure / KT
    assert_mean(volume / count, 1.0, error=0.02)
    assert_mean((volume - count) ** 2 / count, 1.0, error=0.06)
    assert_mean(found["cell"]["energy"][:, DISCARDED:] / KT, 0.5, error=0.02)
    cells = found["thermo"]["cell"]
    np.testing.assert_allclose(cells, cells[..., :1, :1] * np.eye(3), atol=1e-9 * cells.max())


def test_errors_fall_with_the_square_of_the_timestep_and_no_step_turns_the_cell():
    """The extended energy is conserved: its error is a fourth at half the timestep.

    It is averaged over 64 copies and 400 fs. A wrong term in the conserved quantity makes an
    error that does not depend on the timestep, a step of first order one that is halved.
    """
    atoms = crystal()
    start, errors = starts(atoms.get_masses(), atoms.positions, 2.0 * TEMPERATURE), []
    for timestep, every in ((4.0, 1), (2.0, 2)):
        engine = engine_of(network(atoms, 4.0), npt(PRESSURE, "full"), timestep, THERMO)
        thermo = run_copies(engine, *start, frames=100, every=every)["thermo"]
        conserved = thermo["conserved"] - thermo["conserved"].mean(axis=1, keepdims=True)
        errors.append(np.sqrt(np.mean(conserved**2)))
        cells = thermo["cell"]
        turns = np.linalg.solve(cells[:, :-1], cells[:, 1:]) if every == 1 else np.eye(3)
        np.testing.assert_allclose(turns, np.swapaxes(turns, -1, -2), atol=1e-13)
    energy = thermo["potential_energy"] + thermo["kinetic_energy"]
    assert errors[1] < 0.1 * np.sqrt(np.mean(energy.var(axis=1)))
    np.testing.assert_allclose(errors[0] / errors[1], 4.0, rtol=0.2)
