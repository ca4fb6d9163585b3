"""A neighbour list with the interface of jax-md's, searched on the device."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jles.electrostatics.plan import SumPlan, plan_serves, slab_is_low
from jles.errors import InputError
from jles.jax_md.bound import Bound
from jles.products import matmul
from jles.structures.neighbors import find_neighbors
from jles.structures.prune import most_neighbors, most_neighbors_jit, prune
from jles.structures.search import Found, SearchPlan, plan_search, search, search_jit
from jles.structures.skin import NEAR_GROWTH, ROUNDING, Reference, is_stale, jumps
from jles.structures.structure import Structure

BOX_MARGIN = 0.1
"""Relative change of the cell edges that a list allows for if a box is given: growth in the
plan of the sum, shrinking in that of the search."""


class ListPlan(NamedTuple):
    """Static shapes of a neighbour list.

    Attributes:
        search: of the neighbours within cutoff + skin.
        near: slots per atom for neighbours within the cutoff.
        sums: plan of the electrostatic sum.
    """

    search: SearchPlan
    near: int
    sums: SumPlan


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NeighborList:
    """Neighbours of every atom within cutoff + skin; a pytree, like that of jax-md.

    Attributes:
        index: neighbour in each slot; padding slots hold the atom itself.
        shift: image of each slot, for the positions of `reference`.
        mask: False for padding slots.
        reference: positions and cell for which the list was made.
        slab_height: height of the cell a slab is summed in, angstrom; 1 for others.
        did_buffer_overflow: whether the list has been too small since it was allocated: too
            few slots, too few wavevectors for the cell, or too low a cell for a slab. Energies
            are NaN then; allocate again and repeat from the last state before.
        plan: static.
        update_fn: static; see `NeighborFns`.
    """

    index: Int[Array, "*copies atoms slots"]
    shift: Int[Array, "*copies atoms slots 3"]
    mask: Bool[Array, "*copies atoms slots"]
    reference: Reference
    slab_height: Float[Array, "*copies"]
    did_buffer_overflow: Bool[Array, "*copies"]
    plan: ListPlan = field(metadata={"static": True})
    update_fn: Callable = field(metadata={"static": True})

    @property
    def idx(self) -> Int[Array, "atoms slots"]:
        """Neighbours as in jax-md: padding slots hold the number of atoms."""
        return jnp.where(self.mask, self.index, len(self.index))

    @property
    def reference_position(self) -> Array:
        """Positions for which the list was made."""
        return self.reference.positions

    @property
    def max_occupancy(self) -> int:
        """Slots per atom."""
        return self.plan.search.slots

    def update(self, position, box=None, **unused) -> "NeighborList":
        """See `NeighborFns.update`."""
        return self.update_fn(position, self, box=box, **unused)


class NeighborFns(NamedTuple):
    """As `NeighborListFns` of jax-md.

    Attributes:
        allocate: `(position, extra_capacity=0, box=None) -> NeighborList`, on the host.
            Chooses the sizes of the list; a box makes the plan of the sum ready for longer
            edges.
        update: `(position, neighbors, box=None) -> NeighborList`, for compiled loops. Makes
            the list again if a neighbour could be missing from it, and sets
            `did_buffer_overflow` if it is too small. Call it before every step.
    """

    allocate: Callable[..., NeighborList]
    update: Callable[..., NeighborList]


def neighbor_fns(bound: Bound, skin: float, capacity_multiplier: float) -> NeighborFns:
    """The functions that make the neighbour list of a model.

    Raises:
        InputError: a skin that is not positive, or a capacity that does not suffice.
    """
    if not 0.0 < skin < math.inf:
        raise InputError(f"skin must be positive (angstrom), got {skin}")
    if capacity_multiplier < 1.0:
        raise InputError(f"capacity_multiplier must be at least 1, got {capacity_multiplier}")
    reach = (bound.cutoff + skin) * ROUNDING

    def allocate(position, extra_capacity: int = 0, box=None, **unused) -> NeighborList:
        if isinstance(position, jax.core.Tracer):
            raise InputError("neighbor_fn.allocate chooses array sizes; call it outside of jit")
        # A copy: JAX may share the memory of a NumPy array, which its owner may change.
        position, cell = jnp.array(position, bound.dtype), bound.cell(box)
        places, rows = np.asarray(position, np.float64), np.asarray(cell, np.float64)
        table = find_neighbors(places, rows, bound.pbc, reach)
        most = table.index.shape[1]
        slots = max(math.ceil(capacity_multiplier * most) + extra_capacity, 1)
        margin = 0.0 if box is None else BOX_MARGIN
        planned = plan_search(places, rows, bound.pbc, reach, slots, margin=margin)
        summed = bound.planned(places, rows, table, margin)
        plan, height = ListPlan(planned, slots, summed.plan), jnp.asarray(summed.slab_height)
        index, shift, mask, incomplete = search_jit(planned, position, cell)
        reference = Reference(position, cell)
        every = NeighborList(index, shift, mask, reference, height, incomplete, plan, update)
        structure = all_neighbors(bound, position, cell, every)
        crowd = int(most_neighbors_jit(structure, bound.cutoff * ROUNDING))
        near = math.ceil(NEAR_GROWTH * crowd) + extra_capacity
        return replace(every, plan=plan._replace(near=max(min(near, slots), 1)))

    def update(position, neighbors: NeighborList, box=None, **unused) -> NeighborList:
        position, cell = lax.stop_gradient((bound.positions(position), bound.cell(box)))
        before = neighbors.reference
        jumped = matmul(jumps(before, position, cell, bound.pbc), cell)
        stale = is_stale(before, position - jumped, cell, bound.cutoff, skin)

        def remake():
            return search(neighbors.plan.search, position, cell), Reference(position, cell)

        def keep():
            none = jnp.zeros((), bool)
            return Found(neighbors.index, neighbors.shift, neighbors.mask, none), before

        (index, shift, mask, incomplete), reference = lax.cond(stale, remake, keep)
        now = replace(neighbors, index=index, shift=shift, mask=mask, reference=reference)
        structure = all_neighbors(bound, position, cell, now)
        crowd = most_neighbors(structure, bound.cutoff * ROUNDING)
        overflow = incomplete | (crowd > now.plan.near) | ~_can_sum(bound, structure)
        return replace(now, did_buffer_overflow=neighbors.did_buffer_overflow | overflow)

    return NeighborFns(allocate, update)


def _can_sum(bound: Bound, structure: Structure) -> Bool[Array, ""]:
    """Whether the wavevectors of the plan and the height of a slab suffice."""
    options = bound.potential.config.sum_options
    known = structure.plan, structure.cell, options, structure.slab
    return plan_serves(*known) & ~slab_is_low(*known, structure.positions)


def all_neighbors(bound: Bound, position, cell, neighbors: NeighborList) -> Structure:
    """The structure with all neighbours of the list, those in the skin included."""
    jumped = jumps(neighbors.reference, *lax.stop_gradient((position, cell)), bound.pbc)
    jumped = jumped.astype(neighbors.shift.dtype)
    shift = neighbors.shift + jumped[:, None, :] - jumped[neighbors.index]
    return replace(
        bound.structure,
        positions=position,
        cell=cell,
        neighbor_index=neighbors.index,
        neighbor_shift=jnp.where(neighbors.mask[..., None], shift, 0),
        neighbor_mask=neighbors.mask,
        slab_height=neighbors.slab_height,
        plan=neighbors.plan.sums,
    )


def near_neighbors(bound: Bound, position, cell, neighbors: NeighborList):
    """The structure with the neighbours within the cutoff, and 1, or NaN if one is missing."""
    structure = all_neighbors(bound, position, cell, neighbors)
    crowd = most_neighbors(structure, bound.cutoff)
    missing = neighbors.did_buffer_overflow | (crowd > neighbors.plan.near)
    sound = jnp.where(missing, jnp.nan, 1.0).astype(bound.dtype)
    return prune(structure, bound.cutoff, neighbors.plan.near), sound
