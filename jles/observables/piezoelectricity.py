r"""What strain does to the polarization: piezoelectric tensor, current in a cell that changes.

Source: docs/theory.md, Polarization of a crystal.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.observables.stress import strained
from jles.typing import Cell, Positions

CellCoupling = Callable[[Positions, Cell, Float[Array, " 3"]], Float[Array, ""]]
"""`(positions, cell, E) -> E . P`, e angstrom times the unit of E."""


def piezoelectric_tensor(
    coupling: CellCoupling, positions: Positions, cell: Cell
) -> Float[Array, "3 3 3"]:
    r"""The proper piezoelectric tensor at clamped atoms, e/angstrom^2 (16.02 C/m^2).

    .. math:: e_{a,bc} = \frac1V \frac{\partial}{\partial\epsilon_{bc}}
        \left[\tilde E\cdot P\right]_{\tilde E\cdot a_k = const}, \quad \tilde E = \hat e_a

    with positions and cell multiplied by :math:`1+\epsilon`. It is the charge that flows
    through a wire between electrodes, and does not depend on the branch of the polarization.
    Relaxation of the atoms under strain adds a contribution of its own.

    Args:
        coupling: see above.
        positions: angstrom.
        cell: rows are lattice vectors, angstrom.

    Source: Vanderbilt, J. Phys. Chem. Solids 61, 147 (2000).
    """

    def of_strain(axis):
        along = strained(coupling, cell, axis)
        return jax.grad(along, 1)(positions, jnp.zeros((3, 3), positions.dtype))

    volume = jnp.abs(jnp.linalg.det(cell))
    # The axes share the second derivatives of the charges, which cost the most.
    return jax.vmap(of_strain)(jnp.eye(3, dtype=positions.dtype)) / volume


def strained_current(
    coupling: CellCoupling,
    positions: Positions,
    cell: Cell,
    velocities: Float[Array, "atoms 3"],
    strain_rate: Float[Array, "3 3"],
) -> Float[Array, " 3"]:
    r"""Current in a cell that changes, one directional derivative.

    .. math:: J_a = \sum_i Z^*_{i,ab} u_{ib} + V e_{a,bc} v_{bc} = (\dot P - P v)_a, \quad
        \dot r = u + r v, \quad \dot h = h v

    with the proper piezoelectric tensor e. It is the charge that flows through a wire between
    electrodes: :math:`\dot{\tilde P} h` for :math:`P = \tilde P h`, so that the integral of
    :math:`J h^{-1}` is :math:`\tilde P`. It does not depend on the branch of P.

    Args:
        coupling: see above.
        positions: angstrom.
        cell: h, rows are lattice vectors, angstrom.
        velocities: u, relative to the cell, angstrom per unit of time.
        strain_rate: v, symmetric, per unit of time.
    """
    still = jnp.zeros((3, 3), positions.dtype)

    def rate(axis):
        along = strained(coupling, cell, axis)
        return jax.jvp(along, (positions, still), (velocities, strain_rate))[1]

    return jax.vmap(rate)(jnp.eye(3, dtype=positions.dtype))
