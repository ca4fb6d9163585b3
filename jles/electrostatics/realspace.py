"""The direct sum over pairs of smeared charges without periodicity (docs/conventions.md, 3)."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.typing import Charges, Positions, Scalar
from jles.units import COULOMB_CONSTANT

_SERIES_BELOW = 1.0


def _boys_series(n: int, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """F_n for x <= 1 from a series of positive terms: nothing cancels, x = 0 is exact."""
    terms = 12 if x.dtype == jnp.float32 else 21
    total = jnp.ones_like(x)
    for i in reversed(range(1, terms)):
        total = 1.0 + total * (2.0 * x / (2 * n + 2 * i + 1))
    return jnp.exp(-x) * total / (2 * n + 1)


def _boys_recursion(n: int, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """F_n for x >= 1 upward from F_0 = sqrt(pi / x) erf(sqrt(x)) / 2."""
    root = jnp.sqrt(x)
    value = 0.5 * math.sqrt(math.pi) * lax.erf(root) / root
    for m in range(n):
        value = ((2 * m + 1) * value - jnp.exp(-x)) / (2.0 * x)
    return value


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def boys(n: int, x: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Boys function :math:`F_n(x) = \int_0^1 t^{2n} e^{-x t^2} dt`, x >= 0.

    Its derivative is the next one, :math:`F_n' = -F_{n+1}`, so that derivatives of any order
    are values: none is the difference of large numbers near x = 0.

    Source: Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure Theory (2000), 9.8.
    """
    is_small = x < _SERIES_BELOW
    series = _boys_series(n, jnp.where(is_small, x, 0.0))
    return jnp.where(is_small, series, _boys_recursion(n, jnp.where(is_small, 1.0, x)))


@boys.defjvp
def _boys_jvp(n, primals, tangents):
    (x,), (velocity,) = primals, tangents
    return boys(n, x), -boys(n + 1, x) * velocity


def smeared_coulomb(squared_distance: Float[Array, "..."], sigma: Scalar) -> Float[Array, "..."]:
    r"""Potential (V) of a smeared unit charge, :math:`k_e\,erf(r/(\sqrt2\sigma))/r`, of r^2.

    .. math:: k_e \sqrt{2/\pi}/\sigma\; F_0(r^2 / 2\sigma^2)

    Exact to rounding down to r = 0, with all derivatives.
    """
    scale = COULOMB_CONSTANT * math.sqrt(2.0 / math.pi) / sigma
    return scale * boys(0, squared_distance / (2.0 * sigma**2))


def _published_offset(squared_distance, offset: float):
    """The factor r / (r + offset), which makes 1/r the 1/(r + offset) of published models."""
    is_zero = squared_distance == 0.0
    distance = jnp.sqrt(jnp.where(is_zero, 1.0, squared_distance))
    return jnp.where(is_zero, 1.0, distance / (distance + offset))


def _rows_energy(rows, charges, positions, sigma, remove_self, pair_offset):
    """Half the energy of a few rows of the pair matrix with every column."""
    row_charges, row_positions, row_index = rows
    separations = row_positions[:, None, :] - positions[None, :, :]
    squared_distance = jnp.sum(separations**2, axis=-1)
    potential = smeared_coulomb(squared_distance, sigma)
    if pair_offset:
        potential = potential * _published_offset(squared_distance, pair_offset)
    if remove_self:
        is_self = row_index[:, None] == jnp.arange(positions.shape[0])[None, :]
        potential = jnp.where(is_self, 0.0, potential)
    at_rows = jnp.matmul(potential, charges, precision=lax.Precision.HIGHEST)
    return 0.5 * jnp.sum(row_charges * at_rows)


def cluster_energy(
    charges: Charges,
    positions: Positions,
    *,
    sigma: Scalar,
    remove_self: bool = True,
    pair_offset: float = 0.0,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""Energy (eV) of smeared charges with nothing periodic.

    .. math:: E = \tfrac12 \sum_{i\ne j} q_i q_j\,k_e \frac{erf(r_{ij}/(\sqrt2\sigma))}{r_{ij}}

    and, unless `remove_self`, the terms i = j, which are `ewald.self_energy`.

    Args:
        charges: e; (atoms,) or (atoms, channels), whose energies add up. Padding has charge 0
            and any finite position; atoms may coincide.
        positions: angstrom.
        sigma: smearing width, angstrom.
        remove_self: static.
        pair_offset: static; angstrom added to distances in the denominator, 1e-6 in published
            models and 0 in nature.
        chunk: static; rows of the pair matrix per step. Memory is O(atoms chunk).
    """
    atoms = positions.shape[0]
    columns = charges.reshape(atoms, -1)
    chunk = chunk or max(16, 2**18 // max(atoms, 1))
    steps = -(-atoms // chunk)
    rows_energy = partial(
        _rows_energy,
        charges=columns,
        positions=positions,
        sigma=sigma,
        remove_self=remove_self,
        pair_offset=pair_offset,
    )
    index = jnp.arange(atoms)
    if steps <= 1:
        return rows_energy((columns, positions, index))
    size = -(-atoms // steps)
    extra = size * steps - atoms
    rows = (
        jnp.pad(columns, ((0, extra), (0, 0))).reshape(steps, size, -1),
        jnp.pad(positions, ((0, extra), (0, 0))).reshape(steps, size, 3),
        jnp.pad(index, (0, extra), constant_values=-1).reshape(steps, size),
    )
    total, _ = lax.scan(
        lambda energy, chunk_rows: (energy + jax.checkpoint(rows_energy)(chunk_rows), None),
        jnp.zeros((), positions.dtype),
        rows,
    )
    return total
