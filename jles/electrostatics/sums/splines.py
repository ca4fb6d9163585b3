"""Cardinal B-splines, tabulated at unit steps, with derivatives of any order.

Between two integers a spline is a polynomial, whose coefficients are computed on the host.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


@cache
def spline_pieces(order: int, derivative: int = 0) -> np.ndarray:
    r"""Coefficients (piece j, power m) of M_order(j + w) in powers of w - 1/2, 0 <= w <= 1.

    .. math:: M_n(x) = \frac{x}{n-1} M_{n-1}(x) + \frac{n-x}{n-1} M_{n-1}(x-1)

    M_n is a C^{n-2} bump on (0, n). Source: Essmann et al., J. Chem. Phys. 103, 8577 (1995),
    eq. 4.1. The expansion about the middle of a piece keeps powers small, which float32 needs.
    """
    polynomial = np.polynomial.Polynomial
    w = polynomial([0.5, 1.0])
    pieces = [polynomial([1.0])]
    for n in range(2, order + 1):
        lower = [polynomial([0.0]), *pieces, polynomial([0.0])]
        pieces = [((w + j) * lower[j + 1] + (n - j - w) * lower[j]) / (n - 1) for j in range(n)]
    coefficients = np.zeros((order, order))
    for j, piece in enumerate(pieces):
        values = piece.deriv(derivative).coef if derivative else piece.coef
        coefficients[j, : len(values)] = values
    return coefficients


@partial(jax.custom_jvp, nondiff_argnums=(0, 2, 3))
def spline_table(
    order: int, start: Float[Array, "*atoms"], count: int, derivative: int = 0
) -> Float[Array, "count *atoms"]:
    """M_order(start - g), or a derivative of it, for g = 0 .. count - 1.

    Args:
        order: static.
        start: any numbers.
        count: static.
        derivative: static; order of the derivative.

    The derivative rule is the table of the next derivative, to any order: the reverse pass
    keeps tables and no powers of the polynomials.
    """
    first = lax.stop_gradient(jnp.floor(start))
    place = start - first - 0.5
    steps = jnp.arange(count, dtype=start.dtype).reshape(-1, *[1] * start.ndim)
    table = jnp.zeros((count, *start.shape), start.dtype)
    for j, coefficients in enumerate(spline_pieces(order, derivative)):
        value = jnp.zeros_like(start)
        for coefficient in coefficients[::-1]:
            value = value * place + float(coefficient)
        table += jnp.where(steps == first - j, value, 0.0)
    return table


@spline_table.defjvp
def _spline_table_jvp(order, count, derivative, primals, tangents):
    (start,), (velocity,) = primals, tangents
    table = spline_table(order, start, count, derivative)
    return table, spline_table(order, start, count, derivative + 1) * velocity


def spline_gains(order: int, size: int) -> np.ndarray:
    r"""The squared factor by which spreading with splines damps the waves of a mesh.

    .. math:: |b_m|^{-2} = \left|\sum_j M_n(j + 1)\, e^{2\pi i m j / size}\right|^2

    for m = 0 .. size - 1; host, float64 (Essmann et al., eq. 4.4).
    """
    # A piece ends at an integer, half a step from its middle.
    values = spline_pieces(order) @ 0.5 ** np.arange(order)
    waves = np.exp(2j * np.pi * np.outer(np.arange(size), np.arange(order)) / size)
    return np.abs(waves @ values) ** 2
