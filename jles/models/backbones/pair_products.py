"""Tensor products of the features of pairs with the environment of their atom.

All pairs of an atom share its environment. It is coupled with the Clebsch-Gordan coefficients
first, which gives a linear map for each atom and path; the features of its pairs are then
multiplied by these maps. Features are lists of arrays, one for each degree: slices of one array
of all degrees would cost a CPU more than the products.
"""

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.models.backbones.irreps import coupling

PairFeatures = list[Float[Array, "atoms neighbors _ channels"]]
AtomFeatures = list[Float[Array, "atoms _ channels"]]


class PairPath(NamedTuple):
    """A coupling of features of a pair of degree `pair` and of degree `environment`."""

    pair: int
    environment: int


@cache
def paths_to(l: int, l_max: int) -> tuple[PairPath, ...]:
    """All couplings to degree `l` of features of degrees up to `l_max`, of natural parity."""
    degrees = range(l_max + 1)
    return tuple(
        PairPath(l1, l2)
        for l1 in degrees
        for l2 in degrees
        if abs(l1 - l2) <= l <= l1 + l2 and (l1 + l2 + l) % 2 == 0
    )


def pair_products(pairs: PairFeatures, environment: AtomFeatures, l: int) -> PairFeatures:
    r"""Products of equal channels coupled to degree l, for every path to it.

    .. math:: P_m = \sum_{m_1 m_2} C^{lm}_{l_1 m_1 l_2 m_2} V_{m_1} G_{m_2}

    Args:
        pairs: V of every pair, by degree.
        environment: G of every atom, by degree.
        l: degree of the products.

    Returns:
        The 2l+1 components of P of every path. Where those of V and G are independent and have
        variance one, so have these.
    """
    products = []
    for l1, l2 in paths_to(l, len(pairs) - 1):
        table = jnp.asarray(coupling(l1, l2, l), pairs[0].dtype)
        maps = jnp.einsum("mqk,iqc->imkc", table, environment[l2])
        # On a CPU a product and a sum are twice as fast as `einsum` over few components.
        products.append(jnp.sum(pairs[l1][:, :, :, None] * maps[:, None], axis=2))
    return products


def mixed(
    products: PairFeatures, mixing: Float[Array, "paths_channels out"]
) -> Float[Array, "atoms neighbors _ out"]:
    """Linear combinations of the channels of all paths to one degree.

    Args:
        products: of every path.
        mixing: weights, with the channels of the first path first.
    """
    matrices = jnp.split(mixing, len(products))
    # The products of all paths side by side would take another way through memory.
    return sum(one @ matrix for one, matrix in zip(products, matrices, strict=True))
