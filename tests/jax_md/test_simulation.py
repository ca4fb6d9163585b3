"""jax-md's integrators with the functions of a model, the whole loop compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import units
from jax_md import quantity, simulate, space
from jax_md import units as jax_md_units

import jles
from jles.dynamics.config import Npt
from jles.dynamics.model_system import model_system
from jles.dynamics.start import draw_momenta
from tests.support.door_systems import FS, KT, crystal, door_model, masses
from tests.support.dynamics_systems import NVE, begin, engine_of, run, values

ATOMS = crystal()
MASSES = masses(ATOMS)
DT = 0.5 * FS
FREE = space.free()[1]
STEPS = 60


@pytest.fixture(scope="module")
def model():
    return door_model()


@pytest.fixture(scope="module")
def door(model):
    """A small skin, so that the list is made again during the runs."""
    return jles.jax_md.neighbor_list(model, ATOMS, skin=0.1)


@pytest.fixture(scope="module")
def start(door):
    R = jnp.asarray(ATOMS.positions)
    momenta = jnp.asarray(draw_momenta(ATOMS.get_masses(), 600.0, 0))
    return R, momenta, door[0].allocate(R, extra_capacity=8)


def begun(init, *arguments, **keys):
    """The first state of an integrator, compiled as a whole."""
    return jax.jit(lambda: init(jax.random.key(0), *arguments, mass=MASSES, **keys))()


@pytest.fixture(scope="module")
def nve(door, start):
    """The integrator of jax-md, and the first state."""
    R, momenta, neighbors = start
    init, apply = simulate.nve(door[1], FREE, DT)
    return apply, begun(init, R, KT, momenta=momenta, neighbor=neighbors)


@pytest.fixture(scope="module")
def nve_run(door, start, nve):
    """State and list after `STEPS` steps, and in each positions, energy, kinetic energy."""
    apply, state = nve

    def watch(state, neighbors):
        energy = door[1](state.position, neighbor=neighbors)
        return state.position, energy + kinetic(state), kinetic(state)

    return simulated(apply, state, start[2], watch=watch)


def simulated(apply, state, neighbors, steps=STEPS, watch=lambda state, neighbors: (), **keys):
    """State and list after some steps, and what was watched in every step."""

    @jax.jit
    def loop(state, neighbors):
        def body(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(state.position)
            state = apply(state, neighbor=neighbors, **keys)
            return (state, neighbors), watch(state, neighbors)

        return jax.lax.scan(body, (state, neighbors), None, steps)

    (state, neighbors), watched = loop(state, neighbors)
    assert not neighbors.did_buffer_overflow
    return state, neighbors, watched


def kinetic(state):
    return quantity.kinetic_energy(momentum=state.momentum, mass=state.mass)


def test_nve_is_the_trajectory_of_the_engine_and_conserves_energy(model, start, nve_run):
    R, momenta, _ = start
    _, last, (places, energies, kinetics) = nve_run
    assert np.any(last.reference_position != R), "the list was made again"
    assert np.ptp(energies) < 0.02 * np.ptp(kinetics)
    system = model_system(model, ATOMS, skin=0.5, moves_cell=False, in_field=False)
    engine = engine_of(system, NVE, 0.5)
    outcome = run(engine, begin(engine, ATOMS.positions, np.asarray(momenta)), STEPS)
    np.testing.assert_allclose(values(outcome, "positions")[1:], places, atol=1e-9)


def test_wrapped_positions_follow_the_same_trajectory(door, start, nve, nve_run):
    box = ATOMS.cell.array.T
    wrap = space.periodic_general(jnp.asarray(box), fractional_coordinates=False)[1]
    _, apply = simulate.nve(door[1], wrap, DT)
    wrapped, free = simulated(apply, nve[1], start[2])[0], nve_run[0]
    difference = np.linalg.solve(box, np.asarray(free.position - wrapped.position).T)
    np.testing.assert_allclose(difference, np.round(difference), atol=1e-9)
    np.testing.assert_allclose(free.momentum, wrapped.momentum, atol=1e-8)


@pytest.mark.long
def test_langevin_dynamics_in_a_field(door, start):
    """The field's force is E . Z*; hot and strongly damped, the atoms reach the temperature."""
    R, _, neighbors = start
    energy_fn = door[1]
    field = jnp.array([0.0, 0.1, -0.2])
    init, apply = simulate.nvt_langevin(energy_fn, FREE, 2.0 * DT, KT, gamma=0.1 / FS)
    state = begun(init, R, neighbor=neighbors, field=field)
    free = jax.jit(jax.grad(energy_fn))(R, neighbor=neighbors)
    dipole_fn = jles.jax_md.dipole_fn(door_model(), ATOMS)
    born = jax.jit(jax.jacrev(dipole_fn))(R, neighbor=neighbors)
    np.testing.assert_allclose(
        state.force + free, jnp.einsum("a,aib->ib", field, born), atol=1e-10
    )
    *_, temperatures = simulated(
        apply, state, neighbors, 300, lambda s, n: kinetic(s) / (12.0 * KT), field=field
    )
    assert 0.6 < np.mean(temperatures[100:]) < 1.5


def test_the_current_is_the_rate_of_the_dipole_on_unwrapped_positions(model, start):
    R, momenta, neighbors = start
    velocity = momenta / MASSES
    velocity -= velocity.mean(axis=0)
    dipole_fn = jles.jax_md.dipole_fn(model, ATOMS)
    current_fn = jax.jit(jles.jax_md.current_fn(model, ATOMS))

    @jax.jit
    def rate_of_dipole(neighbors):
        def dipole(R):
            return dipole_fn(R, neighbor=neighbors)

        return jax.jvp(dipole, (R,), (velocity,))[1]

    rate = rate_of_dipole(neighbors)
    current = current_fn(R, velocity, neighbor=neighbors)
    np.testing.assert_allclose(current, rate, atol=1e-10)
    wrapped = R + jnp.asarray(np.arange(8)[:, None] * ATOMS.cell.array[0])
    again = current_fn(wrapped, velocity, neighbor=neighbors)
    np.testing.assert_allclose(again, current, atol=1e-10)


@pytest.mark.long
def test_npt_conserves_its_energy_with_the_stress_of_the_model(model, door, start):
    R, momenta, _ = start
    neighbor_fn, energy_fn = door
    box = jnp.asarray(ATOMS.cell.array.T)
    neighbors = neighbor_fn.allocate(R, extra_capacity=8, box=box)
    stress = -jax.jit(lambda n: quantity.stress(energy_fn, R, box, neighbor=n))(neighbors)
    expected = model.predict(ATOMS, ["stress"]).stress
    np.testing.assert_allclose(stress, expected, atol=1e-10)
    pressure, times = 0.01, {"tau": 50.0 * FS, "chain_length": 3}
    init, apply = simulate.npt_nose_hoover(
        energy_fn, FREE, DT, pressure, KT, times, times | {"tau": 20.0 * FS}
    )
    state = begun(init, R, box, momenta=momenta, neighbor=neighbors)

    @jax.jit
    def loop(state, neighbors):
        def body(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(state.position, box=state.box)
            conserved = simulate.npt_nose_hoover_invariant(
                energy_fn, state, pressure, KT, neighbor=neighbors
            )
            state = apply(state, neighbor=neighbors)
            return (state, neighbors), (
                conserved,
                kinetic(state),
                quantity.volume(3, state.box),
            )

        return jax.lax.scan(body, (state, neighbors), None, STEPS)

    (_, neighbors), (conserved, kinetics, volumes) = loop(state, neighbors)
    assert not neighbors.did_buffer_overflow
    assert np.ptp(volumes) > 1e-3 * volumes[0]
    assert np.ptp(conserved) < 0.02 * np.ptp(kinetics)


@pytest.mark.long
def test_a_flexible_cell_conserves_its_energy_and_follows_the_engine(model, door, start):
    R, momenta, _ = start
    neighbor_fn, energy_fn = door
    box, pressure = jnp.asarray(ATOMS.cell.array.T), 0.01
    neighbors = neighbor_fn.allocate(R, extra_capacity=8, box=box)
    times = {"thermostat_time": 50.0, "barostat_time": 100.0}
    init, apply = jles.jax_md.npt_flexible_cell(
        energy_fn, DT, pressure, KT, **{name: time * FS for name, time in times.items()}
    )
    state = begun(init, R, box, momenta=momenta, neighbor=neighbors)

    @jax.jit
    def loop(state, neighbors):
        def body(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(state.position, box=state.box)
            state = apply(state, neighbor=neighbors)
            conserved = jles.jax_md.npt_invariant(
                energy_fn, state, pressure, KT, neighbor=neighbors
            )
            return (state, neighbors), (conserved, kinetic(state), state.box)

        return jax.lax.scan(body, (state, neighbors), None, 20)

    (state, neighbors), (conserved, kinetics, boxes) = loop(state, neighbors)
    assert not neighbors.did_buffer_overflow
    assert np.ptp(boxes[:, 0, 1]) > 1e-4, "angles change"
    assert np.ptp(conserved) < 0.02 * np.ptp(kinetics)
    system = model_system(model, ATOMS, skin=0.5, moves_cell=True, in_field=False)
    ensemble = Npt(temperature=300.0, pressure=pressure, pressure_unit="eV/angstrom^3", **times)
    engine = engine_of(system, ensemble, 0.5)
    outcome = run(engine, begin(engine, ATOMS.positions, np.asarray(momenta)), 20)
    np.testing.assert_allclose(values(outcome, "positions")[-1], state.position, atol=1e-9)
    cells = values(outcome, "thermo", "cell")
    np.testing.assert_allclose(cells[1:], np.swapaxes(boxes, 1, 2), atol=1e-9)


@pytest.mark.long
def test_parameters_are_differentiated_through_a_trajectory(model, door, start):
    R, momenta, neighbors = start
    energy_fn = door[1]

    def loss(scale):
        """Where the atoms arrive if the first layer of the charges is scaled."""
        params = dict(model.params)
        params["charges"] = jax.tree.map(lambda leaf: scale * leaf, params["charges"])
        init, apply = simulate.nve(energy_fn, FREE, DT)
        keys = {"params": params}
        state = init(
            jax.random.key(0), R, KT, mass=MASSES, momenta=momenta, neighbor=neighbors, **keys
        )

        def body(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(state.position)
            return (apply(state, neighbor=neighbors, **keys), neighbors), ()

        (state, _), _ = jax.lax.scan(jax.checkpoint(body), (state, neighbors), None, 20)
        return jnp.sum(jnp.sin(state.position))

    slope = jax.jit(jax.grad(loss))(1.0)
    compiled, step = jax.jit(loss), 1e-4
    expected = (compiled(1.0 + step) - compiled(1.0 - step)) / (2.0 * step)
    assert abs(expected) > 1e-6
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_the_loop_with_its_searches_never_leaves_the_device(start, nve):
    """One loop; neither callbacks nor calls of linear solvers, which are slow there."""
    (apply, state), neighbors = nve, start[2]

    def loop(state, neighbors):
        def body(_, carry):
            state, neighbors = carry
            neighbors = neighbors.update(state.position)
            return apply(state, neighbor=neighbors), neighbors

        return jax.lax.fori_loop(0, 20, body, (state, neighbors))

    leaves, tree = jax.tree.flatten((state, neighbors))
    of_leaves = jax.jit(lambda *leaves: loop(*jax.tree.unflatten(tree, leaves)))
    program = of_leaves.trace(*leaves).lower(lowering_platforms=("cuda",))
    text = program.as_text()
    assert text.count("stablehlo.while") == 1
    assert "custom_call" not in text


def test_units_are_those_of_the_metal_system():
    metal = jax_md_units.metal_unit_system()
    np.testing.assert_allclose(metal["time"], 1000.0 * units.fs, rtol=1e-4)
    np.testing.assert_allclose(metal["temperature"], units.kB, rtol=1e-4)
