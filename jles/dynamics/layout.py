"""Layouts of the atoms of a run on devices: functions that the `System` of a model uses."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array

from jles.dynamics.system import Capacity, NeighborList


class Layout(NamedTuple):
    """A model for the atoms of a run, on one device or on several.

    The neighbour list has the attributes `params`, of the model, and `plan` and `slab`, of its
    sum.

    Attributes:
        potential: functions of `(params, structure)`, with the names of those of `Potential`.
        at: traced, `(positions, cell, neighbors) -> structure`, the argument of `potential`.
        rebuild: see `System.rebuild_neighbors`.
        search: see `System.search_neighbors`; it does not look at the height of a slab.
        missing_slots: see `System`.
    """

    potential: Any
    at: Callable[..., Any]
    rebuild: Callable[..., tuple[NeighborList, Capacity]]
    search: Callable[..., tuple[NeighborList, Array]]
    missing_slots: Callable[..., Array]
