"""Gradients through trajectories are those of finite differences."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import simulate as jax_md_simulate

from jles.config import from_dict
from jles.dynamics.config import WaveConfig
from jles.dynamics.differentiable import current, integrated, simulate, velocity_verlet
from jles.dynamics.fields import wave
from jles.dynamics.integrators import shift
from jles.dynamics.units import FEMTOSECOND, PICOSECOND
from jles.errors import InputError
from jles.models.config import DirectCharges
from jles.observables.born_charges import born_charges
from jles.observables.polarization import polarization_change
from tests.support.dynamics_systems import begin, engine_of, run, springs, values
from tests.support.small_systems import (
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

TIMESTEP, STEPS = 0.5, 12


def moving(atoms):
    """A small model of these atoms, and all that a trajectory depends on."""
    config = small_config(
        backbone=small_backbone(l_max=0, body_order=1),
        charges=DirectCharges(hidden=()),
        normalize_features=False,
    )
    potential, params = small_model(config)
    structure = structure_of(atoms, potential)
    rng = np.random.default_rng(1)
    inputs = {
        "params": params,
        "positions": structure.positions,
        "velocities": jnp.asarray(rng.normal(0.0, 0.02, (len(atoms), 3))),
        "field": jnp.asarray(rng.normal(0.0, 0.1, (STEPS + 1, 3))),
        "kT": jnp.asarray(0.05),
    }
    return potential, structure, inputs


def enthalpy(potential, structure, params, positions, field):
    return potential.enthalpy_fn(params, replace(structure, positions=positions), field)


def check_gradient(loss, inputs, tolerance=2e-6):
    """The derivative along a random direction of each input against central differences.

    The loss returns its value and anything else, which is returned.
    """
    evaluate = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, other), gradient = evaluate(inputs)
    rng = np.random.default_rng(2)
    for name, part in inputs.items():
        along = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), part)
        slope = sum(map(np.vdot, jax.tree.leaves(gradient[name]), jax.tree.leaves(along)))

        def moved(size, name=name, part=part, along=along):
            parts = jax.tree.map(lambda leaf, change: leaf + size * change, part, along)
            return float(evaluate(inputs | {name: parts})[0][0])

        difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
        assert abs(slope) > 1e-4, name
        assert slope == pytest.approx(difference, rel=tolerance), name
    return other


@pytest.mark.long
def test_gradient_of_a_molecule_at_a_temperature():
    """Langevin dynamics with a fixed key: dipoles of a trajectory in a field."""
    atoms = rattled(3, count=3, pbc=False)
    potential, structure, inputs = moving(atoms)
    masses = jnp.asarray(atoms.get_masses())

    def loss(inputs):
        params = inputs["params"]
        init, apply = jax_md_simulate.nvt_langevin(
            partial(enthalpy, potential, structure, params),
            shift,
            TIMESTEP * FEMTOSECOND,
            inputs["kT"],
            50.0 / PICOSECOND,
        )
        momenta = masses[:, None] * inputs["velocities"] / FEMTOSECOND
        state = init(
            jax.random.key(0),
            inputs["positions"],
            mass=masses,
            momenta=momenta,
            field=inputs["field"][0],
        )

        def dipole(state):
            return potential.dipole_fn(params, replace(structure, positions=state.position))

        last, dipoles = simulate(
            apply,
            state,
            STEPS,
            TIMESTEP,
            forcing={"field": inputs["field"][1:]},
            observe=dipole,
            every=4,
        )
        assert dipoles.shape == (4, 3)
        lengths = jnp.sum(dipoles**2) + jnp.sum(last.position**2)
        return lengths + jnp.sum(last.momentum), None

    check_gradient(loss, inputs)


def in_a_crystal(potential, structure, masses, inputs):
    """The last state of a crystal in a field, and the change of its polarization."""
    params = inputs["params"]
    init, apply = velocity_verlet(
        partial(enthalpy, potential, structure, params), masses, TIMESTEP
    )

    def coupling(positions, field):
        return potential.coupling_fn(params, replace(structure, positions=positions), field)

    state = init(inputs["positions"], inputs["velocities"], field=inputs["field"][0])
    last, currents = simulate(
        apply,
        state,
        STEPS,
        TIMESTEP,
        forcing={"field": inputs["field"][1:]},
        observe=partial(current, coupling),
    )
    return last, integrated(currents, TIMESTEP)


@pytest.mark.long
def test_gradient_of_a_crystal_in_a_field():
    """The change of polarization, and its gradient with respect to all that it depends on."""
    atoms = rattled(4, count=3)
    potential, structure, inputs = moving(atoms)
    del inputs["kT"]

    def loss(inputs):
        last, change = in_a_crystal(potential, structure, atoms.get_masses(), inputs)
        weighted = jnp.sum(jnp.array([1.0, -0.5, 0.7]) * change)
        return weighted + jnp.sum(last.position**2), (last.position, change)

    end, change = check_gradient(loss, inputs)

    # The integral of the current does not depend on the path.
    def coupling(positions, field):
        moved = replace(structure, positions=positions)
        return potential.coupling_fn(inputs["params"], moved, field)

    born = jax.jit(partial(born_charges, coupling))
    straight = polarization_change(born, np.asarray(inputs["positions"]), np.asarray(end))
    np.testing.assert_allclose(change, straight, rtol=1e-2, atol=1e-4)


def charged_springs(positions, field, stiffness=4.0):
    return 0.5 * stiffness * jnp.sum(positions**2) - 0.7 * jnp.sum(positions @ field)


def test_steps_are_those_of_the_engine(rng):
    """A field that depends on time acts at the same times."""
    masses, places = rng.uniform(1.0, 20.0, 3), rng.normal(size=(3, 3))
    velocities = 0.02 * rng.normal(size=(3, 3))
    config = {"kind": "pulse", "amplitude": [0.1, 0.4, -0.3], "unit": "V/angstrom"}
    pulse = wave(from_dict(WaveConfig, config | {"center": 5.0, "width": 3.0}, "field"), float)
    engine = engine_of(springs(4.0, masses, charge=0.7), timestep=TIMESTEP, field=pulse)
    momenta = masses[:, None] * velocities / FEMTOSECOND
    expected = values(run(engine, begin(engine, places, momenta), 20), "positions")

    init, apply = velocity_verlet(charged_springs, masses, TIMESTEP)
    state = init(jnp.asarray(places), jnp.asarray(velocities), field=pulse(0.0))
    for forcing in (pulse, jax.vmap(pulse)(TIMESTEP * jnp.arange(1, 21.0))):
        _, found = simulate(
            apply, state, 20, TIMESTEP, forcing={"field": forcing}, observe=positions_of
        )
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def positions_of(state):
    return state.position


def chain(positions, field, stiffness):
    """A ring of quartic springs with an energy that needs much memory to differentiate."""
    near = positions - jnp.roll(positions, 1, axis=0)
    many = stiffness * jnp.linspace(0.5, 1.5, 100)[:, None, None]
    return jnp.sum(jnp.tanh(many * near) ** 2) - jnp.sum(positions @ field)


def chain_loss(stiffness, apply_steps=simulate, **options):
    init, apply = velocity_verlet(partial(chain, stiffness=stiffness), jnp.ones(8), TIMESTEP)
    places = jnp.linspace(0.0, 1.0, 24).reshape(8, 3) ** 2
    field = jnp.array([0.0, 0.1, 0.0])
    state = init(places, jnp.zeros_like(places), field=field)
    last, records = apply_steps(
        partial(apply, field=field), state, 64, TIMESTEP, observe=positions_of, **options
    )
    return jnp.sum(last.momentum**2) + jnp.sum(records**2)


def kept_whole(apply, state, steps, timestep, observe):
    """The same loop without checkpoints."""

    def step(state, _):
        state = apply(state)
        return state, observe(state)

    last, records = jax.lax.scan(step, state, None, steps)
    return last, jnp.concatenate([observe(state)[None], records])


def test_reverse_mode_keeps_states_only():
    variants = {"whole": {"apply_steps": kept_whole}, "steps": {}, "segments": {"segment": 8}}
    slopes, memory = {}, {}
    for name, options in variants.items():
        gradient = jax.jit(jax.grad(partial(chain_loss, **options))).lower(1.0).compile()
        slopes[name] = gradient(1.0)
        memory[name] = gradient.memory_analysis().temp_size_in_bytes
    assert slopes["steps"] == pytest.approx(float(slopes["whole"]), rel=1e-10)
    assert slopes["segments"] == pytest.approx(float(slopes["whole"]), rel=1e-10)
    assert memory["steps"] < 0.2 * memory["whole"]
    assert memory["segments"] < memory["steps"]


def test_a_float32_state_stays_float32():
    init, apply = velocity_verlet(charged_springs, np.ones(2), TIMESTEP)
    places = jnp.ones((2, 3), jnp.float32)
    field = jnp.zeros((4, 3))
    state = init(places, places, field=field[0])
    last, _ = simulate(apply, state, 4, TIMESTEP, forcing={"field": field})
    assert last.position.dtype == last.force.dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 3}, "steps: must be a positive multiple of every"),
        ({"segment": 3}, "segment: must be a multiple of every"),
        ({"forcing": {"field": np.zeros((3, 3))}}, "one row for each of the 4 steps"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(options, words):
    init, apply = velocity_verlet(charged_springs, np.ones(2), TIMESTEP)
    state = init(jnp.ones((2, 3)), jnp.zeros((2, 3)), field=jnp.zeros(3))
    with pytest.raises(InputError, match=words):
        simulate(apply, state, 4, TIMESTEP, **options)
