r"""Response to a field at clamped atoms: polarizability, permittivity, Raman tensors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.structures.structure import HostOrDevice
from jles.typing import Positions, Scalar
from jles.units import EPSILON0


def polarizability(
    enthalpy_fn: Callable[[Float[Array, " 3"]], Float[Array, ""]], field: Float[Array, " 3"]
) -> Float[Array, "3 3"]:
    r"""Polarizability of a structure, e angstrom^2/V: :math:`A = -\partial^2 H/\partial E^2`.

    Args:
        enthalpy_fn: enthalpy (eV) as a function of the field.
        field: V/angstrom, at which it is evaluated; usually zero.
    """
    return -jax.jacfwd(jax.grad(enthalpy_fn))(field)


def polarizability_derivative(
    polarizability_fn: Callable[[Positions], Float[Array, "3 3"]], positions: Positions
) -> Float[Array, "atoms 3 3 3"]:
    r"""Raman tensors :math:`\partial A_{ab}/\partial r_{ic}`, e angstrom/V, atom first.

    Args:
        polarizability_fn: positions (angstrom) to a symmetric A.
        positions: angstrom.
    """
    rows, columns = jnp.triu_indices(3)
    slopes = jax.jacrev(lambda places: polarizability_fn(places)[rows, columns])(positions)
    full = jnp.zeros((3, 3, *positions.shape), positions.dtype)
    full = full.at[rows, columns].set(slopes).at[columns, rows].set(slopes)
    return jnp.moveaxis(full, 2, 0)


def dielectric_tensor(
    total: Float[HostOrDevice, "3 3"], volume: Scalar, hidden: Scalar = 1.0
) -> Float[HostOrDevice, "3 3"]:
    r""":math:`\epsilon_\infty = \epsilon_e + A/(\epsilon_0 V)` of a crystal.

    Args:
        total: polarizability of the cell, e angstrom^2/V.
        volume: angstrom^3.
        hidden: :math:`\epsilon_e` of the electrons that the model does not contain, see
            `screening`.
    """
    return hidden * np.eye(3, dtype=total.dtype) + total / (EPSILON0 * volume)


def polarizability_of(
    epsilon: Float[np.ndarray, "3 3"], cell: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "3 3"]:
    r""":math:`(\epsilon_\infty - 1)\epsilon_0 V`, e angstrom^2/V, of a crystal's electrons.

    Args:
        epsilon: dielectric tensor.
        cell: rows are lattice vectors, angstrom.
    """
    return (epsilon - np.eye(3)) * EPSILON0 * abs(np.linalg.det(cell))
