"""The Cartesian atomic cluster expansion as a Flax module (docs/theory.md, eqs. 1-13).

Source: Cheng, npj Comput. Mater. 10, 157 (2024). Two rearrangements make it much cheaper than
edge-wise tensors and leave the mathematics unchanged: the embedding of the receiver is taken
out of the sum over neighbours, and radial channels are mixed after that sum.
"""

from functools import cache
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
from jles.models.backbones.apart import apart
from jles.models.backbones.blocks import by_blocks, known_neighbors, save
from jles.models.backbones.cace_config import CaceConfig
from jles.models.backbones.envelope import envelope
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.backbones.radial import initial_frequencies, radial_functions
from jles.models.backbones.state_embedding import with_state
from jles.models.readouts import Perceptron


def n_features(config: CaceConfig) -> int:
    """Length of the feature vector of one atom."""
    kinds = len(invariant_terms(config.l_max, config.body_order))
    return config.n_radial_basis * kinds * config.n_atom_basis**2 * (config.layers + 1)


class Edges(NamedTuple):
    """Quantities of the edges of some atoms.

    Attributes:
        weights: embedding of the sender times radial functions, (..., sender channels, rbf).
        angular: monomials of the direction, (..., monomials).
    """

    weights: Float[Array, "atoms neighbors senders rbf"]
    angular: Float[Array, "atoms neighbors monomials"]


def _decaying(rate, values, distance, cut, weight=None):
    """Radial message: the neighbours' values times exp(-r rate) under the envelope, summed."""
    decay = jnp.exp(-distance[..., None] * rate) * cut[..., None]
    if weight is not None:
        decay = decay * weight[..., None]
    return jnp.sum(decay[:, :, None] * values, axis=1)


def _entries(basis):
    """One array for every monomial, from one for every degree."""
    parts = (jax.lax.split(one, [1] * one.shape[1], axis=1) for one in basis)
    return [part[:, 0] for of_degree in parts for part in of_degree]


@cache
def _invariants_of(l_max: int, body_order: int):
    """The invariants of a basis as a function, the same one for the same numbers."""
    return lambda basis: invariants(_entries(basis), l_max, body_order)


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
        sender, receiver = self._embeddings(graph, dtype)
        frequencies = None
        if config.radial == "bessel":
            initial = initial_frequencies(config.n_rbf, config.cutoff)
            frequencies = self.param("bessel_weights", lambda _: jnp.asarray(initial, dtype))
        mixing = [
            self.param(f"radial_mixing_{l}", self._mixing_init, self._mixing_shape, dtype)
            for l in range(config.l_max + 1)
        ]

        def expand(receiver, vectors, index, present, scalars=None):
            """Sums over the neighbours of some atoms, mixed; `scalars` weight the senders."""
            edges = self._edges(vectors, sender[index], present, frequencies)
            if scalars is None or scalars.shape[-1] == 1:
                density = save(self._density(edges, scalars))
                return self._mix(density, mixing, receiver)
            return self._mix_per_channel(scalars, edges, mixing, receiver)

        def expand_first(*atoms):
            basis = expand(*atoms)
            return basis, self._invariants(basis)

        atoms = (receiver, graph.vectors, graph.index, graph.present)
        edge_floats = (self.config.n_rbf + 1) * sender.shape[1] + len(degrees(config.l_max))
        bytes_per_atom = known_neighbors(graph.index.shape[1]) * edge_floats * sender.itemsize
        basis, found = by_blocks(expand_first, bytes_per_atom, *atoms)
        bases, layers = [basis], [found]

        def expand_again(scalars):
            return by_blocks(expand, bytes_per_atom, *atoms, scalars)

        for t in range(config.layers):
            basis = self._message(t, basis, layers[-1], graph, expand_again)
            bases.append(basis)
            layers.append(self._invariants(basis))
        invariants = jnp.stack(layers, axis=-1).reshape(graph.species.shape[0], -1)
        return Features(
            invariants, *equivariants([_entries(basis) for basis in bases], config.l_max)
        )

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

    def _embeddings(self, graph, dtype):
        shape = (self.n_elements, self.config.n_atom_basis)
        init = nn.initializers.normal(1.0)
        sender = self.param("sender_embedding", init, shape, dtype)
        if not self.config.embed_receiver:
            sender = with_state(self, graph, sender[graph.species], "sender_state")
            return sender, sender
        receiver = self.param("receiver_embedding", init, shape, dtype)
        return (
            with_state(self, graph, sender[graph.species], "sender_state"),
            with_state(self, graph, receiver[graph.species], "receiver_state"),
        )

    def _edges(self, vectors, sender, present, frequencies) -> Edges:
        distance = jnp.sqrt(jnp.sum(vectors**2, axis=-1))
        cut = envelope(distance, self.config.envelope_of_edges) * present
        radial = radial_functions(distance, self.config, frequencies) * cut[..., None]
        # Edges point from the sender (neighbour) to the receiver (this atom).
        unit = -vectors / distance[..., None]
        angular = jnp.stack(evaluate_monomials(unit, self.config.l_max), -1)
        return Edges(sender[..., :, None] * radial[..., None, :], angular)

    def _density(self, edges: Edges, scalars=None):
        """Sum over neighbours: (monomials, atoms, sender channels, rbf)."""
        atoms, neighbors, n_sender, n_rbf = edges.weights.shape
        angular = edges.angular
        if scalars is not None:
            per_degree = scalars[..., 0]
            several = per_degree.shape[-1] > 1
            angular *= per_degree[..., np.array(degrees(self.config.l_max)) if several else [0]]
        flat = edges.weights.reshape(atoms, neighbors, n_sender * n_rbf)
        density = jnp.einsum("inp,inl->lip", flat, angular)
        return density.reshape(-1, atoms, n_sender, n_rbf)

    def _mix(self, density, mixing, receiver):
        """Radial channels mixed: for each l an array (atoms, monomials, K, channels)."""
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
            entries.append(jnp.swapaxes(mixed, 0, 1))
        return entries

    def _invariants(self, basis):
        values = apart(_invariants_of(self.config.l_max, self.config.body_order), basis)
        return jnp.stack(values, axis=2)  # (atoms, K, invariants, channels)

    def _message(self, t, basis, features, graph, expand):
        config = self.config
        shape = (config.n_radial_basis, self._channels)
        dtype = graph.vectors.dtype
        per_l = range(config.l_max + 1)
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
            messages = self._radial_message(basis, graph, decay)
            total = [m * one for m, one in zip(messages, prefactor, strict=True)]
        if "bchi" in config.messages:
            messages = expand(self._sender_scalars(t, features, graph))
            total = [a + b for a, b in zip(total, messages, strict=True)]
        total = [config.mp_norm * entry for entry in total]
        if "memory" in config.messages:
            memory = [
                self.param(f"memory_{t}_{l}", nn.initializers.normal(0.1), shape, dtype)
                for l in per_l
            ]
            total = [a + b * one for a, b, one in zip(total, basis, memory, strict=True)]
        return total

    def _radial_message(self, basis, graph, decay):
        """Neighbours' bases, weighted by exp(-r / decay length) and the envelope."""
        # A rate may be negative: beyond the cutoff (padding) the exponential would overflow.
        distance = jnp.minimum(graph.distances, self.config.cutoff)
        cut = envelope(graph.distances, self.config.envelope_of_edges) * graph.present
        messages = []
        for one, rate in zip(basis, decay, strict=True):
            flat = one.reshape(*one.shape[:2], -1)
            found = graph.sums(flat, _decaying, rate.ravel(), distance, cut)
            messages.append(found.reshape(one.shape))
        return messages

    def _sender_scalars(self, t, features, graph):
        """A learnt scalar of the sender of every edge, (..., degrees or 1, channels or 1).

        The message is the expansion of the zeroth layer with its edges weighted by them.
        """
        config = self.config
        n_l = config.l_max + 1 if config.bchi_per_l else 1
        n_c = self._channels if config.bchi_per_channel else 1
        network = Perceptron((*config.bchi_hidden, n_l * n_c), name=f"bchi_{t}")
        scalars = graph.gather(network(features.reshape(features.shape[0], -1)))
        return scalars.reshape(*scalars.shape[:2], n_l, n_c)

    def _mix_per_channel(self, scalars, edges: Edges, mixing, receiver):
        """The sum over neighbours where every (l, channel) has its own scalar."""
        config = self.config
        n_atom, n_radial = config.n_atom_basis, config.n_radial_basis
        degree = np.array(degrees(config.l_max))
        entries = []
        for l, weight in enumerate(mixing):
            scalar = scalars[:, :, l if config.bchi_per_l else 0, :]
            scalar = scalar.reshape(*scalar.shape[:2], n_atom, n_atom)
            edge = edges.weights[:, :, :, None, :] * scalar[..., None]  # i n a b m
            flat = edge.reshape(*edge.shape[:2], -1)
            block = jnp.einsum(
                "inp,inl->lip", flat, edges.angular[..., np.flatnonzero(degree == l)]
            )
            block = block.reshape(*block.shape[:2], n_atom, n_atom, config.n_rbf)
            by_pair = weight.reshape(config.n_rbf, n_radial, n_atom, n_atom)
            mixed = jnp.einsum("liabm,mkab->likab", block, by_pair) * receiver[:, None, None, :]
            mixed = mixed.reshape(*mixed.shape[:3], n_atom**2)
            entries.append(jnp.swapaxes(mixed, 0, 1))
        return entries
