"""What moves, and what it costs: the state of every integrator and its kinetic energy."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.typing import Cell, Positions, Scalar


class Motion(NamedTuple):
    """The whole state of a run between two steps, in the units of `jles.dynamics.units`.

    Attributes:
        positions: never wrapped.
        momenta: u angstrom per internal time.
        forces: eV/angstrom, those of a field included.
        cell: rows are lattice vectors.
        bath: what belongs to the integrator alone: thermostats, random numbers, the cell's speed.
        field_forces: the part of `forces` that a field causes; zero where that is not followed.
        field_virial: the same part of -dH/d strain, eV; zero too where the cell does not move.
        work: eV, done by the field since the start.
    """

    positions: Positions
    momenta: Float[Array, "atoms 3"]
    forces: Float[Array, "atoms 3"]
    cell: Cell
    bath: Any
    field_forces: Float[Array, "atoms 3"]
    field_virial: Float[Array, "3 3"]
    work: Scalar


def kinetic_energy(momenta: Float[Array, "atoms 3"], masses: Float[Array, "atoms 1"]):
    """EV."""
    return 0.5 * jnp.sum(momenta**2 / masses)
