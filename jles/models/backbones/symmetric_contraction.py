"""The symmetric contraction of MACE: products of an atom's own features, coupled to irreps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.models.backbones.irreps import monomial_basis


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
        species: z, place of each atom's element in the element list.
        weights: w by degree L and number of factors, (elements, paths, channels) each.
        max_ell: highest degree of A.

    Returns:
        B, all components from L = 0 on.
    """
    count, dtype = len(features), features.dtype
    flat = features.reshape(count, -1)
    orders = {order for _, order in weights}
    degrees = sorted({l for l, _ in weights})
    pairs = None
    if max(orders) > 1:
        pairs = jnp.concatenate([flat[: j + 1] * flat[j] for j in range(count)])
    result = {l: 0.0 for l in degrees}
    for order in sorted(orders):
        tables = [monomial_basis(max_ell, order, l) for l in degrees]
        rows = [table.reshape(-1, table.shape[-1]) for table in tables]
        table = jnp.concatenate([jnp.asarray(one, dtype) for one in rows])
        if order == 3:
            coupled = _triples(table, flat, pairs)
        else:
            coupled = table @ (flat if order == 1 else pairs)
        start = 0
        for l, one in zip(degrees, tables, strict=True):
            stop = start + one.shape[0] * one.shape[1]
            found = coupled[start:stop].reshape(*one.shape[:2], *features.shape[1:])
            chosen = jnp.moveaxis(weights[l, order], 0, 1)[:, species]
            result[l] += jnp.einsum("kac,kmac->mac", chosen, found)
            start = stop
    return jnp.concatenate([result[l] for l in degrees])


def _triples(table, flat, pairs):
    """Couplings of three factors: the pairs of the first components times the last one."""
    total, start = 0.0, 0
    for last in range(len(flat)):
        many = (last + 1) * (last + 2) // 2
        total += (table[:, start : start + many] @ pairs[:many]) * flat[last]
        start += many
    return total
