r"""Two periodic directions: the sum of a crystal of slabs, and its correction to one slab.

Source: Yeh and Berkowitz, J. Chem. Phys. 111, 3155 (1999); charged slabs: Ballenegger, Arnold
and Cerda, J. Chem. Phys. 131, 094107 (2009).
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles, channels_first
from jles.products import matmul, vdot
from jles.typing import AtomMask, Cell, Positions, Scalar
from jles.units import HALF_INVERSE_EPSILON0

_IMAGE_DECAY = math.log(1e8)
_STEP = 1.1
"""Heights are powers of this, so that a plan still fits after a slab has grown a little."""
_ENOUGH = 0.9
"""Part of the planned gap that suffices for a slab that has grown: waves decay to 6e-8."""


def slab_normal(cell: Cell, axis) -> tuple[Float[Array, " 3"], Float[Array, ""]]:
    """Unit vector perpendicular to the two periodic vectors, and the area they span."""
    first, second = (cell[(axis + n) % 3] for n in (1, 2))
    normal = jnp.cross(first, second)
    area = jnp.linalg.norm(normal)
    return normal / area, area


def slab_cell(cell: Cell, axis, height: Scalar) -> Float[Array, "3 3"]:
    """The cell to sum in: `axis` is replaced by a vector along the normal, of this height."""
    normal, _ = slab_normal(cell, axis)
    return cell.at[axis].set(height * normal)


def slab_cell_on_host(cell, axis: int, height: float) -> np.ndarray:
    """The same in NumPy and float64, for planning."""
    cell = np.array(cell, np.float64)
    normal = area_vector(cell, axis)
    cell[axis] = height * normal / np.linalg.norm(normal)
    return cell


def open_middle(positions: np.ndarray, cell, axes: Sequence[int] | np.ndarray) -> np.ndarray:
    """The mean position along directions that are not periodic, zero along the others; host.

    No result depends on the place there. With it at the origin float32 has more digits.

    Args:
        positions: angstrom.
        cell: rows are lattice vectors, angstrom; not read for clusters.
        axes: directions that are not periodic; with two of them the result is zero.
    """
    middle = positions.mean(axis=0)
    if len(axes) == 3:
        return middle
    if len(axes) != 1:
        return np.zeros(3)
    axis = int(axes[0])
    normal = slab_cell_on_host(cell, axis, 1.0)[axis]
    return (middle @ normal) * normal


def area_vector(cell: np.ndarray, axis: int) -> np.ndarray:
    """Normal of the two periodic vectors, with the area they span as its length; host."""
    return np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])


def plan_slab_height(cell, positions, axis: int, sigma: float) -> float:
    r"""Height (angstrom) of a cell in which the images of a slab do not interact.

    A wave of wavevector g along the slab decays outside as :math:`e^{-g z}`. The gap is chosen
    so that the longest wave decays to 1e-8. The vacuum of the given cell is not used, and the
    energy does not depend on it.

    Args:
        cell: rows are lattice vectors, (3, 3); row `axis` is ignored and may be zero.
        positions: angstrom, not wrapped along the normal.
        axis: the direction that is not periodic.
        sigma: smearing width, angstrom.
    """
    places = np.asarray(cell, np.float64), np.asarray(positions, np.float64)
    height = _extent(*places, axis, np) + _gap(places[0], axis, sigma, np)
    return float(_STEP ** math.ceil(math.log(height) / math.log(_STEP)))


def least_slab_height(cell, positions, axis, sigma: Scalar, xp=np):
    """Height (angstrom) below which the images of a slab come too close for a plan in use.

    It is lower than `plan_slab_height`, so that a slab may grow a little.

    Args:
        cell: rows are lattice vectors, angstrom.
        positions: angstrom, of all atoms, not wrapped along the normal.
        axis: the direction that is not periodic; may be traced.
        sigma: smearing width, angstrom.
        xp: `jax.numpy` for arrays that are traced.
    """
    cell, positions = xp.asarray(cell), xp.asarray(positions)
    return _extent(cell, positions, axis, xp) + _ENOUGH * _gap(cell, axis, sigma, xp)


def _extent(cell, positions, axis, xp):
    """Distance between the outermost atoms along the normal, angstrom."""
    first, second = (cell[(axis + n) % 3] for n in (1, 2))
    normal = xp.cross(first, second)
    return xp.ptp(xp.sum(positions * (normal / xp.linalg.norm(normal)), axis=1))


def _gap(cell, axis, sigma, xp):
    """Distance (angstrom) over which the longest wave of a slab decays to 1e-8."""
    first, second = (cell[(axis + n) % 3] for n in (1, 2))
    # The shortest reciprocal vector is at least 2 pi over the longest height of the
    # parallelogram.
    longest = xp.max(xp.linalg.norm(xp.stack([first, second, first + second]), axis=1))
    return xp.maximum(_IMAGE_DECAY * longest / (2.0 * math.pi), 12.0 * sigma)


def slab_correction(
    moments: Multipoles,
    positions: Positions,
    cell: Cell,
    axis,
    sigma: Scalar,
    mask: AtomMask | None = None,
) -> Float[Array, ""]:
    """The difference (eV) between the energy of one slab and that of a crystal of slabs.

    Args:
        moments: of any rank, with or without channels.
        positions: angstrom, not wrapped along the normal.
        cell: in which the crystal of slabs was summed, from `slab_cell`.
        axis: the direction that is not periodic; may be traced.
        sigma: smearing width, angstrom.
        mask: False on padding, which has no moments; None without padding.
    """
    # The energy does not depend on the centre; float32 has more digits near it.
    known = positions if mask is None else jnp.where(mask[:, None], positions, 0.0)
    count = len(positions) if mask is None else jnp.sum(mask, dtype=positions.dtype)
    centre = lax.stop_gradient(jnp.sum(known, axis=0) / jnp.maximum(count, 1.0))
    return slab_energy(slab_moments(moments, positions, cell, axis, sigma, centre), cell, axis)


def slab_moments(
    moments: Multipoles,
    positions: Positions,
    cell: Cell,
    axis,
    sigma: Scalar,
    centre: Float[Array, " 3"],
) -> Float[Array, "3 channels"]:
    r"""Moments of the smeared charge along the normal of a slab, for `slab_energy`.

    The charge Q, the dipole :math:`M = \sum q z + u_z`, and :math:`S = \sum q (z^2 +
    \sigma^2/2) + 2 u_z z + Q_{zz}`. They are sums over atoms: those of all atoms are the sum of
    those of any groups of atoms with the same centre.

    Args:
        moments: as for `slab_correction`, as are positions, cell, axis and sigma.
        positions: of the atoms.
        cell: of the sum.
        axis: the direction that is not periodic.
        sigma: smearing width, angstrom.
        centre: where z is 0; the energy does not depend on it.
    """
    normal, _ = slab_normal(cell, axis)
    z = matmul(positions - centre, normal)
    charges, dipoles, quadrupoles = channels_first(moments)
    total = jnp.sum(charges, axis=1)
    first = matmul(charges, z)
    second = matmul(charges, z**2) + total * sigma**2 / 2.0
    if dipoles is not None:
        along = matmul(dipoles, normal)
        first += jnp.sum(along, axis=1)
        second += 2.0 * matmul(along, z)
    if quadrupoles is not None:
        second += jnp.sum(matmul(matmul(quadrupoles, normal), normal), axis=1)
    return jnp.stack([total, first, second])


def slab_energy(along: Float[Array, "3 channels"], cell: Cell, axis) -> Float[Array, ""]:
    r"""The energy (eV) of `slab_correction` from the moments of all atoms.

    .. math:: E = \frac{1}{2\epsilon_0 V}\left[M^2 - Q\,S - Q^2 L^2/12\right]

    L is the height of the cell. For a charged slab the energy is that of the bare potential
    :math:`-|z|/(2\epsilon_0 A)`, with no background.

    Args:
        along: from `slab_moments`.
        cell: as for `slab_correction`, as is axis.
        axis: the direction that is not periodic.
    """
    normal, area = slab_normal(cell, axis)
    height = jnp.abs(vdot(cell[axis], normal))
    total, first, second = along
    squares = first**2 - total * second - total**2 * height**2 / 12.0
    return HALF_INVERSE_EPSILON0 / (area * height) * jnp.sum(squares)
