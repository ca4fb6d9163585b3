"""NequIP as a Flax module: equivariant messages, linear maps and gates.

Source: Batzner, Musaelian, Sun, Geiger, Mailoa, Kornbluth, Molinari, Smidt, Kozinsky, Nat.
Commun. 13, 2453 (2022). Constant factors beside the weights keep all features of order one in
a new model; docs/theory.md states them.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.models.backbones.blocks import by_blocks, save
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.backbones.irrep_messages import (
    NORMAL,
    SILU_SCALE,
    Edges,
    edges_of,
    message_weights,
    messages,
    mix_by_element,
    paths,
    scaled_silu,
)
from jles.models.backbones.irreps import of_degree
from jles.models.backbones.nequip_config import NequipConfig
from jles.models.backbones.radial import bessel_scale, initial_frequencies
from jles.models.backbones.state_embedding import initial_features


class Nequip(nn.Module):
    """NequIP; weights are of order one and divided by the root of their fan-in when used.

    Attributes:
        config: of the network.
        n_elements: length of the element list.
    """

    config: NequipConfig
    n_elements: int

    @nn.compact
    def __call__(self, graph: Graph) -> Features:
        """Features of every atom's environment."""
        config = self.config
        edges = self._edges(graph)
        table = self._embedding(graph)
        features, source = initial_features(self, graph, table), 0
        for t in range(config.num_layers):
            target = config.degree_after(t)
            layer = Layer(config, self.n_elements, source, target, name=f"layer_{t}")
            features = layer(graph, edges, table, features)
            source = target
        return Features(features[:, 0], *(of_degree([features], l) for l in (1, 2)))

    def _embedding(self, graph: Graph) -> Float[Array, "elements channels"]:
        """Features of the atoms of each element before the first layer."""
        shape = (self.n_elements, self.config.num_features)
        return self.param("embedding", NORMAL, shape, graph.vectors.dtype)

    def _edges(self, graph: Graph) -> Edges:
        """Harmonics, and radial functions whose mean square in the sphere is one."""
        config = self.config
        initial = initial_frequencies(config.num_bessels, config.cutoff)
        frequencies = self.param(
            "bessel_weights", lambda _: jnp.asarray(initial, graph.vectors.dtype)
        )
        edges = edges_of(graph, frequencies, config.envelope_of_edges, config.l_max)
        return edges._replace(radial=edges.radial * bessel_scale(config.cutoff))


class Layer(nn.Module):
    """One interaction: messages, self-connection by element, gates.

    Features are (atoms, components, channels), with the components of degree 0, 1, ...

    Attributes:
        config: of the network.
        n_elements: length of the element list.
        source: highest degree of the features before.
        target: highest degree of the features after.
    """

    config: NequipConfig
    n_elements: int
    source: int
    target: int

    @nn.compact
    def __call__(
        self,
        graph: Graph,
        edges: Edges,
        table: Float[Array, "elements channels"],
        features: Float[Array, "atoms before channels"] | None,
    ) -> Float[Array, "atoms after channels"]:
        """New features of every atom.

        Args:
            graph: of the structure.
            edges: of the structure.
            table: features of each element before the first layer.
            features: those before this layer; None before the first where they are those of
                the elements.
        """
        config, dtype = self.config, table.dtype
        channels = config.num_features
        # Beside the new scalars there are those that gate each higher degree.
        widths = [channels * (1 + self.target)] + [channels] * self.target
        every = paths(self.source, config.l_max, self.target)
        sizes = (config.num_bessels, *[config.invariant_neurons] * config.invariant_layers)
        weights = message_weights(self.param, every, sizes, channels, widths, dtype)
        received = messages(graph, edges, table, features, weights, every, SILU_SCALE)
        received = received / math.sqrt(config.avg_num_neighbors)
        skips = self._skips(widths, dtype)
        before = table[graph.species][:, None] if features is None else features

        def update(received, species, before):
            kept = mix_by_element(before, species, skips)
            both, rest = jnp.split(received, [kept.shape[1]], axis=1)
            both = math.sqrt(0.5) * (both + kept)
            return save(gate(jnp.concatenate([both, rest], axis=1), self.target))

        rows = self.target + (self.target + 1) ** 2
        size = self.n_elements * rows * channels * table.itemsize
        return by_blocks(update, size, received, graph.species, before)

    def _skips(self, widths, dtype):
        """Matrices of the self-connection for every element, (channels, elements, out)."""
        channels = self.config.num_features
        return [
            self.param(f"skip_{l}", NORMAL, (channels, self.n_elements, width), dtype)
            / math.sqrt(channels)
            for l, width in enumerate(widths[: min(self.source, self.target) + 1])
        ]


def gate(
    rows: Float[Array, "atoms rows channels"], target: int
) -> Float[Array, "atoms components channels"]:
    """SiLU of the scalars, and the higher degrees times the SiLU of their gates.

    Args:
        rows: scalars, the gates of degrees 1 to `target`, then their components.
        target: highest degree.
    """
    ends = [target + l**2 for l in range(1, target + 1)]
    scalars, *higher = jnp.split(rows, ends, axis=1)
    scalars, *gates = jnp.split(scaled_silu(scalars), 1 + target, axis=1)
    gated = [one * by for one, by in zip(higher, gates, strict=True)]
    return jnp.concatenate([scalars, *gated], axis=1)
