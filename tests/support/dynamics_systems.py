"""Closed forms of energy on which the engine is tested without a model."""

import math
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import RunPlan
from jles.dynamics.config import Nve, RecordConfig
from jles.dynamics.engine import Engine
from jles.dynamics.ensembles import build_integrator
from jles.dynamics.forces import Forcing
from jles.dynamics.records import build_recorders
from jles.dynamics.system import Capacity, System
from jles.dynamics.units import BOLTZMANN
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.ewald import kgrid_is_too_small
from jles.electrostatics.sums.kgrid import KGrid, merge_kgrids, plan_kgrid
from jles.structures.neighbors import find_neighbors
from jles.structures.search import SearchPlan, plan_search, search
from jles.structures.skin import GROWTH

NVE = Nve()
EVERY_STEP = RecordConfig(thermo=1, positions=1, velocities=1)


def springs(stiffness, masses, charge=0.0) -> System:
    """Independent charged springs to the origin; in a field -charge E . sum r."""
    stiffness = jnp.asarray(stiffness)

    def energy(positions, cell, neighbors, applied):
        inner = 0.5 * jnp.sum(stiffness * positions**2)
        return inner if applied is None else inner - charge * jnp.sum(positions @ applied)

    return System(
        np.asarray(masses, float),
        energy,
        free=False,
        dipole=lambda r, cell, neighbors: charge * jnp.sum(r, axis=0),
        observables={"polarization": lambda r, *_: charge * jnp.sum(r, axis=0)},
    )


def anharmonic_chain(count=16, seed=0) -> System:
    """A ring of coupled quartic oscillators of different masses, which exchange heat."""
    masses = np.random.default_rng(seed).uniform(1.0, 4.0, count)

    def energy(positions, cell, neighbors, applied):
        del cell, neighbors, applied
        near = positions - jnp.roll(positions, 1, axis=0)
        return jnp.sum(0.5 * positions**2 + 4.0 * positions**4 + 1.0 * near**2)

    return System(masses, energy, free=False)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PairNeighbors:
    """Neighbours, and the plan of a reciprocal sum."""

    index: jax.Array
    shift: jax.Array
    mask: jax.Array
    near: int = field(default=0, metadata={"static": True})
    grid: KGrid | None = field(default=None, metadata={"static": True})
    search: SearchPlan | None = field(default=None, metadata={"static": True})


REACH, K_MAX = 4.2, 2.0
SIGMA, EPSILON = 2.3, 0.02


def waves(charges, positions, cell, grid):
    """Reciprocal sum with a smooth cutoff, per volume."""
    axes = [np.arange(-n, n + 1) for n in grid]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    kvecs = 2.0 * np.pi * index[np.any(index != 0, axis=1)] @ jnp.linalg.inv(cell).T
    squared = jnp.sum(kvecs**2, axis=1)
    weight = jnp.where(squared < K_MAX**2, (1.0 - squared / K_MAX**2) ** 3, 0.0)
    phase = kvecs @ positions.T
    factor = (jnp.cos(phase) @ charges) ** 2 + (jnp.sin(phase) @ charges) ** 2
    return weight @ factor / jnp.abs(jnp.linalg.det(cell))


def liquid(atoms, skin=0.4, charges=None, on_device=True) -> System:
    """Lennard-Jones pairs with a smooth cutoff, and a reciprocal sum if charges are given.

    Neighbours are searched on the device, or on the host.
    """

    def distances2(positions, cell, neighbors):
        places = positions[neighbors.index] + neighbors.shift.astype(cell.dtype) @ cell
        squared = jnp.sum((places - positions[:, None]) ** 2, axis=-1)
        return jnp.where(neighbors.mask, squared, 2.0 * REACH**2)

    def pairs(positions, cell, neighbors):
        squared = distances2(positions, cell, neighbors)
        # As in a pruned list, neighbours without a slot are lost.
        order = jnp.cumsum(squared < REACH**2, axis=1)
        squared = jnp.where(order > neighbors.near, 2.0 * REACH**2, squared)
        x = SIGMA**6 / squared**3
        ended = jnp.where(squared < REACH**2, (1.0 - squared / REACH**2) ** 3, 0.0)
        return 0.5 * jnp.sum(4.0 * EPSILON * (x**2 - x) * ended)

    def energy(positions, cell, neighbors, applied):
        del applied
        value = pairs(positions, cell, neighbors)
        if charges is None:
            return value
        return value + waves(jnp.asarray(charges), positions, cell, neighbors.grid)

    def rebuild_neighbors(positions, cell, capacity):
        table = find_neighbors(positions, cell, atoms.pbc, REACH + skin)
        need = table.index.shape[1]
        slots = capacity.neighbors
        if need > slots:
            slots = math.ceil(GROWTH * max(need, slots))
        grid = None
        if charges is not None:
            own = plan_kgrid(cell, K_MAX)
            grid = own if capacity.plan is None else merge_kgrids([own, capacity.plan.grid])
        plan = capacity.search
        if plan is None or plan.slots != slots:
            plan = plan_search(positions, cell, atoms.pbc, REACH + skin, slots, margin=0.1)
        pad = ((0, 0), (0, slots - need))
        neighbors = PairNeighbors(
            jnp.asarray(np.pad(table.index, pad)),
            jnp.asarray(np.pad(table.shift, (*pad, (0, 0)))),
            jnp.asarray(np.pad(table.mask, pad)),
            capacity.near or slots,
            grid,
            plan,
        )
        least = neighbors.near + int(missing_slots(positions, cell, neighbors))
        neighbors = replace(neighbors, near=max(neighbors.near, least))
        return neighbors, Capacity(slots, neighbors.near, SumPlan(grid=grid), plan)

    def search_neighbors(positions, cell, neighbors):
        found = search(neighbors.search, positions, cell)
        lists = {"index": found.index, "shift": found.shift, "mask": found.mask}
        return replace(neighbors, **lists), found.incomplete

    def missing_slots(positions, cell, neighbors):
        near = jnp.sum(distances2(positions, cell, neighbors) < REACH**2, axis=1)
        return jnp.max(near) - neighbors.near

    def fits(cell, neighbors):
        return (
            True if neighbors.grid is None else ~kgrid_is_too_small(neighbors.grid, cell, K_MAX)
        )

    return System(
        atoms.get_masses(),
        energy,
        rebuild_neighbors=rebuild_neighbors,
        search_neighbors=search_neighbors if on_device else None,
        fits=fits,
        missing_slots=missing_slots,
        cutoff=REACH,
        skin=skin,
        pbc=tuple(map(bool, atoms.pbc)),
        cell=atoms.cell.array,
    )


def engine_of(
    system,
    ensemble=NVE,
    timestep=1.0,
    records=EVERY_STEP,
    block=10_000,
    say=lambda line: None,
    dtype=np.float64,
    **applied,
) -> Engine:
    """An engine; `applied` goes to `Forcing`."""
    masses = jnp.asarray(system.masses[:, None], dtype)
    integrator = build_integrator(ensemble, masses, timestep, system)
    recorders = build_recorders(records, system, integrator, masses)
    plan = RunPlan(system, integrator, recorders, masses, timestep, block)
    first = ensemble.temperature or 0.0
    kT = BOLTZMANN * jnp.asarray([first, ensemble.temperature_end or first], dtype)
    return Engine(plan, Forcing(kT, jnp.int32(block), **applied), say)


def begin(engine, positions, momenta, cell=None, seed=0, capacity=None):
    """The state before the first step, from NumPy arrays."""
    dtype = engine.plan.masses.dtype
    cell = engine.plan.system.cell if cell is None else cell
    arrays = (np.asarray(array, dtype) for array in (positions, momenta, cell))
    return engine.start(*arrays, jax.random.PRNGKey(seed), capacity)


def run(engine, state, steps):
    """Runs some steps and returns the outcome with its frames."""
    outcome = engine.run(state, state.step + steps)
    assert outcome.failure is None
    return outcome


def values(outcome, kind, key=None):
    """All frames of one quantity."""
    return outcome.frames[kind].values[key or kind]


def network(atoms, reach, stiffness=1.0) -> System:
    """A crystal of springs between the neighbours of the start, at rest in these positions."""
    table = find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    index, shift = table.index, jnp.asarray(table.shift, float)

    def lengths(positions, cell):
        squared = jnp.sum((positions[index] + shift @ cell - positions[:, None]) ** 2, axis=-1)
        return jnp.sqrt(jnp.where(table.mask, squared, 1.0))

    rest = lengths(jnp.asarray(atoms.positions), jnp.asarray(atoms.cell.array))

    def energy(positions, cell, neighbors, applied):
        del neighbors, applied
        return 0.25 * stiffness * jnp.sum((lengths(positions, cell) - rest) ** 2)

    pbc = tuple(map(bool, atoms.pbc))
    return System(atoms.get_masses(), energy, pbc=pbc, cell=atoms.cell.array)
