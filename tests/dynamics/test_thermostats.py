"""Thermostats give the canonical distribution, and steps are those of jax-md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.dynamics.config import EnsembleConfig, RecordConfig
from jles.dynamics.start import draw_momenta
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND, PICOSECOND
from tests.support.dynamics_systems import (
    anharmonic_chain,
    begin,
    engine_of,
    run,
    springs,
    values,
)

TEMPERATURE = 600.0
LANGEVIN = EnsembleConfig("langevin", temperature=TEMPERATURE, friction=30.0)
NOSE_HOOVER = EnsembleConfig("nose-hoover", temperature=TEMPERATURE, thermostat_time=30.0)
STEPS, DISCARDED = 60_000, 5_000


def block_error(series, blocks=20):
    """Standard error of the mean from the means of long blocks."""
    means = series[: len(series) // blocks * blocks].reshape(blocks, -1).mean(axis=1)
    return means.std(ddof=1) / np.sqrt(blocks)


@pytest.fixture(scope="module", params=[LANGEVIN, NOSE_HOOVER], ids=lambda e: e.kind)
def long_run(request):
    """Thermo of each step but the first ones, and what it was a run of."""
    system = anharmonic_chain()
    records = RecordConfig(thermo=5, positions=5, velocities=5)
    engine = engine_of(system, request.param, 1.0, records, block=STEPS)
    rng = np.random.default_rng(1)
    count = len(system.masses)
    # A chain would remember a start that is too hot for very long.
    momenta = draw_momenta(system.masses, TEMPERATURE, seed=1)
    state = begin(engine, 0.1 * rng.normal(size=(count, 3)), momenta)
    out = run(engine, state, STEPS)
    return engine, {
        kind: {key: rows[DISCARDED // 5 :] for key, rows in part.values.items()}
        for kind, part in out.frames.items()
    }


def test_every_momentum_has_its_share(long_run):
    engine, frames = long_run
    momenta = frames["velocities"]["velocities"] / FEMTOSECOND * engine.plan.masses
    shares = np.asarray(momenta**2 / engine.plan.masses / (BOLTZMANN * TEMPERATURE))
    total = shares.mean(axis=(1, 2))
    assert abs(total.mean() - 1.0) < 4.0 * block_error(total)
    assert block_error(total) < 0.015
    # No heat is stuck in the light or in the heavy ones; they share it slowly without friction.
    order = np.argsort(engine.plan.system.masses)
    halves = shares.mean(axis=(0, 2))[order].reshape(2, -1).mean(axis=1)
    np.testing.assert_allclose(halves, 1.0, atol=0.12)


def test_the_kinetic_energy_varies_as_in_a_canonical_ensemble(long_run):
    engine, frames = long_run
    kinetic = frames["thermo"]["kinetic_energy"] / (BOLTZMANN * TEMPERATURE)
    expected = engine.plan.integrator.degrees / 2.0
    squares = (kinetic - kinetic.mean()) ** 2
    assert abs(squares.mean() - expected) < 4.0 * block_error(squares)
    # Rescaling to a fixed temperature would give 0, half the friction's noise half of this.
    assert block_error(squares) < 0.1 * expected


def test_places_obey_the_virial_theorem(long_run):
    """<x dU/dx> = kT for every coordinate: the places are canonical too."""
    engine, frames = long_run
    places = jnp.asarray(frames["positions"]["positions"])
    slope = jax.vmap(jax.grad(lambda r: engine.plan.system.energy(r, None, None, None)))(places)
    shares = np.asarray(places * slope).mean(axis=(1, 2)) / (BOLTZMANN * TEMPERATURE)
    # The integration error of this timestep is below a percent.
    assert abs(shares.mean() - 1.0) < 4.0 * block_error(shares) + 0.01


def test_what_is_conserved_stays_while_the_energy_wanders(long_run):
    _, frames = long_run
    thermo = frames["thermo"]
    energy = thermo["potential_energy"] + thermo["kinetic_energy"]
    assert np.ptp(thermo["conserved"]) < 0.02 * np.ptp(energy)


def test_momentum_that_cannot_change_is_no_degree_of_freedom():
    from jles.dynamics.ensembles import build_integrator

    system = springs(np.ones((4, 1)), np.ones(4))
    masses = jnp.ones((4, 1))
    kinds = {"nve": EnsembleConfig(), "langevin": LANGEVIN, "nose-hoover": NOSE_HOOVER}
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
    ensemble = EnsembleConfig(
        "langevin", temperature=200.0, temperature_end=1000.0, friction=200.0
    )
    system = springs(np.ones((200, 1)), np.ones(200))
    steps = 4000
    engine = engine_of(system, ensemble, 1.0, RecordConfig(thermo=1, positions=0), block=steps)
    momenta = np.random.default_rng(0).normal(size=(200, 3)) * np.sqrt(BOLTZMANN * 200.0)
    out = run(engine, begin(engine, np.zeros((200, 3)), momenta), steps)
    temperature = values(out, "thermo", "temperature")
    middle, end = temperature[1900:2100].mean(), temperature[-200:].mean()
    # 600 oscillating degrees, tens of independent moments: 2 % each, the bath a little ahead.
    np.testing.assert_allclose([middle, end], [600.0, 980.0], rtol=0.1)


def test_downhill_ends_where_no_force_is_left():
    ensemble = EnsembleConfig("minimise", force_tolerance=1e-5)
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
