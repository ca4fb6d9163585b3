r"""Bloch-weighted derivatives (docs/theory.md, Polarization of a crystal).

If the displacement of an atom changes a charge a vector d away, charge moves along d. The sum
over atoms of charge times position cannot show this in a crystal, where an atom and all its
images are one variable. Here every step from a neighbour j to the atom i that sees it
multiplies the *derivative*, not the value, by :math:`e^{-t\cdot d}` with d from i to j. The
slope in t at t = 0 is the derivative weighted by the true distance, through any number of
message-passing layers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.products import matmul
from jles.structures.structure import Structure, neighbor_positions, neighbor_vectors


@jax.custom_jvp
def bloch_weighted(values: Array, weight: Array) -> Array:
    """`values`; their derivatives are multiplied by `weight`, an array of the leading axes.

    Do not use it in the body of a loop: jax 0.10 loses custom rules there in derivatives of
    second order that are taken outside the loop.
    """
    return values


@bloch_weighted.defjvp
def _bloch_weighted_jvp(primals, tangents):
    values, weight = primals
    # The values do not depend on the weight: without the stop JAX would differentiate for
    # nothing.
    fixed = jax.lax.stop_gradient(weight)
    return bloch_weighted(values, fixed), _broadcast(weight, values) * tangents[0]


def _broadcast(weight, values):
    return weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))


def gather(values: Array, index: Array, weight: Array | None = None) -> Array:
    """`values[index]`, the values of the neighbours; Bloch-weighted where there is a weight."""
    return values[index] if weight is None else bloch_weighted(values[index], weight)


def bloch_weight(
    vectors: Float[Array, "atoms neighbors 3"], bloch: Float[Array, " 3"] | None
) -> Float[Array, "atoms neighbors"] | None:
    r"""Weights :math:`e^{-t\cdot d}` of the vectors from atoms to neighbours; None for none.

    Args:
        vectors: angstrom.
        bloch: t, 1/angstrom, of displacements that grow as :math:`e^{-t\cdot r}`.
    """
    return None if bloch is None else jnp.exp(-matmul(vectors, bloch))


def bloch_vectors(
    structure: Structure, bloch: Float[Array, " 3"] | None
) -> Float[Array, "atoms neighbors 3"]:
    """Vectors from atoms to neighbours; derivatives are Bloch-weighted where `bloch` is given.

    Args:
        structure: one structure.
        bloch: t, 1/angstrom; None for plain derivatives.
    """
    if bloch is None:
        return neighbor_vectors(structure)
    places = neighbor_positions(structure)
    weight = bloch_weight(places - structure.positions[:, None, :], bloch)
    return neighbor_vectors(structure, bloch_weighted(places, weight))
