"""Matrix products of positions, cells, fields and moments, in full precision.

By default an accelerator rounds the factors of a float32 product: to 10 bits on NVIDIA (TF32),
to 7 on TPU (bfloat16). A coordinate of 20 angstrom is then off by 0.01 or 0.08 angstrom. These
functions keep all digits, also in their derivatives; on a CPU they are those of `jax.numpy`.
The products of a network have a precision of their own, see docs/accelerators.md.
"""

from collections.abc import Callable
from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax import lax

HIGHEST = lax.Precision.HIGHEST
"""Factors are not rounded."""

matmul = partial(jnp.matmul, precision=HIGHEST)
"""`jax.numpy.matmul` in full precision."""

einsum = partial(jnp.einsum, precision=HIGHEST)
"""`jax.numpy.einsum` in full precision."""

vdot = partial(jnp.vdot, precision=HIGHEST)
"""`jax.numpy.vdot` in full precision."""


def keep_precision(function: Callable) -> Callable:
    """The function with the default precision of products that holds here, wherever it runs.

    For functions that custom derivative rules call: JAX may trace a rule after the context in
    which the value was traced has ended.
    """
    precision = jax.config.jax_default_matmul_precision

    @wraps(function)
    def kept(*arguments, **options):
        with jax.default_matmul_precision(precision):
            return function(*arguments, **options)

    return kept
