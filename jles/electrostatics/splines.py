"""Cardinal B-splines, tabulated at unit steps, with derivatives of any order."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def spline_table(
    order: int, start: Float[Array, "*atoms"], count: int
) -> Float[Array, "count *atoms"]:
    r"""M_order(start - g) for g = 0 .. count - 1; M_n is a C^{n-2} bump on (0, n).

    .. math:: M_n(x) = \frac{x}{n-1} M_{n-1}(x) + \frac{n-x}{n-1} M_{n-1}(x-1), \quad
              M_n'(x) = M_{n-1}(x) - M_{n-1}(x-1)

    Source: Essmann et al., J. Chem. Phys. 103, 8577 (1995), eqs. 4.1 and 4.2.
    """
    steps = jnp.arange(count, dtype=start.dtype).reshape(-1, *[1] * start.ndim)
    x = start - steps
    if order == 1:
        return ((x >= 0.0) & (x < 1.0)).astype(start.dtype)
    if order == 2:
        return jnp.maximum(1.0 - jnp.abs(x - 1.0), 0.0)
    lower = spline_table(order - 1, start, count + 1)
    return (x * lower[:-1] + (order - x) * lower[1:]) / (order - 1)


@spline_table.defjvp
def _spline_table_jvp(order, count, primals, tangents):
    (start,), (velocity,) = primals, tangents
    return spline_table(order, start, count), spline_slopes(order, start, count) * velocity


def spline_slopes(
    order: int, start: Float[Array, "*atoms"], count: int
) -> Float[Array, "count *atoms"]:
    """First derivatives M_order'(start - g); zero for order 1, a step."""
    if order == 1:
        return jnp.zeros((count, *start.shape), start.dtype)
    lower = spline_table(order - 1, start, count + 1)
    return lower[:-1] - lower[1:]


def spline_curvatures(
    order: int, start: Float[Array, "*atoms"], count: int
) -> Float[Array, "count *atoms"]:
    """Second derivatives M_order''(start - g), order > 2."""
    lower = spline_slopes(order - 1, start, count + 1)
    return lower[:-1] - lower[1:]


def spline_gains(order: int, size: int) -> np.ndarray:
    r"""What spreading with splines does to the waves of a mesh of `size` points, squared.

    .. math:: |b_m|^{-2} = \left|\sum_j M_n(j + 1)\, e^{2\pi i m j / size}\right|^2

    for m = 0 .. size - 1; host, float64 (Essmann et al., eq. 4.4).
    """
    values = np.array([0.0, 1.0, 0.0])
    for n in range(3, order + 1):
        x = np.arange(n + 1)
        previous = np.append(values, 0.0)
        shifted = np.append(0.0, values)
        values = (x * previous + (n - x) * shifted) / (n - 1)
    nodes = np.arange(order - 1)
    waves = np.exp(2j * np.pi * np.outer(np.arange(size), nodes) / size)
    return np.abs(waves @ values[1:order]) ** 2
