"""Many steps in one compiled loop that knows when it must stop.

A step is made, looked at, and only then taken: one for which the frame knows too little, or after
which the state makes no sense, is dropped, and the host goes on from the state before it. So no
step ever depends on where a block ends, and none is taken with a neighbour missing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jles.dynamics.forces import (
    Drive,
    acting_field,
    forces_and_virial,
    forces_at,
    kT_at,
)
from jles.dynamics.integrators import Integrator, quiet
from jles.dynamics.motion import Motion, kinetic_energy
from jles.dynamics.records import Recorder, Scene, empty_buffers, record
from jles.dynamics.system import Frame, System
from jles.dynamics.units import BOLTZMANN
from jles.typing import Cell, Positions

GOOD, OLD_FRAME, NO_ROOM, CROWDED, BLOWN_UP = range(5)
"""Why a loop stopped: it did all; neighbours may be missing; wave vectors are, or slots for
neighbours; or nonsense."""

HOTTEST = 1e5
"""K; no model knows matter at more than this."""


class Anchor(NamedTuple):
    """Where atoms and cell were when the frame was made."""

    positions: Positions
    cell: Cell


class Halt(NamedTuple):
    """Why a step was not taken, and which atom went how far in it, angstrom (NaN: nowhere).

    `lacking`: slots within reach, see `System`.
    """

    reason: Array
    atom: Array
    moved: Array
    lacking: Array


class Progress(NamedTuple):
    """Where a run stands: the state, the step, and the last step that was recorded."""

    motion: Motion
    step: Array
    recorded: Array


class Plan(NamedTuple):
    """All that a run's compilation depends on; static.

    Attributes:
        system: the matter.
        integrator: how it moves.
        recorders: what is written down.
        masses: u, (atoms, 1).
        timestep: fs; None where nothing has a time.
        block: most steps of one call.
        sum_rule: see `forces_at`.
        follow_work: whether the work of a field is summed up, for one more gradient a step.
    """

    system: System
    integrator: Integrator
    recorders: dict[str, Recorder]
    masses: Array
    timestep: float | None
    block: int
    sum_rule: bool = True
    follow_work: bool = True

    @property
    def clock(self) -> float:
        """Fs that pass in a step."""
        return self.timestep or 0.0


def start_motion(
    plan: Plan, positions, momenta, cell, frame: Frame, drive: Drive, key
) -> Motion:
    """The state before the first step."""
    system, integrator = plan.system, plan.integrator
    time = jnp.zeros((), positions.dtype)
    field = acting_field(system, drive, positions, cell, frame, time)
    forces, virial = _acts(plan, positions, cell, frame, field)
    none = jnp.zeros_like(forces), jnp.zeros_like(virial)
    motion = Motion(positions, momenta, forces, cell, (), *none, time)
    kT = drive.kT[0]
    motion = integrator.start(motion, key, kT, *((virial,) if integrator.moves_cell else ()))
    pulled, pulled_virial = _field_part(plan, motion, frame, drive)
    return motion._replace(field_forces=pulled, field_virial=pulled_virial)


def make_block(plan: Plan, on_trace: Callable[[], None] = lambda: None):
    """A compiled `(progress, frame, anchor, drive, last) -> (progress, buffers, halt, done)`.

    It steps until `last` has been reached and recorded, until a step cannot be taken, or until
    the integrator is done.

    Args:
        plan: static.
        on_trace: called whenever the loop is traced.
    """

    def scene_of(progress: Progress, frame, drive) -> Scene:
        time = progress.step.astype(progress.motion.positions.dtype) * plan.clock
        return Scene(progress.motion, frame, drive, progress.step, time)

    @jax.jit
    def block(progress, frame, anchor, drive, last):
        on_trace()

        def attempt(progress):
            moved = advance(plan, progress, frame, drive)
            halt = judge(plan, progress.motion, moved, frame, anchor)
            taken = halt.reason == GOOD
            motion = jax.tree.map(
                lambda new, old: jnp.where(taken, new, old), moved, progress.motion
            )
            return progress._replace(motion=motion, step=progress.step + taken), halt

        def body(carry):
            progress, buffers, _, _ = carry
            done = plan.integrator.is_done(progress.motion)
            fresh = progress.step > progress.recorded
            buffers = record(plan.recorders, buffers, scene_of(progress, frame, drive), fresh)
            progress = progress._replace(recorded=progress.step)
            at_end = (progress.step >= last) | done
            progress, halt = jax.lax.cond(at_end, lambda p: (p, _no_halt(p)), attempt, progress)
            return progress, buffers, halt, at_end

        buffers = empty_buffers(plan.recorders, scene_of(progress, frame, drive), plan.block)
        carry = progress, buffers, _no_halt(progress), jnp.zeros((), bool)
        return jax.lax.while_loop(lambda c: ~c[3] & (c[2].reason == GOOD), body, carry)

    def quietly(*arguments):
        with quiet():
            return block(*arguments)

    return quietly


def advance(plan: Plan, progress: Progress, frame: Frame, drive: Drive) -> Motion:
    """The state one step later, whatever it is worth."""
    system, motion = plan.system, progress.motion
    kT = kT_at(drive, progress.step)
    time = (progress.step + 1).astype(motion.positions.dtype) * plan.clock

    def force_fn(positions, cell=motion.cell, **_):
        field = acting_field(system, drive, positions, cell, frame, time)
        forces, virial = _acts(plan, positions, cell, frame, field)
        return (forces, virial) if plan.integrator.moves_cell else forces

    moved = plan.integrator.step(motion, force_fn, kT)
    pulled, pulled_virial = _field_part(plan, moved, frame, drive)
    moved = moved._replace(field_forces=pulled, field_virial=pulled_virial)
    return moved._replace(work=motion.work + _work(plan, motion, moved))


def judge(plan: Plan, before: Motion, after: Motion, frame: Frame, anchor: Anchor) -> Halt:
    """Whether a step can be taken."""
    system = plan.system
    way = jnp.sqrt(jnp.sum((after.positions - before.positions) ** 2, axis=1))
    arrays = jnp.stack([after.positions, after.momenta, after.forces])
    sound = jnp.all(jnp.isfinite(arrays), axis=(0, 2))
    atom = jnp.argmax(jnp.where(sound, way, jnp.inf))
    heat = (
        2.0 * kinetic_energy(after.momenta, plan.masses) / (plan.integrator.degrees * BOLTZMANN)
    )
    hot = False if _has_no_temperature(plan) else heat > HOTTEST
    blown_up = ~sound[atom] | (way[atom] > system.reach / 2) | hot
    reason = jnp.where(is_old(plan, after, anchor), OLD_FRAME, GOOD)
    lacking = system.lacking(after.positions, after.cell, frame)
    reason = jnp.where((reason == GOOD) & (lacking > 0), CROWDED, reason)
    if plan.integrator.moves_cell:
        reason = jnp.where(system.fits(after.cell, frame), reason, NO_ROOM)
    return Halt(
        jnp.where(blown_up, BLOWN_UP, reason).astype(jnp.int32),
        atom.astype(jnp.int32),
        jnp.where(sound[atom], way[atom], jnp.nan),
        lacking.astype(jnp.int32),
    )


def is_old(plan: Plan, motion: Motion, anchor: Anchor) -> Array:
    r"""Whether a pair that the frame does not know could have come within reach.

    With the cell's deformation F since the frame was made and what an atom has moved beyond it,
    u, a pair that was more than reach + skin apart is now more than
    :math:`(1 - |F - 1|)(\text{reach} + \text{skin}) - 2\max|u|` apart.
    """
    reach, skin = plan.system.reach, plan.system.skin
    if reach == float("inf"):
        return jnp.zeros((), bool)
    carried, strain = anchor.positions, 0.0
    if plan.integrator.moves_cell:
        deformation = jnp.linalg.solve(anchor.cell, motion.cell)
        carried = carried @ deformation
        strain = jnp.sqrt(jnp.sum((deformation - jnp.eye(3, dtype=carried.dtype)) ** 2))
    moved = jnp.sqrt(jnp.max(jnp.sum((motion.positions - carried) ** 2, axis=1)))
    return ~(2.0 * moved + strain * (reach + skin) <= skin)


def _acts(plan: Plan, positions, cell, frame: Frame, field) -> tuple[Array, Array]:
    """Forces, and the virial where the cell moves; zero where it does not."""
    if plan.integrator.moves_cell:
        return forces_and_virial(plan.system, positions, cell, frame, field, plan.sum_rule)
    forces = forces_at(plan.system, positions, cell, frame, field, plan.sum_rule)
    return forces, jnp.zeros((3, 3), forces.dtype)


def _field_part(plan: Plan, motion: Motion, frame: Frame, drive: Drive) -> tuple[Array, Array]:
    """The part of forces and virial that is there only because of a field."""
    if not (drive.acts and plan.follow_work):
        return jnp.zeros_like(motion.forces), jnp.zeros((3, 3), motion.forces.dtype)
    forces, virial = _acts(plan, motion.positions, motion.cell, frame, None)
    whole = motion.bath.virial if plan.integrator.moves_cell else virial
    return motion.forces - forces, whole - virial


def _work(plan: Plan, before: Motion, after: Motion) -> Array:
    r"""Of the field in one step, eV, by the trapezoidal rule.

    .. math:: dW = F\cdot ds\,h + W : h^{-1} dh

    with fractions s, the cell h and the virial W, which moves the atoms with the cell.
    """
    if not plan.integrator.moves_cell:
        way = after.positions - before.positions
        return 0.5 * jnp.sum((after.field_forces + before.field_forces) * way)
    first, last = (jnp.linalg.solve(m.cell.T, m.positions.T).T for m in (before, after))
    grown = after.cell - before.cell

    def rate(motion):
        strain = jnp.linalg.solve(motion.cell, grown)
        way = (last - first) @ motion.cell
        return jnp.sum(motion.field_forces * way) + jnp.sum(motion.field_virial * strain)

    return 0.5 * (rate(before) + rate(after))


def _no_halt(progress: Progress) -> Halt:
    dtype = progress.motion.positions.dtype
    return Halt(jnp.int32(GOOD), jnp.int32(0), jnp.zeros((), dtype), jnp.int32(0))


def _has_no_temperature(plan: Plan) -> bool:
    """Momenta of a minimisation are a device of it."""
    return plan.timestep is None
