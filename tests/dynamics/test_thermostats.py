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
from tests.support.replicas import COPIES, assert_mean, run_copies

TEMPERATURE = 600.0
KT = BOLTZMANN * TEMPERATURE
LANGEVIN = EnsembleConfig("langevin", temperature=TEMPERATURE, friction=30.0)
NOSE_HOOVER = EnsembleConfig("nose-hoover", temperature=TEMPERATURE, thermostat_time=30.0)
THERMOSTATS = pytest.mark.parametrize(
    "ensemble", [LANGEVIN, NOSE_HOOVER], ids=lambda ensemble: ensemble.kind
)
ATOMS = 8


def starts(system, temperature):
    """Random positions and momenta of independent copies."""
    rng = np.random.default_rng(1)
    momenta = [draw_momenta(system.masses, temperature, seed) for seed in range(COPIES)]
    return 0.1 * rng.normal(size=(COPIES, len(system.masses), 3)), np.stack(momenta)


@pytest.fixture(scope="module", params=[LANGEVIN, NOSE_HOOVER], ids=lambda e: e.kind)
def equilibrated(request):
    """Records of 64 copies in equilibrium, every 5 fs, and the engine that made them.

    At this timestep the integration error of every mean below is some tenths of a percent, less
    than the statistical errors.
    """
    system = anharmonic_chain(ATOMS)
    records = RecordConfig(thermo=1, positions=1, velocities=1)
    engine = engine_of(system, request.param, 0.5, records)
    found = run_copies(engine, *starts(system, TEMPERATURE), FRAMES, every=10)
    return engine, {
        kind: {key: rows[:, DISCARDED:] for key, rows in part.items()}
        for kind, part in found.items()
    }


FRAMES, DISCARDED = 400, 100


def test_every_momentum_has_its_share(equilibrated):
    """<p^2/m> = kT, for light and for heavy atoms."""
    engine, frames = equilibrated
    masses = np.asarray(engine.plan.masses)
    momenta = frames["velocities"]["velocities"] / FEMTOSECOND * masses
    shares = momenta**2 / masses / KT
    assert_mean(shares, 1.0, error=0.01)
    order = np.argsort(engine.plan.system.masses)
    for half in np.split(order, 2):
        assert_mean(shares[:, :, half], 1.0, error=0.015)


def test_the_kinetic_energy_varies_as_in_a_canonical_ensemble(equilibrated):
    """Its variance is (kT)^2 for every two degrees of freedom.

    Rescaling to a fixed temperature would give 0, half the noise of the friction half of this.
    """
    engine, frames = equilibrated
    expected = engine.plan.integrator.degrees / 2.0
    kinetic = frames["thermo"]["kinetic_energy"] / KT
    assert_mean((kinetic - expected) ** 2 / expected, 1.0, error=0.06)


def test_positions_obey_the_virial_theorem(equilibrated):
    """<x dU/dx> = kT for every coordinate: the positions are canonical too."""
    engine, frames = equilibrated
    positions = frames["positions"]["positions"]
    slope_fn = jax.grad(lambda r: engine.plan.system.energy(r, None, None, None))
    slopes = jax.jit(jax.vmap(jax.vmap(slope_fn)))(positions)
    assert_mean(positions * np.asarray(slopes) / KT, 1.0, error=0.02)


@THERMOSTATS
def test_what_is_conserved_is_conserved_to_second_order_in_the_timestep(ensemble):
    """Its error is a fourth at half the timestep, and small beside the changes of the energy.

    The error of every copy is another one, of either sign; its root mean square over 64 copies
    and 100 frames is known to some percent. A wrong weight in the conserved quantity makes an
    error that does not depend on the timestep, a step of first order one that is halved.
    """
    system = anharmonic_chain(ATOMS)
    start, errors = starts(system, TEMPERATURE), []
    for timestep, every in ((2.0, 1), (1.0, 2)):
        engine = engine_of(system, ensemble, timestep, RecordConfig(thermo=1, positions=0))
        thermo = run_copies(engine, *start, frames=100, every=every)["thermo"]
        conserved = thermo["conserved"] - thermo["conserved"].mean(axis=1, keepdims=True)
        errors.append(np.sqrt(np.mean(conserved**2)))
    energy = thermo["potential_energy"] + thermo["kinetic_energy"]
    assert errors[1] < 0.1 * np.sqrt(np.mean(energy.var(axis=1)))
    np.testing.assert_allclose(errors[0] / errors[1], 4.0, rtol=0.2)


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


@THERMOSTATS
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
    # 600 degrees of freedom that forget their energy in some fs: the mean over 200 fs has a
    # standard error of 1 %, so the bound is 10 of them. A bath at rest would be 67 % off.
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
