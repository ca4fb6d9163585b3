"""Representations of the rotation group: tables of e3nn-jax, and their Cartesian form.

All features have natural parity, (-1)^l. Components of one degree are in the order of e3nn, in
which those of l = 1 are x, y, z. e3nn-jax takes seconds to import, so only functions import it.
"""

from functools import cache
from itertools import combinations_with_replacement, permutations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def part(l: int) -> slice:
    """Place of degree `l` among the components of all degrees from 0 on."""
    return slice(l**2, (l + 1) ** 2)


def spherical_harmonics(
    unit: Float[Array, "*batch 3"], max_ell: int
) -> Float[Array, "*batch components"]:
    """Harmonics of unit vectors up to degree `max_ell`; the squares of one l sum to 2l+1."""
    import e3nn_jax as e3nn

    return e3nn.spherical_harmonics(
        _natural(max_ell), unit, normalize=False, normalization="component"
    ).array


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


@cache
def monomial_basis(max_ell: int, order: int, l: int) -> np.ndarray:
    """`symmetric_basis` as coefficients of monomials, (paths, 2l+1, monomials).

    The factors of a monomial are sorted; monomials are sorted by their last factor first, so
    that those of the first components come first.
    """
    basis = symmetric_basis(max_ell, order, l)
    rows = [basis[factors] * _orders(factors) for factors in monomials(max_ell, order)]
    return np.moveaxis(np.stack(rows), 0, -1)


@cache
def monomials(max_ell: int, order: int) -> tuple[tuple[int, ...], ...]:
    """Sorted factors of every monomial, see `monomial_basis`."""
    every = combinations_with_replacement(range((max_ell + 1) ** 2), order)
    return tuple(sorted(every, key=lambda factors: factors[::-1]))


def _orders(factors: tuple[int, ...]) -> int:
    return len(set(permutations(factors)))


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
