"""All atoms of a run on one device, as a `Structure` with a neighbour list."""

import math
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

from jles.dynamics.host_search import HostSearch
from jles.dynamics.layout import Layout
from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.models.potential import Params
from jles.structures.batch import on_device, pad_structure, size_of
from jles.structures.prune import most_neighbors, most_neighbors_jit, prune
from jles.structures.search import SearchPlan, host_is_faster, search
from jles.structures.skin import NEAR_GROWTH, ROUNDING
from jles.structures.structure import Structure


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ModelNeighbors:
    """Neighbour list and parameters of a model.

    Attributes:
        params: parameters of the model.
        structure: with all neighbours within cutoff + skin.
        near: static; slots per atom for neighbours within the cutoff.
        search: static; shapes of the search on the device.
    """

    params: Params
    structure: Structure
    near: int = field(metadata={"static": True})
    search: SearchPlan = field(metadata={"static": True})

    @property
    def plan(self) -> SumPlan:
        """The plan of the electrostatic sum."""
        return self.structure.plan

    @property
    def slab(self) -> SlabPlan:
        """The cell that a slab is summed in."""
        return self.structure.slab


def on_one_device(host_search: HostSearch) -> Layout:
    """The layout of a run on one device."""
    model = host_search.model
    cutoff = model.config.backbone.cutoff
    counted = cutoff * ROUNDING

    def full(positions, cell, neighbors):
        return replace(neighbors.structure, positions=positions, cell=cell)

    def at(positions, cell, neighbors):
        return prune(full(positions, cell, neighbors), cutoff, neighbors.near)

    def missing_slots(positions, cell, neighbors):
        return most_neighbors(full(positions, cell, neighbors), counted) - neighbors.near

    def rebuild(positions, cell, before):
        exact, capacity = host_search(positions, cell, before)
        size = size_of(exact)._replace(neighbors=capacity.neighbors, plan=capacity.plan)
        structure = on_device(pad_structure(exact, size))
        crowd = int(most_neighbors_jit(structure, counted))
        near = min(math.ceil(NEAR_GROWTH * crowd), capacity.neighbors)
        # If everything is compiled again anyway, let these grow too.
        if crowd > capacity.near or capacity != before:
            capacity = capacity._replace(near=max(near, capacity.near, 1))
        plan = host_search.plan_of_search(positions, cell, structure, capacity)
        neighbors = ModelNeighbors(model.params, structure, capacity.near, plan)
        return neighbors, capacity._replace(search=plan)

    def search_neighbors(positions, cell, neighbors):
        if host_is_faster(neighbors.search):
            return neighbors, jnp.ones((), bool)
        found = search(neighbors.search, positions, cell)
        structure = replace(
            neighbors.structure,
            neighbor_index=found.index,
            neighbor_shift=found.shift,
            neighbor_mask=found.mask,
        )
        return replace(neighbors, structure=structure), found.incomplete

    return Layout(model.potential, at, rebuild, search_neighbors, missing_slots)
