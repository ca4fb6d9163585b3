r"""The receptive field of a cell as a cluster, for models whose operations cannot be followed.

A derivative that an atom at :math:`P` causes at the atom at :math:`r_i` has the Bloch weight
:math:`e^{-t\cdot(P - r_i)}`. In a cluster of copies of the cell every image is an atom of its
own, so the factor of P multiplies the derivatives of the edge vectors, and the other one those
of the features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jles.bloch.weighted import bloch_weighted
from jles.models.backbones.features import Features
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.foreign_model import Edges
from jles.models.backbones.graph import Graph
from jles.products import matmul


class Replica(NamedTuple):
    """A cluster of copies of a cell.

    Attributes:
        edges: of the cluster, with one atom more, at which padding edges end.
        first: atom of the cluster where the home cell begins.
        weight: of the derivatives of the features in the home cell.
        is_whole: whether the cluster holds the receptive field of the home cell.
    """

    edges: Edges
    first: int
    weight: Float[Array, " atoms"]
    is_whole: Bool[Array, ""]

    def home(self, features: Features) -> Features:
        """The features of the atoms in the home cell; NaN if the cluster is too small."""
        last = self.first + self.weight.shape[0]

        def chosen(values):
            values = bloch_weighted(values[self.first : last], self.weight)
            return jnp.where(self.is_whole, values, jnp.nan)

        return jax.tree.map(chosen, features)


def replica(graph: Graph, config: ForeignConfig) -> Replica:
    """The cluster of `config.cells` copies of the cell on each side; the graph has weights."""
    structure, wave = graph.structure, graph.bloch
    atoms, neighbors = graph.index.shape
    around = np.arange(-config.cells, config.cells + 1)
    cells = np.stack(np.meshgrid(around, around, around, indexing="ij"), -1).reshape(-1, 3)
    middle = len(cells) // 2

    image = _image(structure)
    cell_of = image.astype(structure.cell.dtype)
    wrapped = structure.positions - matmul(cell_of, structure.cell)
    shift = structure.neighbor_shift.astype(image.dtype)
    shift = shift + image[graph.index] - image[:, None]
    target = cells[:, None, None] + shift
    inside = (graph.present > 0.0) & (graph.distances < config.cutoff)
    inside = inside & jnp.all(jnp.abs(target) <= config.cells, axis=-1)

    origins = matmul(jnp.asarray(cells, wrapped.dtype), structure.cell)
    places = wrapped + origins[:, None]
    decay = jnp.exp(-matmul(places, wave))
    shape = (len(cells), atoms, neighbors)
    vectors = jnp.broadcast_to(graph.vectors, (*shape, 3))
    vectors = bloch_weighted(vectors, decay)
    far = jnp.array([2.0 * config.cutoff, 0.0, 0.0], vectors.dtype)

    width = len(around)
    number = jnp.sum((target + config.cells) * np.array([width**2, width, 1]), axis=-1)
    outside = len(cells) * atoms
    senders = jnp.where(inside, number * atoms + graph.index, outside)
    own = jnp.arange(outside).reshape(len(cells), atoms, 1)
    receivers = jnp.where(inside, own, outside)
    edges = Edges(
        jnp.where(inside[..., None], vectors, far).reshape(-1, 3),
        jnp.pad(jnp.tile(graph.species, len(cells)), (0, 1)),
        senders.reshape(-1),
        receivers.reshape(-1),
    )
    is_whole = _is_whole(structure, config)
    return Replica(edges, middle * atoms, jnp.exp(matmul(wrapped, wave)), is_whole)


def _image(structure) -> Int[Array, "atoms 3"]:
    """The cell that every atom is in, zero along directions that are not periodic."""
    fractions = jnp.linalg.solve(structure.cell.T, structure.positions.T).T
    periodic = structure.periodic & (jnp.arange(3) != structure.open_axis)
    return jnp.where(periodic, jnp.floor(jax.lax.stop_gradient(fractions)), 0.0).astype(int)


def _is_whole(structure, config) -> Bool[Array, ""]:
    inverse = jnp.linalg.inv(structure.cell)
    heights = 1.0 / jnp.sqrt(jnp.sum(inverse**2, axis=0))
    periodic = structure.periodic & (jnp.arange(3) != structure.open_axis)
    return jnp.all(~periodic | (config.cells * heights >= config.receptive_field))
