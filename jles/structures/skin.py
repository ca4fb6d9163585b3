"""When a neighbour list with a skin must be made again."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jles.electrostatics.sums.ewald import cell_normals
from jles.products import matmul
from jles.typing import Cell, Positions

GROWTH = 1.25
"""Factor between the slots for neighbours within cutoff + skin and those needed at first."""

NEAR_GROWTH = 1.15
"""The same for neighbours within the cutoff, whose number hardly changes; a slot costs time."""

ROUNDING = 1.0 + 1e-5
"""Neighbours are searched and counted up to slightly more than the distance that is asked for,
so that rounding of a distance cannot lose one."""


class Reference(NamedTuple):
    """Positions and cell for which a neighbour list was made."""

    positions: Positions
    cell: Cell


def is_stale(
    reference: Reference, positions: Positions, cell: Cell | None, cutoff: float, skin: float
) -> Bool[Array, ""]:
    r"""Whether a pair outside the neighbour list could now be within the cutoff.

    Let F be the deformation of the cell since the list was made, and u the displacement of an
    atom beyond it. A pair that was farther apart than cutoff + skin is now farther apart than
    :math:`(1 - |F - 1|)(\text{cutoff} + \text{skin}) - 2\max|u|`.

    Args:
        reference: of the list, which holds all pairs up to cutoff + skin.
        positions: now; not wrapped since the list was made, see `jumps`.
        cell: now, rows are lattice vectors; None if it has not changed.
        cutoff: angstrom.
        skin: angstrom.
    """
    deformed, strain = reference.positions, 0.0
    if cell is not None:
        deformation = matmul(inverse(reference.cell), cell)
        deformed = matmul(deformed, deformation)
        strain = jnp.sqrt(jnp.sum((deformation - jnp.eye(3, dtype=deformed.dtype)) ** 2))
    moved = jnp.sqrt(jnp.max(jnp.sum((positions - deformed) ** 2, axis=1)))
    return ~(2.0 * moved + strain * (cutoff + skin) <= skin)


def jumps(
    reference: Reference, positions: Positions, cell: Cell, pbc
) -> Float[Array, "atoms 3"]:
    """By how many cells every atom was moved since the list was made, as by wrapping.

    It must have moved by less than half the cell otherwise.
    """
    before = matmul(reference.positions, inverse(reference.cell))
    now = matmul(positions, inverse(cell))
    return jnp.where(jnp.array(pbc), jnp.round(now - before), 0.0)


def inverse(cell: Cell) -> Float[Array, "3 3"]:
    """The inverse of a cell, 1/angstrom."""
    normals, determinant = cell_normals(cell)
    return normals.T / determinant
