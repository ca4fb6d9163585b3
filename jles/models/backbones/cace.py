"""The Cartesian atomic cluster expansion as a Flax module (docs/theory.md, eqs. 1-13).

Source: Cheng, npj Comput. Mater. 10, 157 (2024). Two rearrangements make it much cheaper than
edge-wise tensors and leave the mathematics unchanged: the embedding of the receiver is taken
out of the sum over neighbours, and radial channels are mixed after that sum.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.models.backbones.angular import (
    degrees,
    equivariants,
    evaluate_monomials,
    invariant_terms,
    invariants,
)
from jles.models.backbones.envelope import envelope
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.backbones.radial import initial_frequencies, radial_functions
from jles.models.config import CaceConfig
from jles.models.readouts import Perceptron


def n_features(config: CaceConfig) -> int:
    """Length of the feature vector of one atom."""
    kinds = len(invariant_terms(config.l_max, config.body_order))
    return config.n_radial_basis * kinds * config.n_atom_basis**2 * (config.layers + 1)


class Edges(NamedTuple):
    """Quantities of every edge that all layers share.

    Attributes:
        graph: the graph they belong to.
        distance: angstrom.
        cut: envelope, zero in padding slots.
        weights: embedding of the sender times radial functions, (..., sender channels, rbf).
        angular: monomials of the direction, (..., monomials).
    """

    graph: Graph
    distance: Float[Array, "atoms neighbors"]
    cut: Float[Array, "atoms neighbors"]
    weights: Float[Array, "atoms neighbors senders rbf"]
    angular: Float[Array, "atoms neighbors monomials"]


def _decaying(rate, distance, cut):
    """Kernel of a radial message: exp(-r rate) under the envelope, (..., channels)."""
    return jnp.exp(-distance[..., None] * rate) * cut[..., None]


class Cace(nn.Module):
    """The Cartesian atomic cluster expansion.

    Attributes:
        config: of the expansion.
        n_elements: length of the element list.
    """

    config: CaceConfig
    n_elements: int

    @nn.compact
    def __call__(self, graph: Graph) -> Features:
        """Features of every atom's environment."""
        config, dtype = self.config, graph.vectors.dtype
        sender, receiver = self._embeddings(graph.species, dtype)
        distance = graph.distances
        frequencies = None
        if config.radial == "bessel":
            initial = initial_frequencies(config.n_rbf, config.cutoff)
            frequencies = self.param("bessel_weights", lambda _: jnp.asarray(initial, dtype))
        cut = envelope(distance, config) * graph.present
        radial = radial_functions(distance, config, frequencies) * cut[..., None]
        # Edges point from the sender (neighbour) to the receiver (this atom).
        angular = jnp.stack(
            evaluate_monomials(-graph.vectors / distance[..., None], config.l_max), -1
        )
        mixing = [
            self.param(f"radial_mixing_{l}", self._mixing_init, self._mixing_shape, dtype)
            for l in range(config.l_max + 1)
        ]

        weights = sender[graph.index][..., :, None] * radial[..., None, :]
        edges = Edges(graph, distance, cut, weights, angular)
        density = self._density(weights, angular)
        basis = self._mix(density, mixing, receiver)
        bases, layers = [basis], [self._invariants(basis)]

        for t in range(config.layers):
            basis = self._message(t, basis, layers[-1], edges, mixing, receiver)
            bases.append(basis)
            layers.append(self._invariants(basis))
        invariants = jnp.stack(layers, axis=-1).reshape(graph.species.shape[0], -1)
        return Features(invariants, *equivariants(bases, config.l_max))

    @property
    def _channels(self) -> int:
        return self.config.n_atom_basis**2

    @property
    def _mixing_shape(self):
        return (self.config.n_rbf, self.config.n_radial_basis, self._channels)

    @staticmethod
    def _mixing_init(key, shape, dtype):
        bound = 1.0 / np.sqrt(shape[0])
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    def _embeddings(self, species, dtype):
        shape = (self.n_elements, self.config.n_atom_basis)
        init = nn.initializers.normal(1.0)
        sender = self.param("sender_embedding", init, shape, dtype)
        if not self.config.embed_receiver:
            return sender[species], sender[species]
        receiver = self.param("receiver_embedding", init, shape, dtype)
        return sender[species], receiver[species]

    def _density(self, weights, angular):
        """Sum over neighbours: (monomials, atoms, sender channels, rbf)."""
        atoms, neighbors, n_sender, n_rbf = weights.shape
        flat = weights.reshape(atoms, neighbors, n_sender * n_rbf)
        density = jnp.einsum("inp,inl->lip", flat, angular)
        return density.reshape(-1, atoms, n_sender, n_rbf)

    def _mix(self, density, mixing, receiver):
        """Radial channels of each l mixed: a list over monomials of (atoms, K, channels)."""
        config = self.config
        n_atom, n_radial = config.n_atom_basis, config.n_radial_basis
        entries = []
        degree = np.array(degrees(config.l_max))
        for l, weight in enumerate(mixing):
            block = density[
                np.flatnonzero(degree == l)[0] : np.flatnonzero(degree == l)[-1] + 1
            ]
            by_pair = weight.reshape(config.n_rbf, n_radial, n_atom, n_atom)
            mixed = jnp.einsum("liam,mkab->likab", block, by_pair) * receiver[:, None, None, :]
            mixed = mixed.reshape(*mixed.shape[:3], n_atom**2)
            entries += [part[0] for part in jax.lax.split(mixed, [1] * mixed.shape[0])]
        return entries

    def _invariants(self, basis):
        values = invariants(basis, self.config.l_max, self.config.body_order)
        return jnp.stack(values, axis=2)  # (atoms, K, invariants, channels)

    def _message(self, t, basis, features, edges, mixing, receiver):
        config = self.config
        shape = (config.n_radial_basis, self._channels)
        dtype = edges.distance.dtype
        per_l = range(config.l_max + 1)
        degree = degrees(config.l_max)
        total = [jnp.zeros_like(entry) for entry in basis]
        if "ar" in config.messages:
            prefactor = [
                self.param(f"ar_prefactor_{t}_{l}", nn.initializers.normal(0.1), shape, dtype)
                for l in per_l
            ]
            decay = [
                self.param(f"ar_decay_{t}_{l}", nn.initializers.normal(0.1), shape, dtype)
                for l in per_l
            ]
            messages = self._radial_message(basis, edges, decay)
            total = [m * prefactor[l] for m, l in zip(messages, degree, strict=True)]
        if "bchi" in config.messages:
            messages = self._invariant_message(t, features, edges, mixing, receiver)
            total = [a + b for a, b in zip(total, messages, strict=True)]
        total = [config.mp_norm * entry for entry in total]
        if "memory" in config.messages:
            memory = [
                self.param(f"memory_{t}_{l}", nn.initializers.normal(0.1), shape, dtype)
                for l in per_l
            ]
            total = [a + b * memory[l] for a, b, l in zip(total, basis, degree, strict=True)]
        return total

    def _radial_message(self, basis, edges, decay):
        """Neighbours' bases, weighted by exp(-r / decay length) and the envelope."""
        degree = degrees(self.config.l_max)
        # A rate may be negative: beyond the cutoff (padding) the exponential would overflow.
        distance = jnp.minimum(edges.distance, self.config.cutoff)
        messages = []
        for l, rate in enumerate(decay):
            entries = [e for e, d in zip(basis, degree, strict=True) if d == l]
            flat = jnp.stack([entry.reshape(len(entry), -1) for entry in entries], axis=1)
            found = edges.graph.sums(flat, _decaying, rate.ravel(), distance, edges.cut)
            messages += [part.reshape(entries[0].shape) for part in found.swapaxes(0, 1)]
        return messages

    def _invariant_message(self, t, features, edges, mixing, receiver):
        """Edges of the zeroth layer again, weighted by a learnt scalar of the sender."""
        config = self.config
        n_l = config.l_max + 1 if config.bchi_per_l else 1
        n_c = self._channels if config.bchi_per_channel else 1
        network = Perceptron((*config.bchi_hidden, n_l * n_c), name=f"bchi_{t}")
        scalars = edges.graph.gather(network(features.reshape(len(features), -1)))
        scalars = scalars.reshape(*scalars.shape[:2], n_l, n_c)
        if n_c == 1:
            per_degree = scalars[..., 0]
            of_monomial = per_degree[..., np.array(degrees(config.l_max)) if n_l > 1 else [0]]
            return self._mix(
                self._density(edges.weights, edges.angular * of_monomial), mixing, receiver
            )
        return self._mix_per_channel(scalars, edges.weights, edges.angular, mixing, receiver)

    def _mix_per_channel(self, scalars, weights, angular, mixing, receiver):
        """The sum over neighbours where every (l, channel) has its own scalar."""
        config = self.config
        n_atom, n_radial = config.n_atom_basis, config.n_radial_basis
        degree = np.array(degrees(config.l_max))
        entries = []
        for l, weight in enumerate(mixing):
            scalar = scalars[:, :, l if config.bchi_per_l else 0, :]
            scalar = scalar.reshape(*scalar.shape[:2], n_atom, n_atom)
            edge = weights[:, :, :, None, :] * scalar[..., None]  # i n a b m
            flat = edge.reshape(*edge.shape[:2], -1)
            block = jnp.einsum("inp,inl->lip", flat, angular[..., np.flatnonzero(degree == l)])
            block = block.reshape(*block.shape[:2], n_atom, n_atom, config.n_rbf)
            by_pair = weight.reshape(config.n_rbf, n_radial, n_atom, n_atom)
            mixed = jnp.einsum("liabm,mkab->likab", block, by_pair) * receiver[:, None, None, :]
            mixed = mixed.reshape(*mixed.shape[:3], n_atom**2)
            entries += [part[0] for part in jax.lax.split(mixed, [1] * mixed.shape[0])]
        return entries
