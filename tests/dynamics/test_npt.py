"""Constant pressure: what is conserved, and the distributions of volume and shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm, logm

from jles.dynamics.config import Npt, RecordConfig
from jles.dynamics.records import Recorder
from jles.dynamics.start import draw_momenta
from jles.dynamics.system import System
from jles.dynamics.units import BOLTZMANN
from jles.jax_md.npt import cell_energy, exponentials
from tests.support.dynamics_systems import begin, engine_of, network, run, values
from tests.support.replicas import (
    COPIES,
    assert_mean,
    assert_second_order,
    join,
    make_start,
    run_copies,
    spread,
    thermal_chain,
    thermal_momenta,
)

TEMPERATURE = 300.0
KT = BOLTZMANN * TEMPERATURE
THERMO = RecordConfig(thermo=1, positions=0)


def npt(pressure, cell, **keys):
    times = {"thermostat_time": 50.0, "barostat_time": 100.0} | keys
    return Npt(
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
            "energy": cell_energy(snapshot.motion.bath.momentum, snapshot.motion.bath.mass),
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


PRESSURE, TIMESTEP, FRAMES, FEW = 0.01, 2.0, 200, 16
ATOMS = crystal()
MASSES = ATOMS.get_masses()


def thermal_bath(bath, key, kT):
    """Thermostats and cell in equilibrium; an isotropic cell has one degree of freedom."""
    keys = jax.random.split(key, 3)
    noise = jax.random.normal(keys[0], (3, 3))
    noise = jnp.tril(noise) + jnp.tril(noise, -1).T
    widths = jnp.where(jnp.eye(3, dtype=bool), 1.0, jnp.sqrt(0.5))
    isotropic = bath.cell_chain.degrees_of_freedom == 1
    shape = jnp.where(isotropic, noise[0, 0] * jnp.eye(3) / jnp.sqrt(3.0), noise * widths)
    return bath._replace(
        momentum=jnp.sqrt(bath.mass * kT) * shape,
        chain=thermal_chain(bath.chain, keys[1], kT),
        cell_chain=thermal_chain(bath.cell_chain, keys[2], kT),
    )


def isobaric_samples(system, rng):
    """Positions and cells of independent copies in the harmonic approximation of U + PV."""
    rest, cell = jnp.asarray(ATOMS.positions), jnp.asarray(ATOMS.cell.array)

    def place(x):
        upper = jnp.zeros((3, 3)).at[np.triu_indices(3)].set(x[-6:])
        deformation = jnp.eye(3) + (upper + upper.T) / 2.0
        return (rest + x[:-6].reshape(-1, 3)) @ deformation, cell @ deformation

    def enthalpy(x):
        positions, now = place(x)
        volume = jnp.abs(jnp.linalg.det(now))
        return system.energy(positions, now, None, None) + PRESSURE * volume

    @jax.jit
    def derivatives(x):
        return jax.grad(enthalpy)(x), jax.hessian(enthalpy)(x)

    x = jnp.zeros(rest.size + 6)
    for _ in range(4):
        slope, curvature = derivatives(x)
        x = x - jnp.linalg.pinv(curvature, rtol=1e-6) @ slope
    stiffness, modes = np.linalg.eigh(derivatives(x)[1])
    assert np.all(stiffness[3:] > 0.01)
    amplitudes = np.sqrt(KT / stiffness[3:]) * rng.normal(size=(COPIES, len(x) - 3))
    return map(np.asarray, jax.vmap(place)(x + amplitudes @ modes[:, 3:].T))


@pytest.fixture(scope="module")
def records():
    """Records of eight atoms in a flexible cell every 8 fs.

    48 copies are in equilibrium, as many are the same at half the timestep, and 16 start from
    rest positions and a cell at rest, with all the heat in the momenta of the atoms.
    """
    rng = np.random.default_rng(0)
    system = network(ATOMS, 4.0)
    positions, cells = isobaric_samples(system, rng)
    momenta = thermal_momenta(MASSES, KT, rng)
    atoms = np.tile(ATOMS.positions, (FEW, 1, 1)), np.sqrt(2.0) * momenta[:FEW]
    start = join(
        make_start(positions, momenta, TIMESTEP, True, cells),
        make_start(positions, momenta, TIMESTEP / 2.0, True, cells),
        make_start(*atoms, TIMESTEP, False, np.tile(ATOMS.cell.array, (FEW, 1, 1))),
    )

    def make_engine(timestep):
        return with_cell_record(engine_of(system, npt(PRESSURE, "full"), timestep, THERMO))

    return run_copies(make_engine, start, FRAMES, every=4, thermalise=thermal_bath)


@pytest.fixture(scope="module")
def equilibrium(records):
    return jax.tree.map(lambda rows: rows[:COPIES], records)


@pytest.mark.long
def test_the_internal_pressure_is_the_external_one(equilibrium):
    r"""<(p - P) V> = -kT, the virial theorem of the volume (MTK 1994).

    The harmonic start and the timestep may add a quarter of this.
    """
    thermo = equilibrium["thermo"]
    excess = (thermo["pressure"] - PRESSURE) * thermo["volume"] / KT
    assert_mean(excess, -1.0, error=0.1, bias=0.25)


def test_the_cell_has_the_heat_of_six_degrees_of_freedom(equilibrium):
    assert_mean(equilibrium["cell"]["energy"] / KT, 3.0, error=0.12)


def test_the_atoms_keep_their_temperature_and_its_fluctuations(equilibrium):
    thermo, degrees = equilibrium["thermo"], 3.0 * len(ATOMS) - 3.0
    assert_mean(thermo["temperature"] / TEMPERATURE, 1.0, error=0.015)
    kinetic = thermo["kinetic_energy"] / KT
    assert_mean((kinetic - degrees / 2.0) ** 2 / (degrees / 2.0), 1.0, error=0.08)


def test_a_cell_at_rest_is_set_in_motion(records):
    """The thermostats bring cell and atoms near equilibrium, as volume fluctuations show.

    The means over 16 copies have standard errors of some percent.
    """
    thermo, cell = (
        {key: rows[2 * COPIES :, FRAMES // 2 :] for key, rows in records[kind].items()}
        for kind in ("thermo", "cell")
    )
    assert 0.6 < cell["energy"].mean() / (3.0 * KT) < 1.4
    assert 0.8 < thermo["temperature"].mean() / TEMPERATURE < 1.2
    assert np.std(thermo["volume"]) > 0.01 * np.mean(thermo["volume"])
    strains = np.linalg.inv(ATOMS.cell.array) @ thermo["cell"]
    assert np.std(strains[..., 0, 1]) > 1e-3
    symmetric = np.swapaxes(cell["momentum"], -1, -2)
    np.testing.assert_allclose(cell["momentum"], symmetric, atol=1e-12)


def test_the_extended_energy_is_conserved_to_second_order_in_the_timestep(records):
    thermo = records["thermo"]
    coarse, fine = (
        {key: rows[copies] for key, rows in thermo.items()}
        for copies in (slice(COPIES), slice(COPIES, 2 * COPIES))
    )
    assert_second_order(coarse, fine, frames=50, most=0.05)


def test_no_step_turns_the_cell_and_records_know_its_rate():
    system = network(ATOMS, 4.0)._replace(observables={"current": lambda *given: given[-1]})
    every = RecordConfig(thermo=1, positions=0, current=1)
    engine = engine_of(system, npt(PRESSURE, "full"), 1.0, every)
    momenta = draw_momenta(MASSES, TEMPERATURE, 0)
    found = run(engine, begin(engine, ATOMS.positions, momenta), 50)
    cells, rates = values(found, "thermo", "cell"), values(found, "current")
    steps = np.linalg.solve(cells[:-1], cells[1:])
    np.testing.assert_allclose(steps, np.swapaxes(steps, 1, 2), atol=1e-13)
    between = np.array([logm(step) for step in steps])
    means = 0.5 * (rates[1:] + rates[:-1])
    np.testing.assert_allclose(means, between, atol=0.05 * np.abs(between).max())


def test_the_volume_of_an_ideal_gas_has_its_distribution():
    r"""With the centre of mass at rest it is :math:`f(V) \propto V^{N-1} e^{-PV/kT}`."""
    count, pressure = 12, 2e-4
    gas = System(
        np.full(count, 4.0),
        lambda r, cell, neighbors, field: 0.0 * jnp.sum(r) * jnp.sum(cell),
        pbc=(True, True, True),
    )
    rng = np.random.default_rng(2)
    edges = np.cbrt(rng.gamma(count, KT / pressure, COPIES))[:, None, None]
    positions, momenta = np.ones((COPIES, count, 3)), thermal_momenta(gas.masses, KT, rng)
    start = make_start(positions, momenta, 4.0, True, edges * np.eye(3))

    def make_engine(timestep):
        ensemble = npt(pressure, "isotropic", barostat_time=60.0)
        return with_cell_record(engine_of(gas, ensemble, timestep, THERMO))

    found = run_copies(make_engine, start, 200, every=10, thermalise=thermal_bath)
    volume = found["thermo"]["volume"] * pressure / KT
    assert_mean(volume / count, 1.0, error=0.02)
    assert_mean((volume - count) ** 2 / count, 1.0, error=0.1)
    assert_mean(found["cell"]["energy"] / KT, 0.5, error=0.03)
    # A term that were missing in the equations of atoms or cell would add kT ln V, 0.3 kT.
    assert spread(found["thermo"], 200)[0] < 0.05 * KT
    cells = found["thermo"]["cell"]
    np.testing.assert_allclose(cells, cells[..., :1, :1] * np.eye(3), atol=1e-9 * cells.max())
