"""Thermostats give the canonical distribution, and steps are those of jax-md."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.dynamics.config import Langevin, Minimise, NoseHoover, Nve, RecordConfig
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND, PICOSECOND
from tests.support.dynamics_systems import (
    anharmonic_chain,
    begin,
    engine_of,
    run,
    springs,
    values,
)
from tests.support.replicas import (
    COPIES,
    assert_mean,
    assert_second_order,
    join,
    make_start,
    run_copies,
    thermal_chain,
    thermal_momenta,
)

TEMPERATURE = 600.0
KT = BOLTZMANN * TEMPERATURE
LANGEVIN = Langevin(temperature=TEMPERATURE, friction=30.0)
NOSE_HOOVER = NoseHoover(temperature=TEMPERATURE, thermostat_time=30.0)
RECORDS = RecordConfig(thermo=1, positions=1, velocities=1)
SYSTEM = anharmonic_chain(8)
TIMESTEP, FRAMES, FEW = 0.5, 300, 16


def with_probes(positions, momenta, thermal):
    """Copies in equilibrium, the same at twice the timestep, and a few that start cold."""
    return join(
        make_start(positions, momenta, TIMESTEP, thermal),
        make_start(positions, momenta, 2.0 * TIMESTEP, thermal),
        make_start(positions[:FEW] / 2.0, momenta[:FEW] / 2.0, TIMESTEP, False),
    )


@pytest.fixture(scope="module")
def langevin():
    """Records every 5 fs, of which the first 500 fs are needed to reach equilibrium."""
    rng = np.random.default_rng(1)
    positions = 0.1 * rng.normal(size=(COPIES, 8, 3))
    start = with_probes(positions, thermal_momenta(SYSTEM.masses, KT, rng), False)
    make_engine = partial(engine_of, SYSTEM, LANGEVIN, records=RECORDS)
    return run_copies(make_engine, start, FRAMES, every=10)


@pytest.fixture(scope="module")
def nose_hoover(langevin):
    """The same from the last states of the Langevin dynamics, with thermostats in equilibrium.

    Atoms exchange heat only slowly without friction, so other starts would need many ps.
    """
    velocities = langevin["velocities"]["velocities"][:COPIES, -1] / FEMTOSECOND
    momenta = velocities * SYSTEM.masses[:, None]
    start = with_probes(langevin["positions"]["positions"][:COPIES, -1], momenta, True)
    make_engine = partial(engine_of, SYSTEM, NOSE_HOOVER, records=RECORDS)
    return run_copies(make_engine, start, FRAMES, every=10, thermalise=thermal_chain)


@pytest.fixture(params=["langevin", "nose_hoover"])
def records(request):
    """Records of all copies with one of the thermostats."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def equilibrium(records):
    """Records of the copies in equilibrium.

    At this timestep the integration error of every mean below is some tenths of a percent, less
    than the statistical errors.
    """
    return jax.tree.map(lambda rows: rows[:COPIES, 100:], records)


def test_every_momentum_has_its_share(equilibrium):
    """<p^2/m> = kT, for light and for heavy atoms."""
    velocities = equilibrium["velocities"]["velocities"] / FEMTOSECOND
    shares = velocities**2 * SYSTEM.masses[:, None] / KT
    assert_mean(shares, 1.0, error=0.015)
    for half in np.split(np.argsort(SYSTEM.masses), 2):
        assert_mean(shares[:, :, half], 1.0, error=0.04)


def test_the_kinetic_energy_varies_as_in_a_canonical_ensemble(equilibrium):
    """Its variance is (kT)^2 for every two degrees of freedom.

    Rescaling to a fixed temperature would give 0, half the noise of the friction half of this.
    """
    expected = SYSTEM.masses.size * 3.0 / 2.0
    kinetic = equilibrium["thermo"]["kinetic_energy"] / KT
    assert_mean((kinetic - expected) ** 2 / expected, 1.0, error=0.07)


def test_positions_obey_the_virial_theorem(equilibrium):
    """<x dU/dx> = kT for every coordinate: the positions are canonical too."""
    positions = equilibrium["positions"]["positions"]
    slope_fn = jax.grad(lambda r: SYSTEM.energy(r, None, None, None))
    slopes = jax.jit(jax.vmap(jax.vmap(slope_fn)))(positions)
    assert_mean(positions * np.asarray(slopes) / KT, 1.0, error=0.02)


def test_a_cold_system_is_brought_to_its_temperature(records):
    """It starts at a quarter of it. The mean over 16 copies has a standard error near 1 %."""
    cold = records["thermo"]["temperature"][2 * COPIES :] / TEMPERATURE
    assert cold[:, 0].mean() < 0.5
    assert abs(cold[:, 100:].mean() - 1.0) < 0.15


def test_what_is_conserved_is_conserved_to_second_order_in_the_timestep(records):
    thermo = records["thermo"]
    fine, coarse = (
        {key: rows[copies] for key, rows in thermo.items()}
        for copies in (slice(COPIES), slice(COPIES, 2 * COPIES))
    )
    assert_second_order(coarse, fine, frames=50, most=0.02)


def test_momentum_that_cannot_change_is_no_degree_of_freedom():
    from jles.dynamics.ensembles import build_integrator

    system = springs(np.ones((4, 1)), np.ones(4))
    masses = jnp.ones((4, 1))
    kinds = {"nve": Nve(), "langevin": LANGEVIN, "nose-hoover": NOSE_HOOVER}
    free = {
        kind: build_integrator(ensemble, masses, 1.0, system._replace(free=True)).degrees
        for kind, ensemble in kinds.items()
    }
    assert free == {"nve": 9, "langevin": 12, "nose-hoover": 9}
    assert build_integrator(NOSE_HOOVER, masses, 1.0, system).degrees == 12


@pytest.mark.parametrize("ensemble", [LANGEVIN, NOSE_HOOVER], ids=lambda e: e.kind)
def test_steps_are_those_of_jax_md(ensemble, rng):
    from jax_md import simulate, space

    system = anharmonic_chain(count=5)
    places, momenta = rng.normal(size=(5, 3)) / 5, rng.normal(size=(5, 3))
    engine = engine_of(system, ensemble, 0.5)
    state = begin(engine, places, momenta, seed=3)
    ours = run(engine, state, 10).state.loop.motion
    kT, dt = BOLTZMANN * TEMPERATURE, 0.5 * FEMTOSECOND
    arguments = (lambda r, **_: system.energy(r, None, None, None), space.free()[1], dt, kT)
    if ensemble.kind == "langevin":
        init, apply = simulate.nvt_langevin(*arguments, gamma=30.0 / PICOSECOND)
    else:
        init, apply = simulate.nvt_nose_hoover(*arguments, tau=30.0 * FEMTOSECOND)
    state = init(
        jax.random.PRNGKey(3),
        jnp.asarray(places),
        mass=jnp.asarray(system.masses),
        momenta=jnp.asarray(momenta),
    )
    if ensemble.kind == "langevin":
        state = state.set(rng=jax.random.PRNGKey(3))
    for _ in range(10):
        state = apply(state)
    np.testing.assert_allclose(ours.positions, state.position, rtol=1e-6)
    np.testing.assert_allclose(ours.momenta, state.momentum, rtol=1e-5, atol=1e-7)


def test_the_bath_follows_its_ramp():
    ensemble = Langevin(temperature=200.0, temperature_end=1000.0, friction=200.0)
    system = springs(np.ones((200, 1)), np.ones(200))
    steps = 4000
    engine = engine_of(system, ensemble, 1.0, RecordConfig(thermo=1, positions=0), block=steps)
    momenta = np.random.default_rng(0).normal(size=(200, 3)) * np.sqrt(BOLTZMANN * 200.0)
    out = run(engine, begin(engine, np.zeros((200, 3)), momenta), steps)
    temperature = values(out, "thermo", "temperature")
    middle, end = temperature[1900:2100].mean(), temperature[-200:].mean()
    # 600 degrees of freedom that forget their energy in some fs: the mean over 200 fs has a
    # standard error of 1 %, so the bound is 10 of them. A bath at rest would be 67 % off.
    np.testing.assert_allclose([middle, end], [600.0, 980.0], rtol=0.1)


def test_downhill_ends_where_no_force_is_left():
    ensemble = Minimise(force_tolerance=1e-5)
    engine = engine_of(anharmonic_chain(count=6), ensemble, None, block=2000)
    start = np.random.default_rng(0).normal(size=(6, 3))
    out = engine.run(begin(engine, start, np.zeros((6, 3))), 2000)
    assert out.done
    motion = out.state.loop.motion
    assert np.max(np.linalg.norm(motion.forces, axis=1)) < 1e-5
    np.testing.assert_allclose(motion.positions, 0.0, atol=1e-5)
    energies = values(out, "thermo", "potential_energy")
    assert energies[-1] < 1e-9 < energies[0]
    moved = np.linalg.norm(np.diff(values(out, "positions"), axis=0), axis=-1)
    assert moved.max() <= 0.1 + 1e-12
