r"""Sums over atoms of moments acting on products of one-dimensional tables.

A multipole is the operator :math:`D_i = q_i + u_i\cdot\nabla + \tfrac12 Q_i:\nabla\nabla`.
Where a function of the position is a product over the axes, :math:`X_a(s_1) Y_b(s_2) Z_c(s_3)`,
so are its derivatives, and :math:`\sum_i D_i [X_a Y_b Z_c]` is a matrix product of lines (of Z
and its derivatives) with planes (of X, Y and theirs): one for charges, two with dipoles, three
with quadrupoles. The particle mesh multiplies tables of B-splines this way. The direct sum
multiplies tables of phases, whose derivatives along x and y need no tables of their own, see
`structure_products`.

Atoms are the last, contiguous axis of every table. On a CPU the products and their reverse pass
are then up to twice as fast as with atoms first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles, symmetric, with_dipoles
from jles.products import einsum, matmul


class ReducedMoments(NamedTuple):
    """Moments of one channel with respect to coordinates s = r A, atoms last.

    charges (atoms,); dipoles (3, atoms) u A; quadrupoles (3, 3, atoms) A^T Q A, symmetric.
    """

    charges: Float[Array, "*lead atoms"]
    dipoles: Float[Array, "*lead 3 atoms"] | None
    quadrupoles: Float[Array, "*lead 3 3 atoms"] | None

    @property
    def order(self) -> int:
        """Highest derivative of the tables that is needed."""
        return 2 if self.quadrupoles is not None else 1 if self.dipoles is not None else 0


def reduce_moments(moments: Multipoles, frame: Float[Array, "3 3"]) -> ReducedMoments:
    """Moments in coordinates s = r `frame`; any leading axes are kept."""
    if moments.quadrupoles is not None:
        moments = with_dipoles(moments)
    charges, dipoles, quadrupoles = moments
    if dipoles is not None:
        dipoles = einsum("...ia,ab->...bi", dipoles, frame)
    if quadrupoles is not None:
        quadrupoles = einsum("...iac,ab,cd->...bdi", symmetric(quadrupoles), frame, frame)
    return ReducedMoments(charges, dipoles, quadrupoles)


def table_product(
    moments: ReducedMoments,
    x: Sequence[Float[Array, "x_entries atoms"]],
    y: Sequence[Float[Array, "y_entries atoms"]],
    z: Sequence[Float[Array, "z_entries atoms"]],
) -> Float[Array, "z_entries x_entries y_entries"]:
    """Sum over atoms of the moments acting on x y z.

    Args:
        moments: of one channel.
        x: the table and its derivatives up to `moments.order`.
        y: the same for the second axis.
        z: the same for the third axis.
    """
    q, u, quad = moments
    if moments.order == 0:
        plane = (x[0][:, None, :] * y[0][None, :, :]).reshape(-1, q.shape[-1])
        product = matmul(q * z[0], plane.T)
        return product.reshape(-1, x[0].shape[0], y[0].shape[0])
    # sides[n][m]: what multiplies the n-th derivative of z and the m-th of x.
    if moments.order == 1:
        sides = [[q * y[0] + u[1] * y[1], u[0] * y[0]], [u[2] * y[0]]]
    else:
        sides = [
            [
                q * y[0] + u[1] * y[1] + 0.5 * quad[1, 1] * y[2],
                u[0] * y[0] + quad[0, 1] * y[1],
                0.5 * quad[0, 0] * y[0],
            ],
            [u[2] * y[0] + quad[1, 2] * y[1], quad[0, 2] * y[0]],
            [0.5 * quad[2, 2] * y[0]],
        ]
    atoms = q.shape[-1]
    planes = [
        sum(x[m][:, None, :] * side[None, :, :] for m, side in enumerate(row)).reshape(
            -1, atoms
        )
        for row in sides
    ]
    lines = jnp.concatenate(z[: len(planes)], axis=-1)
    product = matmul(lines, jnp.concatenate(planes, axis=-1).T)
    return product.reshape(-1, x[0].shape[0], y[0].shape[0])
