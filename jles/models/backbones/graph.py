"""The graph of a structure, the input of every backbone."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.bloch.weighted import bloch_vectors, bloch_weight, gather
from jles.models.backbones.neighbor_sums import Message, neighbor_sums
from jles.structures.structure import Structure, neighbor_vectors


class Graph(NamedTuple):
    """Atoms of one structure and the edges from every atom to its neighbours.

    Attributes:
        vectors: from each atom to its neighbours, angstrom; (1000, 0, 0) in padding slots.
        index: the neighbour in each slot; padding slots hold the atom itself.
        present: 1 for a neighbour, 0 for a padding slot.
        species: index of each atom's element in the element list of the model.
        total_charge: of the structure, e.
        bloch_weight: weight of the derivatives of gathered values, see `jles.bloch.weighted`;
            None for plain derivatives.
        state: charge and spin state of every atom, to be embedded with its element; None if the
            model has none.
        structure: the structure of the graph, for backbones that need more than its edges.
        bloch: t of the weight, 1/angstrom.
    """

    vectors: Float[Array, "atoms neighbors 3"]
    index: Int[Array, "atoms neighbors"]
    present: Float[Array, "atoms neighbors"]
    species: Int[Array, " atoms"]
    total_charge: Float[Array, ""]
    bloch_weight: Float[Array, "atoms neighbors"] | None = None
    state: Float[Array, "atoms inputs"] | None = None
    structure: Structure | None = None
    bloch: Float[Array, " 3"] | None = None

    @property
    def distances(self) -> Float[Array, "atoms neighbors"]:
        """Lengths of the vectors, angstrom."""
        return jnp.sqrt(jnp.sum(self.vectors**2, axis=-1))

    def gather(self, values: Float[Array, "atoms ..."]) -> Float[Array, "atoms neighbors ..."]:
        """The values of the neighbours of every atom."""
        return gather(values, self.index, self.bloch_weight)

    def sums(
        self,
        values: Float[Array, "atoms ..."],
        message: Message,
        parameters,
        *edges: Float[Array, "atoms neighbors ..."],
        bytes_per_atom: int | None = None,
    ) -> Float[Array, "atoms ..."]:
        """Sums of messages that are linear in the neighbours' values, see `neighbor_sums`."""
        return neighbor_sums(
            values,
            message,
            self.index,
            self.bloch_weight,
            parameters,
            *edges,
            bytes_per_atom=bytes_per_atom,
        )


def build_graph(
    structure: Structure,
    species: Int[Array, " atoms"],
    bloch: Float[Array, " 3"] | None = None,
    state: Float[Array, "atoms inputs"] | None = None,
    neighbors: Float[Array, "atoms neighbors 3"] | None = None,
) -> Graph:
    """The graph of one structure.

    Args:
        structure: one structure.
        species: see `Graph`.
        bloch: t, 1/angstrom, for Bloch-weighted derivatives, see `jles.bloch.weighted`.
        state: see `Graph`.
        neighbors: positions of the neighbours, angstrom; by default those of the structure.
    """
    if neighbors is None:
        vectors = bloch_vectors(structure, bloch)
    else:
        vectors = neighbor_vectors(structure, neighbors)
    return Graph(
        vectors,
        structure.neighbor_index,
        structure.neighbor_mask.astype(vectors.dtype),
        species,
        structure.total_charge,
        bloch_weight(vectors, bloch),
        state,
        structure,
        bloch,
    )
