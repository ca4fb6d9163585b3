"""What the engine knows of matter: pure functions, and a host function that looks around.

A model makes one in `matter`; a closed form makes one in a few lines, which is how the engine is
tested.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jles.electrostatics.plan import SumPlan

GROWTH = 1.25
"""What a capacity that does not suffice is multiplied by."""

NEAR_GROWTH = 1.15
"""The same of slots within reach: what they hold hardly changes, and each of them has a cost."""

Frame = Any
"""What the energy needs beside positions, cell and field: neighbours, parameters; a pytree."""


class Room(NamedTuple):
    """Static capacities: what a frame is padded to.

    Attributes:
        neighbors: slots per atom for all that a frame knows, its skin included.
        near: slots per atom for those within reach alone; zero where a system does not ask.
        plan: of the electrostatic sums; None before the first search.
    """

    neighbors: int = 0
    near: int = 0
    plan: SumPlan | None = None


def _nothing_around(positions, cell, room):
    del positions, cell
    return None, room


def _always(cell, frame):
    del cell, frame
    return jnp.ones((), bool)


def _nothing(positions, cell, frame):
    del positions, cell, frame
    return jnp.int32(0)


class System(NamedTuple):
    """Matter as functions; lengths in angstrom, energies in eV, masses in u.

    Attributes:
        masses: (atoms,).
        energy: `(positions, cell, frame, field) -> eV`; the field is None for none, else
            V/angstrom, and the energy then the enthalpy.
        look: host, `(positions, cell, room) -> (frame, room)`, the room grown where it must be.
        fits: traced, `(cell, frame) -> bool`: whether the frame has room for this cell.
        lacking: traced, `(positions, cell, frame) -> int`: slots that an atom has too few for its
            neighbours within reach; zero or less where there is room for all.
        reach: of the neighbours in a frame beyond no movement at all, angstrom; infinite where
            everything sees everything, and then no frame ever grows old.
        skin: how much farther a frame knows, angstrom.
        free: no outer potential, so that the total momentum is conserved.
        pbc: three booleans.
        cell: of the start, angstrom; the identity where nothing is periodic.
        charge: e, what a uniform field pulls on as a whole.
        dipole: `(positions, cell, frame) -> (3,)`, e angstrom.
        polarizability: `(positions, cell, frame) -> (3, 3)`, e angstrom^2/V; None for zero.
        observables: by name, `(positions, velocities, cell, frame)` to an array or, by name,
            several; velocities per fs.
    """

    masses: np.ndarray
    energy: Callable[..., Array]
    look: Callable[..., tuple[Frame, Room]] = _nothing_around
    fits: Callable[..., Array] = _always
    lacking: Callable[..., Array] = _nothing
    reach: float = np.inf
    skin: float = np.inf
    free: bool = True
    pbc: tuple[bool, bool, bool] = (False, False, False)
    cell: np.ndarray = np.eye(3)
    charge: float = 0.0
    dipole: Callable[..., Array] | None = None
    polarizability: Callable[..., Array] | None = None
    observables: Mapping[str, Callable[..., Array | dict[str, Array]]] = {}
