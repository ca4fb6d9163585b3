"""Boys functions: the smeared Coulomb kernel and all its derivatives without cancellation."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

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
