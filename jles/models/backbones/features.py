"""The features that every backbone returns."""

from typing import NamedTuple

from jaxtyping import Array, Float

EQUIVARIANT = ("vectors", "tensors")
"""Features that rotate with the structure."""


class Features(NamedTuple):
    """Features of every atom's environment; under `jit` unused ones cost nothing.

    Attributes:
        invariants: unchanged by rotations.
        vectors: polar vectors, which rotate like a dipole; None if the backbone has none.
        tensors: symmetric traceless tensors, which rotate like a quadrupole; None if the
            backbone has none.
        energies: the backbone's own atomic energies, eV, to which the energy read-out is added;
            None if the backbone has none.
    """

    invariants: Float[Array, "atoms features"]
    vectors: Float[Array, "atoms vectors 3"] | None = None
    tensors: Float[Array, "atoms tensors 3 3"] | None = None
    energies: Float[Array, " atoms"] | None = None
