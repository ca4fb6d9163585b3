"""Cartesian monomials of a unit vector and the rotation invariants built from them.

A monomial is L = (lx, ly, lz), its degree l = lx + ly + lz; the order is l ascending and,
within one l, lexicographically descending, so that l = 1 reads x, y, z.
"""

import math
from functools import cache, reduce
from operator import add, mul

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import traceless


@cache
def monomials(l_max: int) -> tuple[tuple[int, int, int], ...]:
    """All (lx, ly, lz) up to degree `l_max`, in order.

    There are (l_max+1)(l_max+2)(l_max+3)/6 of them.
    """
    return tuple(
        (lx, ly, l - lx - ly)
        for l in range(l_max + 1)
        for lx in range(l, -1, -1)
        for ly in range(l - lx, -1, -1)
    )


def degrees(l_max: int) -> tuple[int, ...]:
    """Degree of each monomial."""
    return tuple(sum(monomial) for monomial in monomials(l_max))


def evaluate_monomials(
    unit: Float[Array, "*batch 3"], l_max: int
) -> list[Float[Array, " *batch"]]:
    """Values of every monomial of `unit`, each by one product from one of lower degree."""
    x, y, z = unit[..., 0], unit[..., 1], unit[..., 2]
    values = {(0, 0, 0): jnp.ones_like(x)}
    for lx, ly, lz in monomials(l_max)[1:]:
        if lx:
            values[lx, ly, lz] = values[lx - 1, ly, lz] * x
        elif ly:
            values[lx, ly, lz] = values[lx, ly - 1, lz] * y
        else:
            values[lx, ly, lz] = values[lx, ly, lz - 1] * z
    return [values[monomial] for monomial in monomials(l_max)]


def _multiplicity(monomial) -> int:
    return math.factorial(sum(monomial)) // math.prod(math.factorial(n) for n in monomial)


def _of_degree(l: int):
    return [m for m in monomials(l) if sum(m) == l]


def _add(first, second):
    return tuple(a + b for a, b in zip(first, second, strict=True))


@cache
def invariant_terms(l_max: int, body_order: int):
    """Rotation-invariant polynomials of the atomic basis (docs/theory.md, eqs. 6-9).

    Returns:
        For each invariant a tuple of terms (coefficient, indices): the sum over terms of the
        coefficient times the product of the basis entries with those monomial indices.
    """
    index = {monomial: n for n, monomial in enumerate(monomials(l_max))}

    def contraction(*lower):
        """Pairs of monomials of the given degrees with their multiplicities."""
        if len(lower) == 1:
            return [(_multiplicity(a), (a,)) for a in _of_degree(lower[0])]
        return [
            (_multiplicity(a) * weight, (a, *rest))
            for a in _of_degree(lower[0])
            for weight, rest in contraction(*lower[1:])
        ]

    invariants = [((1, (0,)),)]
    if body_order >= 2:
        for l in range(1, l_max + 1):
            invariants.append(tuple((w, (index[a], index[a])) for w, (a,) in contraction(l)))
    if body_order >= 3:
        for l1 in range(1, l_max + 1):
            for l2 in range(l1, l_max - l1 + 1):
                invariants.append(
                    tuple(
                        (w, (index[a], index[b], index[_add(a, b)]))
                        for w, (a, b) in contraction(l1, l2)
                    )
                )
    if body_order >= 4:
        for l1 in range(1, l_max + 1):
            for l2 in range(l1 + 1, l_max):
                for d in range(1, l_max - l2 + 1):
                    invariants.append(
                        tuple(
                            (w, (index[a], index[b], index[_add(a, c)], index[_add(b, c)]))
                            for w, (a, b, c) in contraction(l1, l2, d)
                        )
                    )
    return tuple(_merge(terms) for terms in invariants)


def _merge(terms):
    """Adds the coefficients of equal products."""
    total = {}
    for weight, factors in terms:
        key = tuple(sorted(factors))
        total[key] = total.get(key, 0) + weight
    return tuple((weight, factors) for factors, weight in total.items())


@cache
def _factored(l_max: int, body_order: int):
    r"""The invariants as :math:`\sum_a s_a \sum_w w \sum_{b c} s_b B_c`, with few operations.

    s are the entries times their multiplicity, which most coefficients are products of.

    Returns:
        For each invariant a list of (a, products by weight w). A product is a list of indices;
        those of s follow those of B.
    """
    many = [_multiplicity(monomial) for monomial in monomials(l_max)]
    factored = []
    for terms in invariant_terms(l_max, body_order):
        groups = {}
        for coefficient, factors in terms:
            weight, taken = coefficient, list(factors)
            # The last of several factors is B, so that squares are s B.
            for place, n in enumerate(factors[: max(1, len(factors) - 1)]):
                if place < 2 and weight % many[n] == 0:
                    weight //= many[n]
                    taken[place] += len(many)
            first, *rest = taken
            groups.setdefault(first, {}).setdefault(weight, []).append(rest)
        factored.append(groups)
    return factored


def invariants(basis: list[Float[Array, "..."]], l_max: int, body_order: int) -> list:
    """Values of every invariant; `basis[n]` is the entry of monomial n, of any shape."""
    scaled = [
        entry if _multiplicity(monomial) == 1 else _multiplicity(monomial) * entry
        for entry, monomial in zip(basis, monomials(l_max), strict=True)
    ]
    entries = [*basis, *scaled]

    def inner(by_weight):
        """A sum of products, None for one; every weight is applied once."""
        found = []
        for weight, products in by_weight.items():
            if products == [[]]:
                return None
            total = reduce(add, (reduce(mul, (entries[n] for n in one)) for one in products))
            found.append(total if weight == 1 else weight * total)
        return reduce(add, found)

    values = []
    for groups in _factored(l_max, body_order):
        found = [(entries[first], inner(by_weight)) for first, by_weight in groups.items()]
        values.append(reduce(add, (one if by is None else one * by for one, by in found)))
    return values


def equivariants(bases: list[list[Float[Array, "atoms ..."]]], l_max: int):
    r"""Vectors and traceless tensors of every layer's atomic basis.

    With :math:`a` the entries of degree one and :math:`M` those of degree two: vectors
    :math:`a_x` and :math:`\sum_y M_{xy} a_y`; tensors :math:`M` and :math:`a a^T`, traceless.

    Returns:
        (atoms, vectors, 3) and (atoms, tensors, 3, 3); None where `l_max` is too small.
    """
    if l_max < 1:
        return None, None
    vectors, tensors = [], []
    for basis in bases:
        vector = jnp.stack([entry.reshape(entry.shape[0], -1) for entry in basis[1:4]], axis=-1)
        vectors.append(vector)
        if l_max >= 2:
            xx, xy, xz, yy, yz, zz = (
                entry.reshape(entry.shape[0], -1) for entry in basis[4:10]
            )
            rows = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
            tensor = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
            vectors.append(jnp.sum(tensor * vector[..., None, :], axis=-1))
            tensors += [traceless(tensor), traceless(vector[..., None] * vector[..., None, :])]
    return jnp.concatenate(vectors, 1), jnp.concatenate(tensors, 1) if tensors else None
