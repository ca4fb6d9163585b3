r"""Derivatives that know how far they have come (docs/theory.md, Polarization of a crystal).

A charge that answers the displacement of an atom a vector d away moves charge along that vector.
In a crystal the sum over atoms of charge times place cannot tell: an atom and its images are one
variable. Here every step from a neighbour to the atom that sees it multiplies the *derivative* by
:math:`e^{-t\cdot d}`, and the slope in t at zero is the derivative weighted by the true distance.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.structures.structure import Structure, neighbor_positions, neighbor_vectors


@jax.custom_jvp
def carry(values: Array, weight: Array) -> Array:
    """`values`, whose derivative alone is multiplied by `weight` (of the leading axes).

    Not for the body of a loop: there jax 0.10 forgets custom rules in derivatives of second order
    that are taken outside (of a function half(x) = x whose rule says 0.5, too).
    """
    return values


@carry.defjvp
def _carry_jvp(primals, tangents):
    values, weight = primals
    # Without the stop the values, too, would be followed along the weight, to find only zeros.
    still = jax.lax.stop_gradient(weight)
    return carry(values, still), _like(weight, values) * tangents[0]


def _like(weight, values):
    return weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))


def gather(values: Array, index: Array, weight: Array | None = None) -> Array:
    """`values[index]`, the neighbours' values, carried where there is a weight."""
    return values[index] if weight is None else carry(values[index], weight)


def bloch_weight(
    vectors: Float[Array, "atoms neighbors 3"], bloch: Float[Array, " 3"] | None
) -> Float[Array, "atoms neighbors"] | None:
    r"""Weights :math:`e^{-t\cdot d}` of the vectors from atoms to neighbours; None for none.

    Args:
        vectors: angstrom.
        bloch: t, 1/angstrom, of displacements that grow as :math:`e^{-t\cdot r}`.
    """
    return None if bloch is None else jnp.exp(-vectors @ bloch)


def bloch_vectors(
    structure: Structure, bloch: Float[Array, " 3"] | None
) -> Float[Array, "atoms neighbors 3"]:
    """Vectors from atoms to neighbours whose derivatives are Bloch-weighted where `bloch` is given.

    Args:
        structure: one structure.
        bloch: t, 1/angstrom; None for plain derivatives.
    """
    if bloch is None:
        return neighbor_vectors(structure)
    places = neighbor_positions(structure)
    weight = bloch_weight(places - structure.positions[:, None, :], bloch)
    return neighbor_vectors(structure, carry(places, weight))
