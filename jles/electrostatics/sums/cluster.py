"""The sum over pairs of smeared multipoles of a cluster (docs/conventions.md, section 3)."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import (
    Multipoles,
    as_multipoles,
    channels_first,
    rank_of,
    symmetric,
    trace,
    with_dipoles,
)
from jles.electrostatics.sums.boys import boys
from jles.electrostatics.sums.chunks import in_chunks, known, split, zero_sum
from jles.meshes import any_mesh
from jles.products import einsum, matmul
from jles.step_sizes import step_sizes
from jles.typing import Charges, Positions, Scalar
from jles.units import COULOMB_CONSTANT


def smeared_coulomb(
    squared_distance: Float[Array, "..."], sigma: Scalar
) -> Float[Array, "..."]:
    r"""Potential (V) of a smeared unit charge, :math:`k_e\,erf(r/(\sqrt2\sigma))/r`, of r^2.

    .. math:: k_e \sqrt{2/\pi}/\sigma\; F_0(r^2 / 2\sigma^2)

    Exact to rounding down to r = 0, with all derivatives.
    """
    (kernel,) = _kernels(squared_distance, sigma, 1)
    return kernel


def _published_offset(squared_distance, offset: float):
    """The factor r / (r + offset): published models have 1/(r + offset) instead of 1/r."""
    is_zero = squared_distance == 0.0
    distance = jnp.sqrt(jnp.where(is_zero, 1.0, squared_distance))
    return jnp.where(is_zero, 1.0, distance / (distance + offset))


def _kernels(squared_distance, sigma: Scalar, count: int, offset: float = 0.0):
    r"""B_0 .. B_{count-1}, :math:`B_n = (-\tfrac1r \partial_r)^n B_0`, of the smeared kernel.

    .. math:: B_n = k_e \sqrt{2/\pi}\,\sigma^{-2n-1} F_n(r^2 / 2\sigma^2)
    """
    scale = COULOMB_CONSTANT * math.sqrt(2.0 / math.pi) / sigma
    x = squared_distance / (2.0 * sigma**2)
    kernels = [scale / sigma ** (2 * n) * boys(n, x) for n in range(count)]
    if offset:
        if count > 1:
            raise ValueError(
                "pair_offset is for charges: published models have no other moments"
            )
        kernels = [kernels[0] * _published_offset(squared_distance, offset)]
    return kernels


def _pair_energies(first: Multipoles, second: Multipoles, separation, kernels):
    r"""Energies of pairs, from D_i D_j B_0 with derivatives of B_0 written out.

    .. math:: \partial_a B_n = -r_a B_{n+1}, \quad r = r_i - r_j

    Both have (..., ) charges, (..., 3) dipoles and (..., 3, 3) symmetric quadrupoles, which
    broadcast over pairs. Source: Smith, CCP5 Newsletter 46, 18 (1998), with smeared kernels.
    """
    q1, u1, quad1 = first
    q2, u2, quad2 = second
    b = kernels
    energy = q1 * q2 * b[0]
    if u1 is not None:
        along1, along2 = _dot(u1, separation), _dot(u2, separation)
        energy += (q1 * along2 - q2 * along1 + _dot(u1, u2)) * b[1]
        energy -= along1 * along2 * b[2]
    if quad1 is not None:
        trace1, trace2 = trace(quad1), trace(quad2)
        vector1, vector2 = (einsum("...ab,...b->...a", m, separation) for m in (quad1, quad2))
        twice1, twice2 = _dot(vector1, separation), _dot(vector2, separation)
        energy += 0.5 * (q1 * twice2 + q2 * twice1) * b[2]
        energy -= 0.5 * (q1 * trace2 + q2 * trace1) * b[1]
        energy += 0.25 * (trace1 * trace2 + 2.0 * jnp.sum(quad1 * quad2, axis=(-1, -2))) * b[2]
        energy -= (
            0.25 * (trace1 * twice2 + trace2 * twice1 + 4.0 * _dot(vector1, vector2)) * b[3]
        )
        energy += 0.25 * twice1 * twice2 * b[4]
        energy += (_dot(u1, vector2) - _dot(u2, vector1)) * b[2]
        energy += 0.5 * (along1 * trace2 - along2 * trace1) * b[2]
        energy -= 0.5 * (along1 * twice2 - along2 * twice1) * b[3]
    return energy


def _dot(a, b):
    return jnp.sum(a * b, axis=-1)


def _rows_energy(rows, moments, positions, sigma, remove_self, pair_offset):
    """Half the energy of some rows of the pair matrix with all columns."""
    row_moments, row_positions, row_index = rows
    separations = row_positions[:, None, :] - positions[None, :, :]
    squared_distance = jnp.sum(separations**2, axis=-1)
    orders = 2 * rank_of(moments) + 1
    kernels = _kernels(squared_distance, sigma, orders, pair_offset)
    if remove_self:
        is_self = row_index[:, None] == jnp.arange(positions.shape[0])[None, :]
        kernels = [jnp.where(is_self, 0.0, kernel) for kernel in kernels]
    if orders == 1:
        at_rows = matmul(kernels[0], moments.charges.T)
        return 0.5 * jnp.sum(row_moments.charges.T * at_rows)
    pairs = jax.vmap(
        lambda row, column: _pair_energies(
            jax.tree.map(lambda array: array[:, None], row),
            jax.tree.map(lambda array: array[None], column),
            separations,
            kernels,
        )
    )(row_moments, moments)
    return 0.5 * jnp.sum(pairs)


@any_mesh()
def cluster_energy(
    moments: Multipoles | Charges,
    positions: Positions,
    *,
    sigma: Scalar,
    remove_self: bool = True,
    pair_offset: float = 0.0,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""Energy (eV) of smeared multipoles with nothing periodic.

    .. math:: E = \tfrac12 \sum_{i\ne j} D_i D_j\,k_e \frac{erf(r_{ij}/(\sqrt2\sigma))}{r_{ij}},
        \quad D_i = q_i + u_i\cdot\nabla_i + \tfrac12 Q_i:\nabla_i\nabla_i

    and, unless `remove_self`, the terms i = j, which are `self_energy`.

    Args:
        moments: `Multipoles`, or charges alone (e): (atoms,) or (atoms, channels), whose
            energies add up. Padding has moments 0 and any finite position; atoms may coincide.
        positions: angstrom.
        sigma: smearing width, angstrom.
        remove_self: static.
        pair_offset: static; angstrom added to distances in the denominator: 1e-6 in published
            models of charges, else 0.
        chunk: static; rows of the pair matrix per step. Memory is O(atoms chunk).
    """
    moments = channels_first(as_multipoles(moments))
    if moments.quadrupoles is not None:
        moments = with_dipoles(moments)._replace(quadrupoles=symmetric(moments.quadrupoles))
    atoms = positions.shape[0]
    most = max(16, step_sizes().pairs // max(known(atoms, 2**12), 1))
    chunks = split(atoms, chunk or most)
    rows_energy = partial(
        _rows_energy,
        moments=moments,
        positions=positions,
        sigma=sigma,
        remove_self=remove_self,
        pair_offset=pair_offset,
    )
    index = jnp.arange(atoms)
    if chunks.is_one:
        return rows_energy((moments, positions, index))
    rows = (
        jax.tree.map(lambda array: in_chunks(array, chunks, axis=1), moments),
        in_chunks(positions, chunks),
        in_chunks(index, chunks, fill=-1),
    )
    total, _ = lax.scan(
        lambda energy, chunk_rows: (energy + jax.checkpoint(rows_energy)(chunk_rows), None),
        zero_sum((), positions.dtype, rows),
        rows,
    )
    return total
