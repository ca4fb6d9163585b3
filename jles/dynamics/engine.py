"""Host side of a run: calls the compiled loop, and grows capacities when it must."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import (
    BLOWN_UP,
    HOTTEST,
    PLAN_TOO_SMALL,
    STALE_NEIGHBORS,
    TOO_MANY_NEIGHBORS,
    BlockState,
    Halt,
    Lists,
    RunPlan,
    make_block,
    start_motion,
)
from jles.dynamics.forces import Forcing
from jles.dynamics.integrators import quiet
from jles.dynamics.system import Capacity, NeighborList
from jles.electrostatics.plan import describe_plan, grow_plan
from jles.errors import InputError
from jles.structures.skin import GROWTH, NEAR_GROWTH, Reference


class RunState(NamedTuple):
    """State of a run between two calls of the compiled loop.

    Attributes:
        loop: motion and step.
        neighbors: neighbour list of the system.
        reference: positions and cell for which the neighbour list was made.
        capacity: sizes of the neighbour list.
        rebuilt_at: step at which the neighbour list was made.
    """

    loop: BlockState
    neighbors: NeighborList
    reference: Reference
    capacity: Capacity
    rebuilt_at: int

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.loop.step)


class RecordedFrames(NamedTuple):
    """Recorded frames of one kind: steps (frames,), and values by name; NumPy arrays."""

    steps: np.ndarray
    values: dict[str, np.ndarray]


class Outcome(NamedTuple):
    """Result of a block.

    Attributes:
        state: after the block.
        frames: recorded frames by kind.
        done: whether the integrator stopped before the last step, as a minimisation does.
        failure: why the run cannot continue; None if it can.
    """

    state: RunState
    frames: dict[str, RecordedFrames]
    done: bool
    failure: str | None


class Engine:
    """Runs a plan; it reads and writes no files.

    Args:
        plan: what is run.
        forcing: temperature and field.
        say: called with a line when a capacity grows.

    Attributes:
        traces: how often the loop was traced; each trace is followed by a compilation.
    """

    def __init__(
        self, plan: RunPlan, forcing: Forcing, say: Callable[[str], None] = lambda line: None
    ):
        self.plan, self.forcing, self._say = plan, forcing, say
        self.traces = 0
        self._block = make_block(plan, self._count_trace)

    def _count_trace(self) -> None:
        self.traces += 1

    def start(
        self, positions, momenta, cell, key, capacity: Capacity | None = None
    ) -> RunState:
        """The state before the first step.

        Args:
            positions: angstrom, (atoms, 3).
            momenta: internal units, (atoms, 3).
            cell: rows are lattice vectors, (3, 3).
            key: random key, `jax.random.PRNGKey`.
            capacity: initial capacity.
        """
        reference = Reference(jnp.asarray(positions), jnp.asarray(cell))
        neighbors, capacity = self._rebuild(reference, capacity or Capacity())
        # A new function per call, so that JAX drops its compiled code after use.
        start = jax.jit(lambda *arguments: start_motion(self.plan, *arguments))
        with quiet():
            motion = start(
                reference.positions, momenta, reference.cell, neighbors, self.forcing, key
            )
        return RunState(
            BlockState(motion, jnp.int32(0), jnp.int32(-1)), neighbors, reference, capacity, 0
        )

    def resume(
        self, loop: BlockState, reference: Reference, capacity: Capacity, rebuilt_at: int
    ) -> RunState:
        """The state that these parts were taken from, with a new neighbour list."""
        neighbors, capacity = self._rebuild(reference, capacity)
        return RunState(loop, neighbors, reference, capacity, rebuilt_at)

    def run(self, state: RunState, last: int) -> Outcome:
        """Runs until step `last` is recorded, at most `plan.block` steps."""
        parts: dict[str, list[RecordedFrames]] = {name: [] for name in self.plan.recorders}
        while True:
            lists = Lists(state.neighbors, state.reference, jnp.int32(state.rebuilt_at))
            loop, lists, buffers, halt, done = self._block(
                state.loop, lists, self.forcing, jnp.int32(last)
            )
            for name, frames in _fetch(buffers).items():
                parts[name].append(frames)
            state = state._replace(
                loop=loop,
                neighbors=lists.neighbors,
                reference=lists.reference,
                rebuilt_at=int(lists.made_at),
            )
            reason = int(halt.reason)
            failure = self._failure(state, halt)
            if failure or reason not in (STALE_NEIGHBORS, PLAN_TOO_SMALL, TOO_MANY_NEIGHBORS):
                return Outcome(state, _joined(parts), bool(done) and state.step < last, failure)
            try:
                state = self._rebuild_at(state, halt)
            except InputError as error:
                failure = f"step {state.step}: {error}"
                return Outcome(state, _joined(parts), False, failure)

    def _rebuild(
        self, reference: Reference, capacity: Capacity
    ) -> tuple[NeighborList, Capacity]:
        neighbors, after = self.plan.system.rebuild_neighbors(
            *map(np.asarray, reference), capacity
        )
        growth = _growth(capacity, after)
        if capacity.neighbors and growth:
            self._say(growth)
        return neighbors, after

    def _rebuild_at(self, state: RunState, halt: Halt) -> RunState:
        """Makes a new neighbour list for the state that was reached."""
        capacity, reason = state.capacity, int(halt.reason)
        if reason == PLAN_TOO_SMALL:
            capacity = capacity._replace(plan=grow_plan(capacity.plan, GROWTH))
        if reason == TOO_MANY_NEIGHBORS:
            capacity = capacity._replace(
                near=math.ceil(NEAR_GROWTH * (capacity.near + int(halt.missing_slots)))
            )
        if capacity != state.capacity:
            self._say(f"step {state.step}: {_growth(state.capacity, capacity)}")
        reference = Reference(state.loop.motion.positions, state.loop.motion.cell)
        neighbors, capacity = self._rebuild(reference, capacity)
        return state._replace(
            neighbors=neighbors, reference=reference, capacity=capacity, rebuilt_at=state.step
        )

    def _failure(self, state: RunState, halt: Halt) -> str | None:
        """The reason why the next step is impossible; None if it is not."""
        reason, atom, moved = int(halt.reason), int(halt.atom), float(halt.moved)
        where = f"step {state.step + 1}: "
        if reason == BLOWN_UP:
            problem = f"moved {moved:.3g} angstrom, or the temperature exceeds {HOTTEST:g} K"
            if math.isnan(moved):
                problem = "has a position, momentum or force that is not finite"
            return (
                f"{where}atom {atom} {problem}; take a smaller timestep, or relax the start "
                "with ensemble.kind 'minimise'"
            )
        if reason == STALE_NEIGHBORS and state.rebuilt_at == state.step:
            return (
                f"{where}atom {atom} moved {moved:.3g} angstrom, more than half the skin of "
                f"{self.plan.system.skin} angstrom, in one step; take a larger neighbors.skin "
                "or a smaller timestep"
            )
        return None


def _growth(before: Capacity, after: Capacity) -> str:
    """A line that says which capacities grew; empty if none did."""
    words = []
    if after.neighbors != before.neighbors:
        words.append(f"neighbours per atom from {before.neighbors} to {after.neighbors}")
    if before.near and after.near != before.near:
        words.append(f"neighbours within the cutoff from {before.near} to {after.near}")
    if before.plan is not None and after.plan != before.plan:
        words.append(f"the lattice sum to a {describe_plan(after.plan)}")
    if before.rows and after.rows != before.rows:
        words.append(f"atoms around those of a device from {before.rows} to {after.rows}")
    if before.search is not None and not words and after.search != before.search:
        words.append("the neighbour search to a smaller cell")
    return "capacity grows: " + ", ".join(words) if words else ""


def _fetch(buffers: dict) -> dict[str, RecordedFrames]:
    fetched = {}
    for name, (count, steps, values) in jax.device_get(buffers).items():
        kept = {key: rows[:count] for key, rows in values.items()}
        fetched[name] = RecordedFrames(steps[:count].astype(np.int64), kept)
    return fetched


def _joined(parts: dict[str, list[RecordedFrames]]) -> dict[str, RecordedFrames]:
    return {
        name: RecordedFrames(
            np.concatenate([part.steps for part in several]),
            {
                key: np.concatenate([part.values[key] for part in several])
                for key in several[0].values
            },
        )
        for name, several in parts.items()
    }
