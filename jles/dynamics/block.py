"""Many steps in one compiled loop, which stops when the host must act.

The loop makes a trial step, checks it, and only then accepts it. It rejects a step if a
neighbour could be missing or if the new state is not physical, and continues from the state
before that step: at once with a new neighbour list, which it searches on the device, or after
the host has acted. The trajectory therefore does not depend on where a block ends, and no
accepted step misses a neighbour.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jles.dynamics.forces import (
    Forcing,
    acting_field,
    forces_and_virial,
    forces_at,
    kT_at,
    midway,
    polarization_after,
)
from jles.dynamics.integrators import Integrator, quiet
from jles.dynamics.motion import Motion
from jles.dynamics.records import (
    Recorder,
    Snapshot,
    empty_buffers,
    record,
    zero_values,
)
from jles.dynamics.system import NeighborList, System
from jles.dynamics.units import BOLTZMANN
from jles.jax_md.npt import kinetic_energy
from jles.products import matmul
from jles.structures.skin import Reference, is_stale
from jles.typing import Scalar

GOOD, STALE_NEIGHBORS, PLAN_TOO_SMALL, TOO_MANY_NEIGHBORS, BLOWN_UP = range(5)
"""Reasons why the loop stopped.

GOOD: all steps are done. STALE_NEIGHBORS: the neighbour list may lack a pair. PLAN_TOO_SMALL:
the cell needs more k-vectors or mesh points than are planned. TOO_MANY_NEIGHBORS: an atom has
more neighbours than slots. BLOWN_UP: the state is not physical."""

HOTTEST = 1e5
"""K; above this temperature no model is valid, and the run is stopped."""


class Lists(NamedTuple):
    """Neighbour list, and what it was made for.

    Attributes:
        neighbors: neighbour list of the system.
        reference: positions and cell for which it was made.
        made_at: step at which it was made.
    """

    neighbors: NeighborList
    reference: Reference
    made_at: Array


class Halt(NamedTuple):
    """The reason why a step was rejected.

    Attributes:
        reason: one of the constants above.
        atom: index of the atom that moved farthest, or of one that is not finite.
        moved: distance it moved, angstrom; NaN if it is not finite.
        missing_slots: see `System`.
    """

    reason: Array
    atom: Array
    moved: Array
    missing_slots: Array


class BlockState(NamedTuple):
    """State of the compiled loop.

    Attributes:
        motion: positions, momenta and whatever else moves.
        step: number of steps done.
        recorded: last step that was recorded; -1 before the first.
    """

    motion: Motion
    step: Array
    recorded: Array


class RunPlan(NamedTuple):
    """Everything that the compiled loop depends on; static.

    Attributes:
        system: atoms and their interactions.
        integrator: equations of motion.
        recorders: what is recorded.
        masses: u, (atoms, 1).
        timestep: fs; None for a minimisation.
        block: maximum number of steps per call.
        sum_rule: see `forces_at`.
        follow_work: whether to integrate the work of the field, at one more gradient per step.
    """

    system: System
    integrator: Integrator
    recorders: dict[str, Recorder]
    masses: Array
    timestep: Scalar | None
    block: int
    sum_rule: bool = True
    follow_work: bool = True

    @property
    def clock(self) -> Scalar:
        """Time per step, fs; 0 for a minimisation."""
        return 0.0 if self.timestep is None else self.timestep


def start_motion(
    plan: RunPlan, positions, momenta, cell, neighbors: NeighborList, forcing: Forcing, key
) -> Motion:
    """Motion before the first step."""
    system, integrator = plan.system, plan.integrator
    time = jnp.zeros((), positions.dtype)
    places = positions, cell, neighbors
    polarization = None if forcing.displacement is None else system.dipole(*places)
    field = acting_field(system, forcing, polarization, *places, jnp.int32(0), time)
    forces, virial = _evaluate(plan, *places, field)
    none = jnp.zeros_like(forces), jnp.zeros_like(virial)
    motion = Motion(positions, momenta, forces, cell, (), *none, time, polarization)
    kT = forcing.kT[0]
    motion = integrator.start(motion, key, kT, *((virial,) if integrator.moves_cell else ()))
    field_forces, field_virial = _field_part(plan, motion, neighbors, forcing)
    return motion._replace(field_forces=field_forces, field_virial=field_virial)


def make_block(plan: RunPlan, on_trace: Callable[[], None] = lambda: None):
    """Compiles `(loop, lists, forcing, last) -> (loop, lists, buffers, halt, done)`.

    The loop runs until step `last` is recorded, the host must act, or the integrator is done.

    Args:
        plan: static.
        on_trace: called every time the loop is traced.
    """

    def snapshot_of(loop: BlockState, neighbors, forcing) -> Snapshot:
        time = loop.step.astype(loop.motion.positions.dtype) * plan.clock
        return Snapshot(loop.motion, neighbors, forcing, loop.step, time)

    # These are computed together with the forces: XLA then computes the features of the network
    # once for both.
    often = {name: each for name, each in plan.recorders.items() if each.with_forces}

    def found_at(loop, neighbors, forcing):
        snapshot = snapshot_of(loop, neighbors, forcing)
        return {name: recorder.values(snapshot) for name, recorder in often.items()}

    @jax.jit
    def block(loop, lists, forcing, last):
        on_trace()

        def attempt(loop, lists, found):
            moved = advance(plan, loop, lists.neighbors, forcing)
            halt = check_step(plan, loop.motion, moved, lists)
            after = loop._replace(motion=moved, step=loop.step + 1)
            new = after, found_at(after, lists.neighbors, forcing)
            accepted = halt.reason == GOOD
            loop, found = jax.tree.map(partial(jnp.where, accepted), new, (loop, found))
            return loop, found, halt

        def body(carry):
            loop, lists, buffers, found, _, _ = carry
            done = plan.integrator.is_done(loop.motion)
            fresh = loop.step > loop.recorded
            snapshot = snapshot_of(loop, lists.neighbors, forcing)
            buffers = record(plan.recorders, buffers, snapshot, fresh, found)
            loop = loop._replace(recorded=loop.step)
            at_end = (loop.step >= last) | done
            loop, found, halt = jax.lax.cond(
                at_end, lambda p, _, f: (p, f, _no_halt(p)), attempt, loop, lists, found
            )
            lists, halt = search_again(plan, loop, lists, halt)
            return loop, lists, buffers, found, halt, at_end

        snapshot = snapshot_of(loop, lists.neighbors, forcing)
        buffers = empty_buffers(plan.recorders, snapshot, plan.block)
        # Only the first snapshot of a run was not reached by a step of this or another block.
        found = jax.lax.cond(
            loop.step > loop.recorded,
            lambda: found_at(loop, lists.neighbors, forcing),
            lambda: {name: zero_values(one, snapshot) for name, one in often.items()},
        )
        carry = loop, lists, buffers, found, _no_halt(loop), jnp.zeros((), bool)
        loop, lists, buffers, _, halt, done = jax.lax.while_loop(
            lambda c: ~c[5] & (c[4].reason == GOOD), body, carry
        )
        return loop, lists, buffers, halt, done

    def block_without_warnings(*arguments):
        with quiet():
            return block(*arguments)

    return block_without_warnings


def search_again(plan: RunPlan, loop: BlockState, lists: Lists, halt: Halt):
    """The lists, made again on the device if they are too old, and the halt that remains.

    The host must act if the new lists would be too small, or if the present ones were made for
    this very state.
    """
    search = plan.system.search_neighbors
    if search is None:
        return lists, halt
    motion = loop.motion
    due = (halt.reason == STALE_NEIGHBORS) & (lists.made_at < loop.step)

    def renew():
        neighbors, incomplete = search(motion.positions, motion.cell, lists.neighbors)
        # Incomplete lists are of no use; the host replaces them.
        made_at = jnp.where(incomplete, lists.made_at, loop.step)
        return Lists(neighbors, Reference(motion.positions, motion.cell), made_at), ~incomplete

    lists, renewed = jax.lax.cond(due, renew, lambda: (lists, jnp.zeros((), bool)))
    return lists, halt._replace(reason=jnp.where(renewed, GOOD, halt.reason))


def advance(
    plan: RunPlan, loop: BlockState, neighbors: NeighborList, forcing: Forcing
) -> Motion:
    """One trial step, not yet accepted."""
    system, motion = plan.system, loop.motion
    kT = kT_at(forcing, loop.step)
    step = loop.step + 1
    time = step.astype(motion.positions.dtype) * plan.clock

    def polarization_at(positions):
        held = motion.cell, neighbors, plan.sum_rule
        return polarization_after(system, motion, positions, *held)

    def force_fn(positions, cell=motion.cell, **_):
        places, polarization = (positions, cell, neighbors), polarization_at(positions)
        field = acting_field(system, forcing, polarization, *places, step, time)
        forces, virial = _evaluate(plan, *places, field)
        return (forces, virial) if plan.integrator.moves_cell else forces

    moved = plan.integrator.step(motion, force_fn, kT)
    # XLA merges this with the same computation for the forces.
    moved = moved._replace(polarization=polarization_at(moved.positions))
    field_forces, field_virial = _field_part(plan, moved, neighbors, forcing)
    moved = moved._replace(field_forces=field_forces, field_virial=field_virial)
    return moved._replace(work=motion.work + _work(plan, motion, moved))


def check_step(plan: RunPlan, before: Motion, after: Motion, lists: Lists) -> Halt:
    """Whether a trial step can be accepted."""
    system, neighbors = plan.system, lists.neighbors
    moved = jnp.sqrt(jnp.sum((after.positions - before.positions) ** 2, axis=1))
    arrays = jnp.stack([after.positions, after.momenta, after.forces])
    finite = jnp.all(jnp.isfinite(arrays), axis=(0, 2))
    atom = jnp.argmax(jnp.where(finite, moved, jnp.inf))
    heat = (
        2.0 * kinetic_energy(after.momenta, plan.masses) / (plan.integrator.degrees * BOLTZMANN)
    )
    hot = False if _has_no_temperature(plan) else heat > HOTTEST
    blown_up = ~finite[atom] | (moved[atom] > system.cutoff / 2) | hot
    reason = jnp.where(neighbors_are_stale(plan, after, lists.reference), STALE_NEIGHBORS, GOOD)
    missing = system.missing_slots(after.positions, after.cell, neighbors)
    if after.polarization is not None:
        between = midway(before, after.positions), after.cell, neighbors
        missing = jnp.maximum(missing, system.missing_slots(*between))
    reason = jnp.where((reason == GOOD) & (missing > 0), TOO_MANY_NEIGHBORS, reason)
    if plan.integrator.moves_cell:
        reason = jnp.where(system.fits(after.cell, neighbors), reason, PLAN_TOO_SMALL)
    return Halt(
        jnp.where(blown_up, BLOWN_UP, reason).astype(jnp.int32),
        atom.astype(jnp.int32),
        jnp.where(finite[atom], moved[atom], jnp.nan),
        missing.astype(jnp.int32),
    )


def neighbors_are_stale(plan: RunPlan, motion: Motion, reference: Reference) -> Array:
    """Whether a pair outside the neighbour list could now be within the cutoff."""
    cutoff, skin = plan.system.cutoff, plan.system.skin
    if cutoff == float("inf"):
        return jnp.zeros((), bool)
    cell = motion.cell if plan.integrator.moves_cell else None
    return is_stale(reference, motion.positions, cell, cutoff, skin)


def _evaluate(
    plan: RunPlan, positions, cell, neighbors: NeighborList, field
) -> tuple[Array, Array]:
    """Forces, and the virial if the cell moves, otherwise zero."""
    if plan.integrator.moves_cell:
        return forces_and_virial(plan.system, positions, cell, neighbors, field, plan.sum_rule)
    forces = forces_at(plan.system, positions, cell, neighbors, field, plan.sum_rule)
    return forces, jnp.zeros((3, 3), forces.dtype)


def _field_part(
    plan: RunPlan, motion: Motion, neighbors: NeighborList, forcing: Forcing
) -> tuple[Array, Array]:
    """Contribution of the field to forces and virial."""
    if not (forcing.acts and plan.follow_work):
        return jnp.zeros_like(motion.forces), jnp.zeros((3, 3), motion.forces.dtype)
    forces, virial = _evaluate(plan, motion.positions, motion.cell, neighbors, None)
    total = motion.bath.virial if plan.integrator.moves_cell else virial
    return motion.forces - forces, total - virial


def _work(plan: RunPlan, before: Motion, after: Motion) -> Array:
    r"""Work of the field during one step by the trapezoidal rule, eV.

    .. math:: dW = F\cdot ds\,h + \Xi : h^{-1} dh

    F and :math:`\Xi` are the field's forces and virial, s fractional coordinates, h the cell.
    The second term is the work of moving the atoms along with the cell.
    """
    if not plan.integrator.moves_cell:
        moved = after.positions - before.positions
        return 0.5 * jnp.sum((after.field_forces + before.field_forces) * moved)
    first, last = (jnp.linalg.solve(m.cell.T, m.positions.T).T for m in (before, after))
    grown = after.cell - before.cell

    def rate(motion):
        strain = jnp.linalg.solve(motion.cell, grown)
        moved = matmul(last - first, motion.cell)
        return jnp.sum(motion.field_forces * moved) + jnp.sum(motion.field_virial * strain)

    return 0.5 * (rate(before) + rate(after))


def _no_halt(loop: BlockState) -> Halt:
    dtype = loop.motion.positions.dtype
    return Halt(jnp.int32(GOOD), jnp.int32(0), jnp.zeros((), dtype), jnp.int32(0))


def _has_no_temperature(plan: RunPlan) -> bool:
    """A minimisation: its momenta have no physical meaning."""
    return plan.timestep is None
