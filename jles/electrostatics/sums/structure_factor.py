r"""The structure factor as matrix products of one-dimensional tables of cosines and sines.

A wave is a product over the axes, :math:`e^{ik\cdot r} = X_a(s_1) Y_b(s_2) Z_c(s_3)` with
:math:`X_a(s) = e^{2\pi i a s}`, so the whole sum over atoms is a real matrix product. Only
indices :math:`a, b, c \ge 0` are tabulated: the eight products of cosines and sines hold all
signs.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jles.electrostatics.sums.chunks import Chunks, in_chunks, split, zero_sum
from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.table_products import ReducedMoments
from jles.products import matmul
from jles.step_sizes import step_sizes


class PhaseTables(NamedTuple):
    """Tables of the three axes, (chunks, two, indices, atoms of a chunk)."""

    x: Float[Array, "chunks two x_indices chunk_atoms"]
    y: Float[Array, "chunks two y_indices chunk_atoms"]
    z: Float[Array, "chunks two z_indices chunk_atoms"]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def phase_table(
    reduced: Float[Array, "*chunks atoms"], count: int
) -> Float[Array, "*chunks two indices atoms"]:
    r"""Cosines and sines of :math:`2\pi a s` for a = 0 .. count.

    The derivative rule reuses the table, to any order, so no trigonometric function is
    evaluated twice.
    """
    angles = _frequencies(count, reduced.dtype) * reduced[..., None, :]
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-3)


@phase_table.defjvp
def _phase_table_jvp(count, primals, tangents):
    (reduced,), (velocity,) = primals, tangents
    table = phase_table(reduced, count)
    return table, derivative_table(table) * velocity[..., None, None, :]


def derivative_table(
    table: Float[Array, "*chunks two indices atoms"],
) -> Float[Array, "*chunks two indices atoms"]:
    """Derivatives in s of the cosines and sines of a table."""
    frequencies = _frequencies(table.shape[-2] - 1, table.dtype)
    cosines, sines = jnp.moveaxis(table, -3, 0)
    return jnp.stack([-frequencies * sines, frequencies * cosines], axis=-3)


def _frequencies(count: int, dtype):
    return jnp.asarray(2.0 * np.pi * np.arange(count + 1)[:, None], dtype)


def choose_chunk(grid: KGrid) -> int:
    """Atoms per chunk such that the plane of products has the size of a step."""
    plane, sizes = 4 * (grid.n_a + 1) * (grid.n_b + 1), step_sizes()
    return max(64, min(sizes.phase_atoms, sizes.phase_products // plane))


def phase_tables(reduced: Float[Array, "atoms 3"], grid: KGrid, chunk: int) -> PhaseTables:
    """Tables of all atoms, in chunks of about `chunk` atoms, see `choose_chunk`.

    Args:
        reduced: coordinates along the cell vectors, best within half a cell of zero.
        grid: static; the last axis should be the longest, it makes the planes small.
        chunk: static.
    """
    axes = in_chunks(reduced.T, split(reduced.shape[0], chunk), axis=-1)
    return PhaseTables(*(phase_table(axes[:, d], n) for d, n in enumerate(grid)))


def structure_products(
    moments: ReducedMoments, tables: PhaseTables
) -> Float[Array, "channels two z two x two y"]:
    r"""Sums over atoms of the moments acting on products of cosines and sines.

    The derivative of a cosine is a sine times its frequency, which is the same for all atoms.
    Derivatives along x and y are therefore taken after the sum over atoms. All moments share
    one plane of products X Y; the lines along z hold the moments, see `_moment_lines`.

    Atoms are processed in chunks, and the reverse pass computes the plane of products of a
    chunk again. Memory is that of the tables, of the sums and of one plane.

    Args:
        moments: reduced, with a leading channel axis; zero for padding.
        tables: of the same atoms.

    Returns:
        The sums; each index axis is preceded by one of length two, cosine and sine.
    """
    chunks = Chunks(tables.x.shape[0], tables.x.shape[-1])
    chunked = jax.tree.map(lambda array: in_chunks(array, chunks, axis=-1), moments)
    per_channel = _one_channel if len(moments.charges) == 1 else _every_channel
    if chunks.is_one:
        products = per_channel(*jax.tree.map(lambda array: array[0], (chunked, tables)))
    else:
        # The sum stays outside the checkpoint, so its partial values are not saved.
        products_of_chunk = jax.checkpoint(per_channel)
        shape = jax.eval_shape(per_channel, *jax.tree.map(lambda a: a[0], (chunked, tables)))
        products, _ = lax.scan(
            lambda total, one: (total + products_of_chunk(*one), None),
            zero_sum(shape.shape, shape.dtype, chunked, tables),
            (chunked, tables),
        )
    sizes = [n for table in (tables.z, tables.x, tables.y) for n in (2, table.shape[2])]
    products = products.reshape(len(moments.charges), -1, *sizes)
    return _sum_of_derivatives(jnp.moveaxis(products, 1, 0))


def _moment_lines(moments: ReducedMoments, z: Float[Array, "two indices atoms"]):
    r"""Factors of each derivative of X Y, (derivatives, 2 z, atoms).

    .. math:: D_i[X Y Z] = X Y \,(q + u_z\partial_z + \tfrac12 Q_{zz}\partial_z^2) Z
        + X' Y (u_x + Q_{xz}\partial_z) Z + X Y' (u_y + Q_{yz}\partial_z) Z
        + \tfrac12 Q_{xx} X'' Y Z + \tfrac12 Q_{yy} X Y'' Z + Q_{xy} X' Y' Z

    in the order of `_sum_of_derivatives`; charges need the first alone, dipoles three.
    """
    q, u, quad = moments
    if moments.order == 0:
        return (q * z)[None]
    first = derivative_table(z)
    if moments.order == 1:
        return jnp.stack([q * z + u[2] * first, u[0] * z, u[1] * z])
    return jnp.stack(
        [
            q * z + u[2] * first + 0.5 * quad[2, 2] * derivative_table(first),
            u[0] * z + quad[0, 2] * first,
            u[1] * z + quad[1, 2] * first,
            0.5 * quad[0, 0] * z,
            0.5 * quad[1, 1] * z,
            quad[0, 1] * z,
        ]
    )


def _sum_of_derivatives(
    products: Float[Array, "derivatives channels two z two x two y"],
) -> Float[Array, "channels two z two x two y"]:
    """Differentiates the sums along x and y as `_moment_lines` says, and adds them up."""

    def along_x(sums):
        return derivative_table(sums.reshape(*sums.shape[:-2], -1)).reshape(sums.shape)

    def along_y(sums):
        return derivative_table(sums[..., None])[..., 0]

    plain, *rest = products
    if not rest:
        return plain
    total = plain + along_x(rest[0]) + along_y(rest[1])
    if len(rest) == 2:
        return total
    xx, yy, xy = rest[2:]
    return total + along_x(along_x(xx) + along_y(xy)) + along_y(along_y(yy))


def _products_of_chunk(moments: ReducedMoments, tables: PhaseTables):
    """Sums over the atoms of one chunk: input of `_sum_of_derivatives`, its axes in two."""
    atoms = moments.charges.shape[-1]
    x, y = (table.reshape(-1, atoms) for table in tables[:2])
    plane = (x[:, None, :] * y[None, :, :]).reshape(-1, atoms)
    lines = _moment_lines(moments, tables.z).reshape(-1, atoms)
    return matmul(lines, plane.T)


_every_channel = jax.vmap(_products_of_chunk, (0, None))


def _one_channel(moments: ReducedMoments, tables: PhaseTables):
    # Without the batch axis this takes a fifth less time.
    return _products_of_chunk(jax.tree.map(lambda array: array[0], moments), tables)[None]
