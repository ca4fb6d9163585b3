"""The host's part of a run: makes frames of what surrounds the atoms, and calls compiled blocks."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import (
    BLOWN_UP,
    CROWDED,
    NO_ROOM,
    OLD_FRAME,
    Anchor,
    Halt,
    Plan,
    Progress,
    make_block,
    start_motion,
)
from jles.dynamics.forces import Drive
from jles.dynamics.integrators import quiet
from jles.dynamics.system import GROWTH, NEAR_GROWTH, Frame, Room
from jles.electrostatics.plan import describe_plan, grow_plan


class Walk(NamedTuple):
    """A run between two calls: where it stands and what surrounds it.

    Attributes:
        progress: state and step.
        frame: of the system.
        anchor: where atoms and cell were when the frame was made.
        room: capacities of the frame.
        looked_at: step at which the frame was made.
    """

    progress: Progress
    frame: Frame
    anchor: Anchor
    room: Room
    looked_at: int

    @property
    def step(self) -> int:
        """Steps that have been made."""
        return int(self.progress.step)


class Frames(NamedTuple):
    """What was recorded of one kind: steps (frames,) and values by name, NumPy."""

    steps: np.ndarray
    values: dict[str, np.ndarray]


class Outcome(NamedTuple):
    """After a block: the walk, its frames by kind, whether it is done, why it cannot go on."""

    walk: Walk
    frames: dict[str, Frames]
    done: bool
    failure: str | None


class Engine:
    """Runs a plan; nothing here knows of files.

    Args:
        plan: what is run.
        drive: what is done to it from outside.
        say: where a line about a grown capacity goes.

    Attributes:
        traces: how often the loop has been traced, which each time costs a compilation.
    """

    def __init__(
        self, plan: Plan, drive: Drive, say: Callable[[str], None] = lambda line: None
    ):
        self.plan, self.drive, self._say = plan, drive, say
        self.traces = 0
        self._block = make_block(plan, self._count_trace)

    def _count_trace(self) -> None:
        self.traces += 1

    def start(self, positions, momenta, cell, key, room: Room | None = None) -> Walk:
        """The walk before the first step.

        Args:
            positions: angstrom, (atoms, 3).
            momenta: internal units, (atoms, 3).
            cell: rows are lattice vectors, (3, 3).
            key: of the random numbers, `jax.random.PRNGKey`.
            room: capacities to begin with.
        """
        anchor = Anchor(jnp.asarray(positions), jnp.asarray(cell))
        frame, room = self._look(anchor, room or Room())
        # One function object a call: what jax keeps of it goes when it has been used.
        start = jax.jit(lambda *arguments: start_motion(self.plan, *arguments))
        with quiet():
            motion = start(anchor.positions, momenta, anchor.cell, frame, self.drive, key)
        return Walk(Progress(motion, jnp.int32(0), jnp.int32(-1)), frame, anchor, room, 0)

    def resume(self, progress: Progress, anchor: Anchor, room: Room, looked_at: int) -> Walk:
        """A walk as it was when these were taken from it."""
        frame, room = self._look(anchor, room)
        return Walk(progress, frame, anchor, room, looked_at)

    def run(self, walk: Walk, last: int) -> Outcome:
        """Goes on until step `last` is recorded; not farther than `plan.block` steps."""
        parts: dict[str, list[Frames]] = {name: [] for name in self.plan.recorders}
        while True:
            progress, buffers, halt, done = self._block(
                walk.progress, walk.frame, walk.anchor, self.drive, jnp.int32(last)
            )
            for name, frames in _fetch(buffers).items():
                parts[name].append(frames)
            walk = walk._replace(progress=progress)
            reason = int(halt.reason)
            failure = self._failure(walk, halt)
            if failure or reason not in (OLD_FRAME, NO_ROOM, CROWDED):
                return Outcome(walk, _joined(parts), bool(done) and walk.step < last, failure)
            walk = self._look_again(walk, halt)

    def _look(self, anchor: Anchor, room: Room) -> tuple[Frame, Room]:
        frame, after = self.plan.system.look(*map(np.asarray, anchor), room)
        growth = _growth(room, after)
        if room.neighbors and growth:
            self._say(growth)
        return frame, after

    def _look_again(self, walk: Walk, halt: Halt) -> Walk:
        """A new frame for exactly the state that was reached."""
        room, reason = walk.room, int(halt.reason)
        if reason == NO_ROOM:
            room = room._replace(plan=grow_plan(room.plan, GROWTH))
        if reason == CROWDED:
            room = room._replace(near=math.ceil(NEAR_GROWTH * (room.near + int(halt.lacking))))
        if room != walk.room:
            self._say(f"step {walk.step}: {_growth(walk.room, room)}")
        anchor = Anchor(walk.progress.motion.positions, walk.progress.motion.cell)
        frame, room = self._look(anchor, room)
        return walk._replace(frame=frame, anchor=anchor, room=room, looked_at=walk.step)

    def _failure(self, walk: Walk, halt: Halt) -> str | None:
        """Why the next step cannot be made at all."""
        reason, atom, moved = int(halt.reason), int(halt.atom), float(halt.moved)
        where = f"step {walk.step + 1}: "
        if reason == BLOWN_UP:
            went = f"moved {moved:.3g} angstrom in one step"
            if math.isnan(moved):
                went = "has a position, momentum or force that is not finite"
            return (
                f"{where}atom {atom} {went} or the atoms are hotter than matter can be; "
                "take a smaller timestep, or relax the start with ensemble.kind 'minimise'"
            )
        if reason == OLD_FRAME and walk.looked_at == walk.step:
            return (
                f"{where}atom {atom} moved {moved:.3g} angstrom, more than half the skin of "
                f"{self.plan.system.skin} angstrom, in one step; take a larger neighbors.skin or "
                "a smaller timestep"
            )
        return None


def _growth(before: Room, after: Room) -> str:
    """A line about it; empty where nothing grew."""
    words = []
    if after.neighbors != before.neighbors:
        words.append(f"neighbours per atom from {before.neighbors} to {after.neighbors}")
    if before.near and after.near != before.near:
        words.append(f"neighbours within the cutoff from {before.near} to {after.near}")
    if before.plan is not None and after.plan != before.plan:
        words.append(f"the lattice sum to a {describe_plan(after.plan)}")
    return "room grows: " + ", ".join(words) if words else ""


def _fetch(buffers: dict) -> dict[str, Frames]:
    fetched = {}
    for name, (count, steps, values) in jax.device_get(buffers).items():
        kept = {key: rows[:count] for key, rows in values.items()}
        fetched[name] = Frames(steps[:count].astype(np.int64), kept)
    return fetched


def _joined(parts: dict[str, list[Frames]]) -> dict[str, Frames]:
    return {
        name: Frames(
            np.concatenate([part.steps for part in several]),
            {
                key: np.concatenate([part.values[key] for part in several])
                for key in several[0].values
            },
        )
        for name, several in parts.items()
    }
