"""Vectors and symmetric traceless tensors in Cartesian form, without tables of e3nn-jax.

Features are (atoms, components, channels): the scalar, the three components of the vector, and
the five of the tensor in an orthonormal basis of symmetric traceless matrices.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.products import einsum


def _basis() -> np.ndarray:
    basis = np.zeros((5, 3, 3))
    for m, (x, y) in enumerate([(0, 1), (1, 2), (0, 2)]):
        basis[m, x, y] = basis[m, y, x] = math.sqrt(0.5)
    basis[3] = np.diag([1.0, -1.0, 0.0]) / math.sqrt(2.0)
    basis[4] = np.diag([-1.0, -1.0, 2.0]) / math.sqrt(6.0)
    return basis


BASIS = _basis()
"""Orthonormal symmetric traceless matrices, (5, 3, 3)."""


def components(
    matrices: Float[Array, "*batch 3 3 channels"],
) -> Float[Array, "*batch 5 channels"]:
    """Components of the symmetric traceless part of matrices."""
    basis = jnp.asarray(BASIS, matrices.dtype)
    return jnp.einsum("...xyc,mxy->...mc", matrices, basis)


def matrices(tensors: Float[Array, "*batch 5 channels"]) -> Float[Array, "*batch 3 3 channels"]:
    """The tensors as matrices."""
    basis = jnp.asarray(BASIS, tensors.dtype)
    return jnp.einsum("...mc,mxy->...xyc", tensors, basis)


def directions(
    unit: Float[Array, "*batch 3"], degree: int
) -> Float[Array, "*batch components"]:
    """One, the unit vector, and with `degree` 2 its tensor.

    They are scaled so that the mean square of every component is one, as those of harmonics.
    """
    parts = [jnp.ones_like(unit[..., :1]), math.sqrt(3.0) * unit]
    if degree == 2:
        outer = unit[..., :, None, None] * unit[..., None, :, None]
        tensor = einsum("...xyc,mxy->...mc", outer, jnp.asarray(BASIS, unit.dtype))
        parts.append(math.sqrt(7.5) * tensor[..., 0])
    return jnp.concatenate(parts, axis=-1)
