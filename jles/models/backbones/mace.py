"""MACE as a Flax module: equivariant messages and products of many bodies.

Source: Batatia, Kovacs, Simm, Ortner, Csanyi, NeurIPS 35, 11423 (2022); the products are those
of Drautz, Phys. Rev. B 99, 014104 (2019).
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from jles.models.backbones.blocks import by_blocks, save
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.backbones.irrep_messages import (
    NORMAL,
    Path,
    edges_of,
    message_weights,
    messages,
    mix,
    mix_by_element,
    mixings,
    paths,
)
from jles.models.backbones.irreps import of_degree, products
from jles.models.backbones.mace_config import MaceConfig
from jles.models.backbones.radial import initial_frequencies
from jles.models.backbones.state_embedding import initial_features
from jles.models.backbones.symmetric_contraction import contract, normal_over_paths


class Mace(nn.Module):
    """MACE; weights are of order one and divided by the root of their fan-in when used.

    Attributes:
        config: of the network.
        n_elements: length of the element list.
    """

    config: MaceConfig
    n_elements: int

    @nn.compact
    def __call__(self, graph: Graph) -> Features:
        """Features of every atom's environment."""
        config, dtype = self.config, graph.vectors.dtype
        initial = initial_frequencies(config.num_bessel, config.cutoff)
        frequencies = self.param("bessel_weights", lambda _: jnp.asarray(initial, dtype))
        edges = edges_of(graph, frequencies, config.envelope_of_edges, config.max_ell)
        table = self.param("embedding", NORMAL, (self.n_elements, config.channels), dtype)
        table = table / math.sqrt(self.n_elements)
        features, layers = initial_features(self, graph, table), []
        for t in range(config.num_interactions):
            interaction = Interaction(config, self.n_elements, t, name=f"interaction_{t}")
            features = interaction(graph, edges, table, features)
            layers.append(features)
        invariants = jnp.concatenate([layer[:, 0] for layer in layers], axis=1)
        return Features(invariants, *(of_degree(layers, l) for l in (1, 2)))


class Interaction(nn.Module):
    """One interaction: messages from neighbours, then products of the atom's own features.

    Features are (atoms, components, channels), with the components of degree 0, 1, ...
    """

    config: MaceConfig
    n_elements: int
    t: int

    @property
    def _source(self) -> int:
        return self.config.degree_after(self.t - 1) if self.t else 0

    @property
    def _target(self) -> int:
        return self.config.degree_after(self.t)

    @property
    def _paths(self) -> tuple[Path, ...]:
        return paths(self._source, self.config.max_ell)

    @property
    def _residual(self) -> bool:
        kind = self.config.interaction if self.t else self.config.interaction_first
        return kind == "RealAgnosticResidualInteractionBlock"

    @nn.compact
    def __call__(self, graph: Graph, edges, table, features) -> Array:
        """New features of every atom.

        Args:
            graph: of the structure.
            edges: radial functions and harmonics.
            table: features of each element before the first interaction.
            features: those before this interaction; None before the first where they are those
                of the elements.
        """
        config, dtype = self.config, table.dtype
        received = self._messages(graph, edges, table, features)
        skips = self._skips(dtype)
        weights = self._weights(dtype)
        shapes = [(config.channels, config.channels)] * (self._target + 1)
        out = mixings(self.param, "linear_out", shapes, dtype)
        before = table[graph.species][:, None] if features is None else features

        def update(received, species, before):
            if not self._residual:
                received = mix_by_element(received, species, skips)
            coupled = contract(jnp.swapaxes(received, 0, 1), species, weights, config.max_ell)
            new = mix(jnp.swapaxes(coupled, 0, 1), out)
            if self._residual:
                kept = mix_by_element(before, species, skips)
                kept = jnp.pad(kept, ((0, 0), (0, new.shape[1] - kept.shape[1]), (0, 0)))
                new = new + kept
            return save(new)

        monomials = len(products(config.max_ell, self._target, config.correlation).factors[0])
        size = 2 * monomials * config.channels * table.itemsize
        return by_blocks(update, size, received, graph.species, before)

    def _messages(self, graph, edges, table, features):
        """Sums over neighbours, coupled and mixed: degrees 0 to max_ell."""
        config = self.config
        sizes = (config.num_bessel, *config.radial_MLP)
        widths = [config.channels] * (config.max_ell + 1)
        weights = message_weights(
            self.param, self._paths, sizes, config.channels, widths, table.dtype
        )
        found = messages(graph, edges, table, features, weights, self._paths, config.silu_scale)
        return found / config.avg_num_neighbors

    def _weights(self, dtype):
        """Weights of the products by degree and number of factors."""
        config, weights = self.config, {}
        couplings = products(config.max_ell, self._target, config.correlation)
        for l in range(self._target + 1):
            for order in range(1, config.correlation + 1):
                many = couplings.rows[order, l]
                shape = (self.n_elements, many, config.channels)
                name = f"product_{l}_{order}"
                weights[l, order] = self.param(name, normal_over_paths, shape, dtype)
        return weights

    def _skips(self, dtype):
        """Matrices for every element and degree, (channels, elements, channels)."""
        config = self.config
        highest = min(self._source, self._target) if self._residual else config.max_ell
        shape = (config.channels, self.n_elements, config.channels)
        return [
            self.param(f"skip_{l}", NORMAL, shape, dtype)
            / math.sqrt(config.channels * self.n_elements)
            for l in range(highest + 1)
        ]
