"""The engine's interface to the physics: a `System` of pure functions and a host function.

`jles.dynamics.model_system` makes a system from a model. A closed form makes one in a few
lines, which is how the engine is tested.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jles.electrostatics.plan import SumPlan
from jles.structures.search import SearchPlan

NeighborList = Any
"""Pytree with all that the energy needs besides positions, cell and field.

Examples are the neighbours of every atom and the parameters of a model."""


class Capacity(NamedTuple):
    """Static sizes that a neighbour list is padded to.

    Attributes:
        neighbors: slots per atom for neighbours within cutoff + skin.
        near: slots per atom for neighbours within the cutoff; 0 if the system uses none.
        plan: plan of the electrostatic sum; None before the first neighbour search.
        search: shapes of the search on the device; None before the first one. No result
            depends on it.
        rows: where devices share the atoms, those of a device with features, own and others;
            0 before the first search. No result depends on it.
    """

    neighbors: int = 0
    near: int = 0
    plan: SumPlan | None = None
    search: SearchPlan | None = None
    rows: int = 0


def _no_neighbors(positions, cell, capacity):
    del positions, cell
    return None, capacity


def _always(cell, neighbors):
    del cell, neighbors
    return jnp.ones((), bool)


def _nothing(positions, cell, neighbors):
    del positions, cell, neighbors
    return jnp.int32(0)


class System(NamedTuple):
    """Atoms and their interactions as functions; units are angstrom, eV and u.

    Attributes:
        masses: (atoms,).
        energy: `(positions, cell, neighbors, field) -> eV`. With a field (V/angstrom) this is
            the enthalpy; without one the field is None.
        rebuild_neighbors: on the host, `(positions, cell, capacity) -> (neighbors, capacity)`.
            Searches the neighbours of these positions and enlarges the capacity if it must.
        search_neighbors: traced, `(positions, cell, neighbors) -> (neighbors, incomplete)`:
            the neighbours of these positions within the same capacity, and whether the host
            must do it: some may be missing, or a slab has outgrown the cell that it is summed
            in. None to search on the host only.
        fits: traced, `(cell, neighbors) -> bool`: whether the plan of the electrostatic sum
            still suffices for this cell.
        missing_slots: traced, `(positions, cell, neighbors) -> int`: number of slots that the
            atom with most neighbours within the cutoff is short of; 0 or negative if all
            suffice.
        cutoff: range of the interactions, angstrom. If it is infinite, neighbours are never
            searched again.
        skin: width of the shell beyond the cutoff that the neighbour list includes, angstrom.
        free: whether there is no external potential, so that the total momentum is conserved.
        pbc: three booleans.
        cell: initial cell, angstrom; the identity if no direction is periodic.
        charge: total charge, e.
        dipole: `(positions, cell, neighbors) -> (3,)`, e angstrom.
        flow: `(positions, moved, cell, neighbors) -> (3,)`, e angstrom: change of the
            polarization as atoms at these positions move a little. It includes charge that
            crosses the boundary of the cell, unlike a difference of two values of `dipole`.
        polarizability: `(positions, cell, neighbors) -> (3, 3)`, e angstrom^2/V, of all
            electrons, including those that the model does not describe; None for zero.
        observables: by name, functions of positions, velocities (relative to the cell,
            angstrom/fs), cell, neighbors and strain rate (1/fs; None if the cell is fixed).
            They return an array, or a dictionary of arrays.
    """

    masses: np.ndarray
    energy: Callable[..., Array]
    rebuild_neighbors: Callable[..., tuple[NeighborList, Capacity]] = _no_neighbors
    search_neighbors: Callable[..., tuple[NeighborList, Array]] | None = None
    fits: Callable[..., Array] = _always
    missing_slots: Callable[..., Array] = _nothing
    cutoff: float = np.inf
    skin: float = np.inf
    free: bool = True
    pbc: tuple[bool, bool, bool] = (False, False, False)
    cell: np.ndarray = np.eye(3)
    charge: float = 0.0
    dipole: Callable[..., Array] | None = None
    flow: Callable[..., Array] | None = None
    polarizability: Callable[..., Array] | None = None
    observables: Mapping[str, Callable[..., Array | dict[str, Array]]] = {}
