"""The symmetric contraction of MACE: products of an atom's own features, coupled to irreps."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.models.backbones.irreps import products


def normal_over_paths(key, shape: tuple[int, int, int], dtype) -> Array:
    """Initial weights (elements, paths, channels); the sum over paths is of order one."""
    return jax.random.normal(key, shape, dtype) / shape[1]


def contract(
    features: Float[Array, "components atoms channels"],
    species: Int[Array, " atoms"],
    weights: dict,
    max_ell: int,
) -> Float[Array, "out atoms channels"]:
    r"""Products of features of one channel (Batatia et al. 2022, eq. 10).

    .. math:: B_{LM} = \sum_\nu \sum_k w_{z\nu k} \sum_{a_1..a_\nu} U^{LM}_{k,a_1..a_\nu}
              \prod_\xi A_{a_\xi}

    U are the symmetric couplings. They are applied to the distinct monomials of A, as products
    with constant matrices.

    Args:
        features: A, all components of degrees 0 to `max_ell`.
        species: z, index of each atom's element in the element list.
        weights: w by degree L and number of factors, (elements, paths, channels) each.
        max_ell: highest degree of A.

    Returns:
        B, all components from L = 0 on.
    """
    dtype = features.dtype
    orders, degrees = (max(key[axis] for key in weights) for axis in (1, 0))
    couplings = products(max_ell, degrees, orders)
    flat = features.reshape(len(features), -1)
    flat = jnp.concatenate([flat, jnp.ones_like(flat[:1])])
    monomials = math.prod(jnp.asarray(factor, dtype) @ flat for factor in couplings.factors)
    coupled = jnp.asarray(couplings.table, dtype) @ monomials
    result, start = [0.0] * (degrees + 1), 0
    for (order, l), paths in couplings.rows.items():
        stop = start + paths * (2 * l + 1)
        found = coupled[start:stop].reshape(paths, 2 * l + 1, *features.shape[1:])
        chosen = jnp.moveaxis(weights[l, order], 0, 1)[:, species]
        result[l] += jnp.einsum("kac,kmac->mac", chosen, found)
        start = stop
    return jnp.concatenate(result)
