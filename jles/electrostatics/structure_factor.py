r"""The structure factor as matrix products of one-dimensional tables of cosines and sines.

A wave is a product over the axes, :math:`e^{ik\cdot r} = X_a(s_1) Y_b(s_2) Z_c(s_3)` with
:math:`X_a(s) = e^{2\pi i a s}`, so the whole sum over atoms is one real matrix product between
the outer products of two axes' tables and the table of the third. Only indices
:math:`a, b, c \ge 0` are tabulated: the eight products of cosines and sines hold all signs.

Atoms are the last, contiguous axis of every table: measured on a CPU, the products and their
reverse pass are then up to twice as fast as with atoms first.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.electrostatics.kgrid import KGrid

HIGHEST = lax.Precision.HIGHEST
"""Full float32 products everywhere: accelerators otherwise round the factors to ten bits."""


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def phase_table(
    reduced: Float[Array, "*chunks atoms"], count: int
) -> Float[Array, "*chunks two indices atoms"]:
    r"""Cosines and sines of :math:`2\pi a s` for a = 0 .. count.

    The derivative rule reuses the table itself, to any order: no trigonometric function is
    evaluated twice.
    """
    angles = _frequencies(count, reduced.dtype) * reduced[..., None, :]
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-3)


@phase_table.defjvp
def _phase_table_jvp(count, primals, tangents):
    (reduced,), (velocity,) = primals, tangents
    table = phase_table(reduced, count)
    turned = jnp.stack([-table[..., 1, :, :], table[..., 0, :, :]], axis=-3)
    return table, turned * _frequencies(count, reduced.dtype) * velocity[..., None, None, :]


def _frequencies(count: int, dtype):
    return 2.0 * jnp.pi * jnp.arange(count + 1, dtype=dtype)[:, None]


def _products_of_chunk(charges, x, y, z):
    """Sum over the atoms of one chunk, (channels 2 (n_c + 1), 2 (n_a + 1) 2 (n_b + 1))."""
    atoms = charges.shape[-1]
    x, y = x.reshape(-1, atoms), y.reshape(-1, atoms)
    plane = (x[:, None, :] * y[None, :, :]).reshape(-1, atoms)
    line = (charges[:, None, :] * z.reshape(1, -1, atoms)).reshape(-1, atoms)
    return jnp.matmul(line, plane.T, precision=HIGHEST)


def choose_chunk(grid: KGrid) -> int:
    """Atoms per chunk such that the plane of products stays in cache (2 MiB in float32)."""
    plane = 4 * (grid.n_a + 1) * (grid.n_b + 1)
    return max(64, min(256, 2**19 // plane))


def structure_products(
    charges: Float[Array, "atoms channels"],
    reduced: Float[Array, "atoms 3"],
    grid: KGrid,
    chunk: int | None = None,
) -> Float[Array, "channels two c two a two b"]:
    r"""Sums over atoms of :math:`q\,f_a(s_1) g_b(s_2) h_c(s_3)`, each of f, g, h cos or sin.

    Atoms are taken `chunk` at a time and their plane of products is made again in the reverse
    pass, so that memory is that of the tables, of the sums and of one plane.

    Args:
        charges: e; zero for padding.
        reduced: coordinates along the cell vectors, best within half a cell of zero.
        grid: static; the last axis should be the longest, it makes the planes small.
        chunk: atoms per step; chosen from the grid by default.

    Returns:
        The sums; each index axis is preceded by one of length two, cosine and sine.
    """
    atoms, channels = charges.shape
    steps = max(1, -(-atoms // (chunk or choose_chunk(grid))))
    size = -(-atoms // steps)
    padding = ((0, size * steps - atoms), (0, 0))
    columns = jnp.pad(charges, padding).reshape(steps, size, channels).swapaxes(1, 2)
    axes = jnp.moveaxis(jnp.pad(reduced, padding).reshape(steps, size, 3), 2, 0)
    slices = (columns, *(phase_table(s, n) for s, n in zip(axes, grid, strict=True)))
    if steps == 1:
        products = _products_of_chunk(*(array[0] for array in slices))
    else:
        # The sum stays outside the checkpoint: its partial values are no residuals.
        products_of_chunk = jax.checkpoint(_products_of_chunk)
        planes = 4 * (grid.n_a + 1) * (grid.n_b + 1)
        start = jnp.zeros((channels * 2 * (grid.n_c + 1), planes), reduced.dtype)
        products, _ = lax.scan(
            lambda total, one: (total + products_of_chunk(*one), None), start, slices
        )
    return products.reshape(channels, 2, grid.n_c + 1, 2, grid.n_a + 1, 2, grid.n_b + 1)
