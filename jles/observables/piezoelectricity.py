r"""The piezoelectric tensor at clamped atoms (docs/theory.md, Polarization of a crystal)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.observables.stress import strained
from jles.typing import Cell, Positions


def piezoelectric_tensor(
    coupling: Callable[[Positions, Cell, Float[Array, " 3"]], Float[Array, ""]],
    positions: Positions,
    cell: Cell,
) -> Float[Array, "3 3 3"]:
    r"""The proper piezoelectric tensor at clamped atoms, e/angstrom^2 (16.02 C/m^2).

    .. math:: e_{a,bc} = \frac1V \frac{\partial}{\partial\epsilon_{bc}}
        \left[\tilde E\cdot P\right]_{\tilde E\cdot a_k = const}, \quad \tilde E = \hat e_a

    with positions and cell multiplied by :math:`1+\epsilon`. It is the charge that flows
    through a wire between electrodes, and does not depend on the branch of the polarization.
    Relaxation of the atoms under strain adds a contribution of its own.

    Args:
        coupling: `(positions, cell, E) -> E . P`, e angstrom times the unit of E.
        positions: angstrom.
        cell: rows are lattice vectors, angstrom.

    Source: Vanderbilt, J. Phys. Chem. Solids 61, 147 (2000).
    """

    def of_strain(axis):
        along = strained(coupling, cell, axis)
        return jax.grad(along, 1)(positions, jnp.zeros((3, 3), positions.dtype))

    volume = jnp.abs(jnp.linalg.det(cell))
    return jax.lax.map(of_strain, jnp.eye(3, dtype=positions.dtype)) / volume
