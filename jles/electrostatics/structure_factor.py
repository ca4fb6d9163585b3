r"""The structure factor as matrix products of one-dimensional tables of cosines and sines.

A wave is a product over the axes, :math:`e^{ik\cdot r} = X_a(s_1) Y_b(s_2) Z_c(s_3)` with
:math:`X_a(s) = e^{2\pi i a s}`, so the whole sum over atoms is one real matrix product between
the outer products of two axes' tables and the table of the third. Only indices
:math:`a, b, c \ge 0` are tabulated: the eight products of cosines and sines hold all signs.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.electrostatics.kgrid import KGrid

HIGHEST = lax.Precision.HIGHEST


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def phase_table(
    reduced: Float[Array, " atoms"], count: int
) -> Float[Array, "atoms two indices"]:
    r"""Cosines and sines of :math:`2\pi a s` for a = 0 .. count.

    The derivative rule reuses the table itself, to any order: no trigonometric function is
    evaluated twice.
    """
    angles = reduced[:, None] * (2.0 * jnp.pi * jnp.arange(count + 1, dtype=reduced.dtype))
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)


@phase_table.defjvp
def _phase_table_jvp(count, primals, tangents):
    (reduced,), (velocity,) = primals, tangents
    table = phase_table(reduced, count)
    frequencies = 2.0 * jnp.pi * jnp.arange(count + 1, dtype=reduced.dtype)
    turned = jnp.stack([-table[:, 1], table[:, 0]], axis=1)
    return table, turned * frequencies * velocity[:, None, None]


def _products_of_chunk(charges, reduced, grid: KGrid):
    """Sum over the atoms of one chunk; (2 (n_a + 1) 2 (n_b + 1), 2 (n_c + 1) channels)."""
    atoms = reduced.shape[0]
    x, y, z = (
        phase_table(reduced[:, axis], grid[axis]).reshape(atoms, -1) for axis in range(3)
    )
    plane = (x[:, :, None] * y[:, None, :]).reshape(atoms, -1)
    line = (z[:, :, None] * charges[:, None, :]).reshape(atoms, -1)
    return jnp.matmul(plane.T, line, precision=HIGHEST)


def choose_chunk(grid: KGrid) -> int:
    """Atoms per chunk such that its plane of products stays in a core's cache (1 MiB)."""
    plane = 4 * (grid.n_a + 1) * (grid.n_b + 1)
    return max(32, min(1024, 2**18 // plane))


def structure_products(
    charges: Float[Array, "atoms channels"],
    reduced: Float[Array, "atoms 3"],
    grid: KGrid,
    chunk: int | None = None,
) -> Float[Array, "two a two b two c channels"]:
    r"""Sums over atoms of :math:`q\,f_a(s_1) g_b(s_2) h_c(s_3)`, each of f, g, h cos or sin.

    Atoms are taken `chunk` at a time and recomputed in the reverse pass, so that memory is
    O(atoms + kvecs) and one chunk's plane.

    Args:
        charges: e; zero for padding.
        reduced: coordinates along the cell vectors, best within half a cell of zero.
        grid: static; the last axis should be the longest, it makes the planes small.
        chunk: atoms per step; chosen from the grid by default.
    """
    chunk = chunk or choose_chunk(grid)
    atoms, channels = charges.shape
    steps = -(-atoms // chunk)
    products_of_chunk = jax.checkpoint(partial(_products_of_chunk, grid=grid))
    if steps <= 1:
        products = _products_of_chunk(charges, reduced, grid)
    else:
        size = -(-atoms // steps)
        padding = ((0, size * steps - atoms), (0, 0))
        slices = (
            jnp.pad(charges, padding).reshape(steps, size, channels),
            jnp.pad(reduced, padding).reshape(steps, size, 3),
        )
        start = jnp.zeros((4 * (grid.n_a + 1) * (grid.n_b + 1), 2 * (grid.n_c + 1) * channels))
        # The sum stays outside the checkpoint: its partial values are no residuals.
        products, _ = lax.scan(
            lambda total, atoms_slice: (total + products_of_chunk(*atoms_slice), None),
            start.astype(reduced.dtype),
            slices,
        )
    return products.reshape(2, grid.n_a + 1, 2, grid.n_b + 1, 2, grid.n_c + 1, channels)
