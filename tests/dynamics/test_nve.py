"""Velocity Verlet without a thermostat against closed forms, with and without a field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.config import from_dict
from jles.dynamics.checkpoint import load_checkpoint, save_checkpoint
from jles.dynamics.config import RecordConfig, WaveConfig
from jles.dynamics.fields import wave
from jles.dynamics.system import System
from jles.dynamics.units import FEMTOSECOND
from jles.errors import InputError
from jles.units import EPSILON0
from tests.support.dynamics_systems import NVE, begin, engine_of, run, springs, values


def oscillators(rng, count=5):
    stiffness, masses = rng.uniform(1.0, 9.0, (count, 1)), rng.uniform(1.0, 20.0, count)
    return stiffness, masses, rng.normal(size=(count, 3)), rng.normal(size=(count, 3))


def test_the_shadow_energy_of_springs_does_not_change_at_all(rng):
    stiffness, masses, places, momenta = oscillators(rng)
    engine = engine_of(springs(stiffness, masses), timestep=2.0)
    out = run(engine, begin(engine, places, momenta), 500)
    r, v = values(out, "positions"), values(out, "velocities") / FEMTOSECOND
    m, dt = masses[:, None], float(np.float32(2.0 * FEMTOSECOND))
    shadow = 0.5 * m * v**2 + 0.5 * stiffness * r**2 * (1.0 - stiffness / m * dt**2 / 4.0)
    np.testing.assert_allclose(shadow, np.broadcast_to(shadow[0], shadow.shape), rtol=1e-9)


def test_springs_swing_with_the_frequency_of_verlet(rng):
    stiffness, masses, places, _ = oscillators(rng)
    engine = engine_of(springs(stiffness, masses), timestep=2.0)
    out = run(engine, begin(engine, places, np.zeros_like(places)), 200)
    dt = float(np.float32(2.0 * FEMTOSECOND))
    angle = np.arccos(1.0 - stiffness / masses[:, None] * dt**2 / 2.0)
    expected = places * np.cos(angle * np.arange(201)[:, None, None])
    np.testing.assert_allclose(values(out, "positions"), expected, atol=1e-8)


def test_energy_errors_shrink_with_the_square_of_the_timestep(rng):
    stiffness, masses, places, momenta = oscillators(rng)
    spread = []
    for timestep, steps in ((2.0, 200), (1.0, 400)):
        engine = engine_of(springs(stiffness, masses), timestep=timestep)
        conserved = values(
            run(engine, begin(engine, places, momenta), steps), "thermo", "conserved"
        )
        spread.append(np.ptp(conserved))
    np.testing.assert_allclose(spread[0] / spread[1], 4.0, rtol=0.1)


def kepler(strength=1.0):
    def energy(positions, cell, neighbors, applied):
        del cell, neighbors, applied
        return -strength / jnp.linalg.norm(positions[0] - positions[1])

    return System(np.array([2.0, 6.0]), energy)


def test_two_bodies_circle_about_their_centre_of_mass_in_keplers_time():
    strength, distance, reduced = 1.0, 2.0, 2.0 * 6.0 / 8.0
    period = 2 * np.pi * np.sqrt(reduced * distance**3 / strength) / FEMTOSECOND
    engine = engine_of(kepler(strength), timestep=period / 2000)
    momentum = np.sqrt(reduced * strength / distance)
    start = np.array([[distance * 6 / 8, 0, 0], [-distance * 2 / 8, 0, 0]])
    state = begin(engine, start, [[0, momentum, 0], [0, -momentum, 0]])
    out = run(engine, state, 2000)
    r, v = values(out, "positions"), values(out, "velocities")
    np.testing.assert_allclose(np.linalg.norm(r[:, 0] - r[:, 1], axis=1), distance, rtol=1e-5)
    np.testing.assert_allclose(r[-1], start, atol=1e-4)
    masses = engine.plan.system.masses
    np.testing.assert_allclose(np.einsum("i,fia->fa", masses, v), 0.0, atol=1e-14)
    np.testing.assert_allclose(np.einsum("i,fia->fa", masses, r), 0.0, atol=1e-12)
    momenta = masses[:, None] * v / FEMTOSECOND
    spin = np.cross(r, momenta).sum(axis=1)
    np.testing.assert_allclose(spin[:, 2], momentum * distance, rtol=1e-11)


def test_one_step_is_that_of_jax_md(rng):
    from jax_md import simulate, space

    stiffness, masses, places, momenta = oscillators(rng)
    system = springs(stiffness, masses)
    engine = engine_of(system, timestep=1.5)
    out = run(engine, begin(engine, places, momenta), 20)
    init, apply = simulate.nve(
        lambda r, **_: system.energy(r, None, None, None), space.free()[1], 1.5 * FEMTOSECOND
    )
    state = init(jax.random.key(0), jnp.asarray(places), 0.0, masses, jnp.asarray(momenta))
    for _ in range(20):
        state = apply(state)
    np.testing.assert_allclose(out.state.loop.motion.positions, state.position, rtol=1e-13)


CHARGE = 0.7


@pytest.fixture(scope="module")
def charged_spring():
    return springs(np.array([[3.0]]), [5.0], CHARGE)


def shape(kind, amplitude=(0.0, 0.2, -0.4), **keys):
    values = {"kind": kind, "amplitude": amplitude, "unit": "V/angstrom", **keys}
    return wave(from_dict(WaveConfig, values, "field"), jnp.float64)


def test_a_spring_in_a_constant_field_swings_about_where_the_field_holds_it(charged_spring):
    engine = engine_of(charged_spring, timestep=0.1, field=shape("constant"))
    out = run(engine, begin(engine, np.zeros((1, 3)), np.zeros((1, 3))), 2000)
    rest = CHARGE * np.array([0.0, 0.2, -0.4]) / 3.0
    times = np.arange(2001)[:, None] * 0.1 * FEMTOSECOND
    expected = rest * (1.0 - np.cos(np.sqrt(3.0 / 5.0) * times))
    np.testing.assert_allclose(values(out, "positions")[:, 0], expected, atol=1e-5)
    thermo = out.frames["thermo"].values
    work = CHARGE * values(out, "positions")[:, 0] @ np.array([0.0, 0.2, -0.4])
    np.testing.assert_allclose(thermo["field_work"], work, atol=1e-12)
    energies = thermo["potential_energy"] + thermo["kinetic_energy"] - work
    np.testing.assert_allclose(thermo["conserved"], energies, atol=1e-12)
    assert np.ptp(energies) < 2e-5 * np.max(thermo["kinetic_energy"])


def test_at_resonance_the_amplitude_grows_with_time(charged_spring):
    omega = np.sqrt(3.0 / 5.0)
    field = shape("sine", (0.01, 0.0, 0.0), period=2 * np.pi / omega / FEMTOSECOND)
    engine = engine_of(charged_spring, timestep=0.1, field=field)
    out = run(engine, begin(engine, np.zeros((1, 3)), np.zeros((1, 3))), 4000)
    t = np.arange(4001) * 0.1 * FEMTOSECOND
    # m x'' + k x = q E sin(w t) at w = sqrt(k/m), from rest.
    expected = (
        CHARGE
        * 0.01
        / (2 * 5.0 * omega**2)
        * (np.sin(omega * t) - omega * t * np.cos(omega * t))
    )
    np.testing.assert_allclose(values(out, "positions")[:, 0, 0], expected, atol=2e-5)
    # All energy comes from the work of the field.
    conserved = values(out, "thermo", "conserved")
    assert np.ptp(conserved) < 1e-4 * np.max(values(out, "thermo", "kinetic_energy"))


@pytest.mark.parametrize("polarizability", [0.0, 0.3])
def test_at_fixed_displacement_a_dipole_swings_with_its_longitudinal_frequency(
    polarizability, tmp_path, monkeypatch
):
    """E = (V D - P)/(eps0 V + A) adds q^2/(eps0 V + A) to the spring.

    A part of the charge crosses the boundary of the cell: the value of the dipole lacks it.
    """
    volume, stiffness, mass = 40.0, 3.0, 5.0
    spring = springs(np.array([[stiffness]]), [mass], CHARGE)
    inner = spring.energy

    def energy(positions, cell, neighbors, applied):
        value = inner(positions, cell, neighbors, applied)
        return value if applied is None else value - 0.5 * polarizability * applied @ applied

    system = spring._replace(
        energy=energy,
        cell=np.diag([4.0, 5.0, 2.0]),
        polarizability=lambda r, cell, neighbors: polarizability * jnp.eye(3),
        dipole=lambda r, cell, neighbors: -0.4 * spring.dipole(r, cell, neighbors),
        flow=lambda r, moved, cell, neighbors: spring.dipole(moved, cell, neighbors),
    )
    given = np.array([0.1, 0.0, 0.2])
    records = RecordConfig(thermo=1, positions=1, polarization=1)
    fixed = {"displacement": shape("constant", tuple(given)), "branch": jnp.zeros(3)}
    engine = engine_of(system, NVE, 0.1, records, **fixed)
    out = run(engine, begin(engine, np.zeros((1, 3)), np.zeros((1, 3))), 2000)
    inverse = 1.0 / (EPSILON0 * volume + polarizability)
    stiff = stiffness + CHARGE**2 * inverse
    rest = CHARGE * EPSILON0 * volume * given * inverse / stiff
    times = np.arange(2001)[:, None] * 0.1 * FEMTOSECOND
    expected = rest * (1.0 - np.cos(np.sqrt(stiff / mass) * times))
    r = values(out, "positions")[:, 0]
    np.testing.assert_allclose(r, expected, atol=1e-5)
    field = values(out, "thermo", "field")
    np.testing.assert_allclose(
        field, (EPSILON0 * volume * given - CHARGE * r) * inverse, atol=1e-13
    )
    # The functional of fixed D, up to its value at the start, is what is conserved.
    np.testing.assert_allclose(values(out, "polarization"), CHARGE * r, atol=1e-12)
    left = EPSILON0 * volume * given - CHARGE * r
    functional = 0.5 * inverse * np.sum(left**2, axis=1)
    conserved = values(out, "thermo", "conserved")
    energies = values(out, "thermo", "potential_energy") + values(
        out, "thermo", "kinetic_energy"
    )
    np.testing.assert_allclose(conserved, energies + functional - functional[0], atol=1e-12)
    further = run(engine, out.state, 10)
    save_checkpoint(tmp_path / "state.npz", out.state, {})
    again = load_checkpoint(tmp_path / "state.npz", begin(engine, r[:1], r[:1]))
    resumed = run(engine, engine.resume(*again[:4]), 10)
    jax.tree.map(np.testing.assert_array_equal, resumed.frames, further.frames)
    monkeypatch.setattr("jles.dynamics.checkpoint.VERSION", 5)
    save_checkpoint(tmp_path / "state.npz", out.state, {})
    with pytest.raises(InputError, match="another polarization at a fixed displacement"):
        load_checkpoint(tmp_path / "state.npz", out.state)


def test_records_are_of_the_steps_they_say(charged_spring):
    records = RecordConfig(thermo=3, positions=4, polarization=5)
    engine = engine_of(charged_spring, NVE, 0.5, records, block=13)
    every = engine_of(charged_spring, NVE, 0.5)
    state, parts = begin(engine, np.ones((1, 3)), np.zeros((1, 3))), []
    for last in (13, 26, 30):
        parts.append(engine.run(state, last))
        state = parts[-1].state
    all_places = values(
        run(every, begin(every, np.ones((1, 3)), np.zeros((1, 3))), 30), "positions"
    )
    for kind, interval in (("thermo", 3), ("positions", 4), ("polarization", 5)):
        steps = np.concatenate([part.frames[kind].steps for part in parts])
        np.testing.assert_array_equal(steps, np.arange(0, 31, interval))
    places = np.concatenate([values(part, "positions") for part in parts])
    np.testing.assert_array_equal(places, all_places[::4])
    dipoles = np.concatenate([values(part, "polarization") for part in parts])
    np.testing.assert_allclose(dipoles, CHARGE * all_places[::5, 0], rtol=1e-15)
    assert engine.traces == 1


def test_other_fields_and_other_temperatures_are_no_new_trace(charged_spring):
    engine = engine_of(charged_spring, timestep=0.1, field=shape("sine", period=10.0))
    state = begin(engine, np.ones((1, 3)), np.zeros((1, 3)))
    state = run(engine, state, 5).state
    engine.forcing = engine.forcing._replace(
        kT=jnp.array([1.0, 2.0]), field=shape("sine", (1.0, 0.0, 0.0), period=3.0, phase=50.0)
    )
    run(engine, state, 5)
    assert engine.traces == 1
