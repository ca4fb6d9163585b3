"""Representations of the rotation group: tables of e3nn-jax, and their Cartesian form.

All features have natural parity, (-1)^l. Components of one degree are in the order of e3nn, in
which those of l = 1 are x, y, z. e3nn-jax takes seconds to import, so only functions import it.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement, permutations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.products import matmul


def part(l: int) -> slice:
    """The slice of degree `l` among the components of degrees 0, 1, ..."""
    return slice(l**2, (l + 1) ** 2)


def by_degree(components: Float[Array, "..."], axis: int) -> list[Float[Array, "..."]]:
    """The components of degrees 0, 1, ... of an axis that holds them one after the other.

    One split has one concatenation as its reverse, which compiles faster than many slices.
    """
    degrees = math.isqrt(components.shape[axis])
    return jnp.split(components, [l**2 for l in range(1, degrees)], axis)


def spherical_harmonics(
    unit: Float[Array, "*batch 3"], max_ell: int
) -> Float[Array, "*batch components"]:
    """Harmonics of unit vectors up to degree `max_ell`; the squares of one l sum to 2l+1."""
    found = [jnp.ones_like(unit[..., :1]), math.sqrt(3.0) * unit][: max_ell + 1]
    for l in range(2, max_ell + 1):
        products = found[-1][..., :, None] * unit[..., None, :]
        table = jnp.asarray(_next_harmonics(l), unit.dtype)
        # An accelerator would round the factors of other products.
        found.append(matmul(products.reshape(*unit.shape[:-1], -1), table))
    return jnp.concatenate(found, axis=-1)


@cache
def _next_harmonics(l: int) -> np.ndarray:
    """Harmonics of degree `l` from products of those of degree l-1 with the vector."""
    import e3nn_jax as e3nn

    vector = np.array([0.36, 0.48, 0.8])
    before = math.sqrt(3.0) * vector
    for n in range(2, l):
        before = np.outer(before, vector).ravel() @ _next_harmonics(n)
    table = coupling(l - 1, 1, l).reshape(-1, 2 * l + 1)
    found = np.outer(before, vector).ravel() @ table
    with jax.ensure_compile_time_eval():
        of_e3nn = e3nn.spherical_harmonics(
            _natural(l), vector, normalize=False, normalization="component"
        )
    sign = np.sign(found @ np.asarray(of_e3nn.array)[part(l)])
    return sign * math.sqrt(2 * l + 1) / np.linalg.norm(found) * table


def _natural(max_ell: int) -> str:
    """One irrep of every degree up to `max_ell`."""
    return "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(max_ell + 1))


@cache
def coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """Clebsch-Gordan coefficients (2l1+1, 2l2+1, 2l3+1), of norm sqrt(2l3+1)."""
    import e3nn_jax as e3nn

    return np.sqrt(2 * l3 + 1) * np.asarray(e3nn.clebsch_gordan(l1, l2, l3), np.float64)


@cache
def symmetric_basis(max_ell: int, order: int, l: int) -> np.ndarray:
    """All symmetric couplings of `order` equal factors to degree `l`.

    Returns:
        (components, ..., components, paths, 2l+1) with `order` leading axes, orthonormal.
    """
    import e3nn_jax as e3nn

    with jax.ensure_compile_time_eval():
        basis = e3nn.reduced_symmetric_tensor_product_basis(
            _natural(max_ell), order, keep_ir=f"{l}{'eo'[l % 2]}"
        )
    return np.asarray(basis.array, np.float64).reshape(
        *[(max_ell + 1) ** 2] * order, -1, 2 * l + 1
    )


class Products(NamedTuple):
    """Symmetric couplings of up to some number of factors, applied to distinct monomials.

    Attributes:
        factors: one matrix for each factor, (monomials, components + 1). It picks the factor
            from the components and a one that follows them, which stands for no factor.
        table: coefficients, (rows, monomials).
        rows: paths of each block of rows, by (number of factors, degree); a block has the axes
            (paths, 2l+1).
    """

    factors: tuple[np.ndarray, ...]
    table: np.ndarray
    rows: dict[tuple[int, int], int]


@cache
def products(max_ell: int, highest: int, correlation: int) -> Products:
    """Couplings of 1 to `correlation` components of degrees 0 to `max_ell`.

    Args:
        max_ell: highest degree of the factors.
        highest: highest degree of the products.
        correlation: highest number of factors.
    """
    blocks, rows, monomials = {}, {}, set()
    for order in range(1, correlation + 1):
        for l in range(highest + 1):
            basis = symmetric_basis(max_ell, order, l)
            rows[order, l] = basis.shape[-2]
            block = {}
            for chosen in combinations_with_replacement(range(len(basis)), order):
                coefficients = basis[chosen].ravel() * len(set(permutations(chosen)))
                if np.abs(coefficients).max(initial=0.0) > 1e-12:
                    block[chosen] = coefficients
            blocks[order, l] = block
            monomials |= block.keys()
    ordered = sorted(monomials)
    components = (max_ell + 1) ** 2
    padded = [(*one, *[components] * (correlation - len(one))) for one in ordered]
    factors = tuple(
        np.eye(components + 1)[list(column)] for column in zip(*padded, strict=True)
    )
    table = [np.zeros((rows[key] * (2 * key[1] + 1), len(ordered))) for key in rows]
    for block, part_of_table in zip(blocks.values(), table, strict=True):
        for chosen, coefficients in block.items():
            part_of_table[:, ordered.index(chosen)] = coefficients
    return Products(factors, np.concatenate(table), rows)


def to_vectors(
    components: Float[Array, "atoms 3 channels"],
) -> Float[Array, "atoms channels 3"]:
    """Components of l = 1 as polar vectors."""
    return jnp.swapaxes(components, 1, 2)


def to_tensors(
    components: Float[Array, "atoms 5 channels"],
) -> Float[Array, "atoms channels 3 3"]:
    """Components of l = 2 as symmetric traceless tensors."""
    table = coupling(1, 1, 2).astype(components.dtype)
    return jnp.einsum("abm,imc->icab", table, components)


def of_degree(
    layers: Sequence[Float[Array, "atoms _ channels"]], l: int
) -> Float[Array, "atoms _ ..."] | None:
    """Vectors (1) or tensors (2) of all layers that have them; None if no layer has."""
    convert = {1: to_vectors, 2: to_tensors}[l]
    has = [layer for layer in layers if layer.shape[1] >= (l + 1) ** 2]
    return jnp.concatenate([convert(layer[:, part(l)]) for layer in has], 1) if has else None
