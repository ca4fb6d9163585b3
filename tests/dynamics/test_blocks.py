"""A trajectory does not depend on blocks, neighbour lists or capacities."""

import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jles.dynamics.config import Langevin, Npt, RecordConfig
from jles.dynamics.start import draw_momenta
from jles.dynamics.system import Capacity, System
from jles.dynamics.units import FEMTOSECOND
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.errors import InputError
from tests.support.dynamics_systems import NVE, begin, engine_of, liquid, run, values

# Without records of the energy, which would be compiled too.
PLACES = RecordConfig(thermo=0, positions=1)
THERMO = RecordConfig(thermo=1, positions=0)
HOT = Langevin(temperature=300.0, friction=10.0)


@pytest.fixture(scope="module")
def atoms():
    """32 argon-like atoms under pressure, so that they move."""
    crystal = bulk("Ar", "fcc", a=3.5, cubic=True) * 2
    crystal.rattle(0.05, seed=0)
    return crystal


def start(engine, atoms, temperature=600.0, seed=0, capacity=None):
    momenta = draw_momenta(atoms.get_masses(), temperature, seed)
    return begin(engine, atoms.positions, momenta, capacity=capacity)


def most_neighbors(system, atoms):
    """Of an atom, in the neighbour list of a system."""
    neighbors, _ = system.rebuild_neighbors(atoms.positions, atoms.cell.array, Capacity())
    return int(np.asarray(neighbors.mask).sum(axis=1).max())


def whole_run(engine, state, stops):
    parts = []
    for stop in stops:
        parts.append(engine.run(state, stop))
        assert parts[-1].failure is None
        state = parts[-1].state
    return state, np.concatenate([values(part, "positions") for part in parts])


@pytest.mark.long
def test_the_trajectory_does_not_depend_on_where_blocks_end(atoms):
    engine = engine_of(liquid(atoms, skin=0.2), HOT, 2.0, PLACES, block=300)
    state, at_once = whole_run(engine, start(engine, atoms), [300])
    assert state.rebuilt_at > 0
    _, in_parts = whole_run(engine, start(engine, atoms), [1, 2, 50, 51, 133, 300])
    np.testing.assert_array_equal(at_once, in_parts)
    short = engine_of(liquid(atoms, skin=0.2), HOT, 2.0, PLACES, block=37)
    stops = [*range(37, 300, 37), 300]
    _, other_buffers = whole_run(short, start(short, atoms), stops)
    np.testing.assert_array_equal(at_once, other_buffers)


def test_no_neighbour_is_missed(atoms):
    """A list that is rebuilt every few steps and one that is built once see the same pairs.

    A search on the host gives the same list as one on the device, in the same order.
    """
    places = []
    for skin, on_device in ((0.05, True), (0.05, False), (2.0, True)):
        system = liquid(atoms, skin=skin, on_device=on_device)
        engine = engine_of(system, NVE, 1.0, PLACES, block=190)
        state, trajectory = whole_run(engine, start(engine, atoms), [190])
        places.append(trajectory)
        assert (state.rebuilt_at > 0) == (skin < 1.0)
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_allclose(places[0], places[2], atol=1e-9)


@pytest.mark.long
def test_a_capacity_that_grows_gives_the_trajectory_of_a_large_one(atoms):
    lines, trajectories = [], []
    for slots in (0, 60):
        system = liquid(atoms, 0.1)
        engine = engine_of(system, NVE, 1.0, PLACES, 200, say=lines.append)
        capacity = Capacity(most_neighbors(system, atoms))
        state = start(engine, atoms, 3000.0, capacity=Capacity(slots) if slots else capacity)
        state, trajectory = whole_run(engine, state, [200])
        trajectories.append(trajectory)
        if not slots:
            assert state.capacity.neighbors >= 1.25 * capacity.neighbors
            slots_at_start, grown = capacity.neighbors, state.capacity.neighbors
            assert lines == [
                f"capacity grows: neighbours per atom from {slots_at_start} to {grown}"
            ]
            assert engine.traces == 2
    assert len(lines) == 1
    np.testing.assert_allclose(*trajectories, atol=1e-8)


@pytest.mark.long
def test_slots_within_reach_grow_before_one_is_missing(atoms):
    """No step is accepted in which an atom has more neighbours than slots."""
    lines, trajectories = [], []
    for near in (1, 60):
        engine = engine_of(liquid(atoms), NVE, 1.0, PLACES, 200, say=lines.append)
        state = start(engine, atoms, 3000.0, capacity=Capacity(80, near))
        state, trajectory = whole_run(engine, state, [200])
        trajectories.append(trajectory)
        assert engine.traces == (len(lines) if near == 1 else 1)
    assert "capacity grows: neighbours within the cutoff from" in lines[0]
    assert len(lines) < 4
    np.testing.assert_allclose(*trajectories, atol=1e-8)


def test_a_new_neighbour_list_within_the_capacity_is_no_new_trace(atoms):
    engine = engine_of(liquid(atoms, skin=0.1), NVE, 2.0, PLACES, block=200)
    state = start(engine, atoms, capacity=Capacity(60))
    rebuilt_at = set()
    for stop in range(10, 200, 10):
        state = engine.run(state, stop).state
        rebuilt_at.add(state.rebuilt_at)
    assert len(rebuilt_at) > 5
    assert engine.traces == 1


def test_records_of_every_step_are_those_of_its_state(atoms):
    """Also where steps are rejected, lists are renewed and blocks end."""

    def current(positions, velocities, *_):
        return jnp.sin(positions[0]) + 1e3 * velocities[1]

    system = liquid(atoms, skin=0.05)._replace(observables={"current": current})
    records = RecordConfig(thermo=0, positions=1, velocities=1, current=1)
    engine = engine_of(system, NVE, 1.0, records, block=40)
    state, parts = start(engine, atoms), []
    for stop in (1, 31, 60):
        parts.append(engine.run(state, stop))
        state = parts[-1].state
    assert state.rebuilt_at > 0
    positions, velocities, found = (
        np.concatenate([values(part, name) for part in parts])
        for name in ("positions", "velocities", "current")
    )
    assert len(found) == 61
    np.testing.assert_allclose(
        found, current(positions.swapaxes(0, 1), velocities.swapaxes(0, 1))
    )


@pytest.mark.long
def test_npt_conserves_the_same_energy_when_its_neighbour_list_is_rebuilt_and_grows(atoms):
    """Few slots and a small skin, against a long list that is made once."""
    ensemble = Npt(
        temperature=300.0,
        pressure=0.02,
        pressure_unit="eV/angstrom^3",
        thermostat_time=50.0,
        barostat_time=100.0,
    )
    outcomes = []
    for skin in (0.15, 1.2):
        lines = []
        system = liquid(atoms, skin=skin)
        engine = engine_of(system, ensemble, 1.0, THERMO, block=40, say=lines.append)
        capacity = Capacity(most_neighbors(system, atoms) if skin < 1.0 else 150)
        outcomes.append(run(engine, start(engine, atoms, capacity=capacity), 40))
        assert (outcomes[-1].state.rebuilt_at > 0) == (skin < 1.0)
        assert (engine.traces, len(lines)) == ((2, 1) if skin < 1.0 else (1, 0))
    conserved, reference = (values(out, "thermo", "conserved") for out in outcomes)
    np.testing.assert_allclose(conserved, reference, rtol=1e-12)
    volume = values(outcomes[0], "thermo", "volume")
    assert abs(volume[-1] / volume[0] - 1.0) > 0.02
    assert np.ptp(conserved) < 3e-3 * np.ptp(values(outcomes[0], "thermo", "kinetic_energy"))


@pytest.mark.long
def test_a_cell_that_outgrows_its_wave_vectors_stops_before_it_misses_one(atoms):
    """Constant tension pulls the cell apart; no step may use a cell too large for the plan."""
    ensemble = Npt(
        temperature=300.0,
        pressure=-0.02,
        pressure_unit="eV/angstrom^3",
        barostat_time=100.0,
        cell="isotropic",
    )
    charges = np.tile([1.0, -1.0], 16)
    lines, cells, places = [], [], []
    for plan in (None, SumPlan(grid=KGrid(9, 9, 9))):
        system = liquid(atoms, skin=0.5, charges=charges)
        engine = engine_of(system, ensemble, 1.0, PLACES, block=40, say=lines.append)
        state = start(engine, atoms, 300.0, capacity=Capacity(80, plan=plan))
        first_grid = state.capacity.plan.grid
        out = run(engine, state, 40)
        cells.append(values(out, "positions", "cell"))
        places.append(values(out, "positions"))
        if plan is None:
            assert any(
                n > m for n, m in zip(out.state.capacity.plan.grid, first_grid, strict=True)
            )
            assert "lattice sum to a direct reciprocal sum" in lines[0]
    assert cells[0][-1, 0, 0] > 1.15 * cells[0][0, 0, 0]
    np.testing.assert_allclose(*cells, rtol=1e-9)
    np.testing.assert_allclose(*places, atol=1e-8)


def test_a_run_that_blows_up_says_where_and_keeps_the_good_frames(atoms):
    engine = engine_of(liquid(atoms), NVE, 2.0, PLACES, block=100)
    crushed = atoms.copy()
    crushed.positions[7] = crushed.positions[3] + [0.4, 0.0, 0.0]
    out = engine.run(start(engine, crushed), 100)
    assert f"step {out.state.step + 1}: atom " in out.failure
    assert "timestep" in out.failure
    good = values(out, "positions")
    assert len(good) == out.state.step + 1
    assert np.isfinite(good).all()


def test_an_atom_that_crosses_the_skin_in_one_step_is_reported(atoms):
    engine = engine_of(liquid(atoms, skin=0.002), NVE, 2.0, PLACES, block=10)
    out = engine.run(start(engine, atoms), 10)
    assert "neighbors.skin" in out.failure
    assert out.state.step == 0


def test_a_search_that_fails_during_a_run_ends_it_with_all_frames_before():
    """Free flight at 0.1 angstrom per step; a skin of 0.5 angstrom lasts two steps."""
    searches = []

    def rebuild(positions, cell, capacity):
        searches.append(1)
        if len(searches) > 2:
            raise InputError("atoms 3 and 5 are on the same spot")
        return jnp.zeros(()), Capacity(1)

    still = System(
        np.ones(4),
        lambda positions, cell, neighbors, field: 0.0 * jnp.sum(positions),
        rebuild_neighbors=rebuild,
        cutoff=3.0,
        skin=0.5,
    )
    engine = engine_of(still, NVE, 0.1 / FEMTOSECOND, PLACES)
    outcome = engine.run(begin(engine, np.zeros((4, 3)), np.full((4, 3), [1.0, 0.0, 0.0])), 100)
    assert outcome.failure == "step 4: atoms 3 and 5 are on the same spot"
    assert not outcome.done
    np.testing.assert_array_equal(outcome.frames["positions"].steps, range(5))
    np.testing.assert_allclose(values(outcome, "positions")[:, 0, 0], 0.1 * np.arange(5))
