"""Allegro as a Flax module: equivariant features of pairs, without messages between atoms.

Source: Musaelian, Batzner, Johansson, Sun, Owen, Kornbluth, Kozinsky, Nat. Commun. 14, 579
(2023). Features belong to pairs of an atom and a neighbour within the cutoff, and depend on no
atoms but the neighbours of that atom. All of them end at the cutoff with the envelope.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.models.backbones.allegro_config import AllegroConfig
from jles.models.backbones.blocks import by_blocks, known_neighbors, save
from jles.models.backbones.envelope import envelope
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.backbones.irrep_messages import NORMAL, hidden_layers, scaled_silu
from jles.models.backbones.irreps import (
    by_degree,
    spherical_harmonics,
    to_tensors,
    to_vectors,
)
from jles.models.backbones.pair_products import mixed, pair_products, paths_to
from jles.models.backbones.radial import bessel, bessel_scale, initial_frequencies
from jles.models.backbones.state_embedding import with_state


class Layer(NamedTuple):
    """Weights of one layer.

    Attributes:
        environment: for every degree, from scalars to channels of the environment.
        network: kernels of the perceptron that updates the scalars.
        mixing: for every degree, from channels of all paths to channels; none in the last.
    """

    environment: list[Float[Array, "scalars channels"]]
    network: list[Float[Array, "fan_in fan_out"]]
    mixing: list[Float[Array, "paths_channels channels"]]


class Weights(NamedTuple):
    """All weights of the network, divided by the root of their fan-in.

    Attributes:
        frequencies: of the Bessel functions, 1/angstrom.
        two_body: kernels of the perceptron that gives the first scalars.
        embedding: from scalars to weights of the harmonics, every degree and channel.
        layers: one after the other.
        readout: from the last scalars to weights of channels; None without vectors.
    """

    frequencies: Float[Array, " bessels"]
    two_body: list[Float[Array, "fan_in fan_out"]]
    embedding: Float[Array, "scalars degrees_channels"]
    layers: list[Layer]
    readout: Float[Array, "scalars channels"] | None


class Allegro(nn.Module):
    """Allegro; weights are of order one and divided by the root of their fan-in when used.

    Attributes:
        config: of the network.
        n_elements: length of the element list.
    """

    config: AllegroConfig
    n_elements: int

    @nn.compact
    def __call__(self, graph: Graph) -> Features:
        """Features of every atom's environment."""
        config = self.config
        center = self._embedding(graph, "center")
        neighbor = self._embedding(graph, "neighbor")
        weights = self._weights(graph.vectors.dtype)

        def features(center, index, vectors, present):
            """Of some atoms."""
            pairs = _two_body(config, weights, center, neighbor[index], vectors, present)
            return tuple(map(save, _pair_layers(config, weights, *pairs)))

        atoms = (center, graph.index, graph.vectors, graph.present)
        invariants, *others = by_blocks(features, self._bytes_per_atom(graph), *atoms)
        vectors = to_vectors(others[0]) if config.degree > 0 else None
        tensors = to_tensors(others[1]) if config.degree > 1 else None
        return Features(invariants, vectors, tensors)

    def _embedding(self, graph: Graph, name: str) -> Float[Array, "atoms width"]:
        """Contribution of the element of an atom to the first hidden layer of its pairs."""
        shape = (self.n_elements, self.config.scalar_embed_mlp[0])
        table = self.param(f"{name}_embedding", NORMAL, shape, graph.vectors.dtype)
        return with_state(self, graph, table[graph.species], f"{name}_state")

    def _bytes_per_atom(self, graph: Graph) -> int:
        """Size of all products of the degree for which it is largest."""
        l_max = self.config.l_max
        most = max((2 * l + 1) * len(paths_to(l, l_max)) for l in range(l_max + 1))
        numbers = known_neighbors(graph.index.shape[1]) * most * self.config.num_tensor_features
        return numbers * graph.vectors.dtype.itemsize

    def _weights(self, dtype) -> Weights:
        config = self.config
        scalars, channels = config.num_scalar_features, config.num_tensor_features
        initial = jnp.asarray(initial_frequencies(config.num_bessels, config.cutoff), dtype)
        sizes = (config.num_bessels, *config.scalar_embed_mlp, scalars)
        width = (config.l_max + 1) * channels
        return Weights(
            self.param("bessel_weights", lambda _: initial),
            self._perceptron("two_body", sizes, dtype),
            self._kernel("tensor_embedding", scalars, width, dtype),
            [self._layer(t, dtype) for t in range(config.num_layers)],
            self._kernel("readout", scalars, channels, dtype) if config.degree else None,
        )

    def _layer(self, t: int, dtype) -> Layer:
        config = self.config
        scalars, channels = config.num_scalar_features, config.num_tensor_features
        environment, mixing = [], []
        for l in range(config.l_max + 1):
            paths = len(paths_to(l, config.l_max))
            environment.append(self._kernel(f"environment_{t}_{l}", scalars, channels, dtype))
            if t < config.num_layers - 1:
                name = f"mixing_{t}_{l}"
                mixing.append(self._kernel(name, paths * channels, channels, dtype))
        products = len(paths_to(0, config.l_max)) * channels
        sizes = (scalars + products, *config.allegro_mlp, scalars)
        return Layer(environment, self._perceptron(f"latent_{t}", sizes, dtype), mixing)

    def _perceptron(self, name, sizes, dtype):
        shapes = enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        return [self._kernel(f"{name}_{n}", *shape, dtype) for n, shape in shapes]

    def _kernel(self, name, fan_in, fan_out, dtype):
        return self.param(name, NORMAL, (fan_in, fan_out), dtype) / math.sqrt(fan_in)


def _two_body(config: AllegroConfig, weights: Weights, center, neighbor, vectors, present):
    """Envelope, harmonics, scalars and tensors of every pair before the first layer.

    The mean square of the radial functions in the sphere of the cutoff is one at first, so the
    first hidden layer has three terms of order one: of the distance and of the two elements.
    """
    distance = jnp.sqrt(jnp.sum(vectors**2, axis=-1))
    cut = (envelope(distance, config.envelope_of_edges) * present)[..., None]
    radial = bessel(distance, weights.frequencies, config.cutoff) * cut
    radial = bessel_scale(config.cutoff) * radial
    first, *rest = weights.two_body
    hidden = (radial @ first + center[:, None] + neighbor) / math.sqrt(3.0)
    scalars = _perceptron(rest, scaled_silu(hidden)) * cut
    harmonics = spherical_harmonics(vectors / distance[..., None], config.l_max)
    embedded = jnp.split(scalars @ weights.embedding, config.l_max + 1, axis=-1)
    tensors = [
        weight[:, :, None] * one[..., None]
        for weight, one in zip(embedded, by_degree(harmonics, 2), strict=True)
    ]
    return cut, harmonics, scalars, tensors


def _pair_layers(config: AllegroConfig, weights: Weights, cut, harmonics, scalars, tensors):
    """All layers, and sums over pairs: scalars, and components of vectors and tensors.

    Linear maps of the scalars are applied after the sum over neighbours where there is one,
    once for each atom.
    """
    root, ratio = math.sqrt(config.avg_num_neighbors), config.latent_resnet_ratio
    for layer in weights.layers:
        summed = save(jnp.einsum("inm,ins->ims", harmonics, scalars) / root)
        environment = [
            one @ matrix
            for one, matrix in zip(by_degree(summed, 1), layer.environment, strict=True)
        ]
        products = pair_products(tensors, environment, 0)
        found = [product[:, :, 0] for product in products]
        update = _perceptron(layer.network, jnp.concatenate([scalars, *found], axis=-1)) * cut
        scalars = (scalars + ratio * update) / math.sqrt(1.0 + ratio**2)
        if layer.mixing:
            higher = range(1, config.l_max + 1)
            products = [products, *(pair_products(tensors, environment, l) for l in higher)]
            tensors = list(map(mixed, products, layer.mixing))
    invariants = jnp.sum(scalars, axis=1) / root
    if weights.readout is None:
        return (invariants,)
    # The products of the last layer are linear in the tensors: their sum over pairs comes
    # first.
    chosen = scalars @ weights.readout
    summed = [jnp.einsum("inc,inmc->imc", chosen, one)[:, None] / root for one in tensors]
    higher = [pair_products(summed, environment, l) for l in range(1, config.degree + 1)]
    return (invariants, *(jnp.concatenate(products, axis=-1)[:, 0] for products in higher))


def _perceptron(kernels, x):
    """Linear maps with a SiLU between them."""
    return hidden_layers(x, kernels[:-1]) @ kernels[-1]
