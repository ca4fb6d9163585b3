"""MACE as a Flax module: equivariant messages and products of many bodies.

Source: Batatia, Kovacs, Simm, Ortner, Csanyi, NeurIPS 35, 11423 (2022); the products are those
of Drautz, Phys. Rev. B 99, 014104 (2019). Sums over neighbours come before couplings, which are
then done once for each atom instead of once for each edge. In the first interaction, where the
features of a neighbour are those of its element, radial channels are mixed after that sum as
well.
"""

import math
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jles.models.backbones.blocks import by_blocks, known_neighbors, save
from jles.models.backbones.envelope import envelope
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.backbones.irreps import (
    coupling,
    part,
    products,
    spherical_harmonics,
    to_tensors,
    to_vectors,
)
from jles.models.backbones.mace_config import MaceConfig
from jles.models.backbones.radial import bessel, initial_frequencies
from jles.models.backbones.symmetric_contraction import contract, normal_over_paths

_NORMAL = nn.initializers.normal(1.0)
MOST_ELEMENTS = 12
"""With more elements the first interaction treats neighbours like the others do."""


class Path(NamedTuple):
    """A coupling of features of degree `source` and harmonics of degree `edge` to `target`."""

    source: int
    edge: int
    target: int


def paths(source: int, max_ell: int) -> tuple[Path, ...]:
    """All paths from features up to degree `source`, sorted by target."""
    found = [
        Path(l1, l2, l3)
        for l1 in range(source + 1)
        for l2 in range(max_ell + 1)
        for l3 in range(abs(l1 - l2), min(l1 + l2, max_ell) + 1, 2)
    ]
    return tuple(sorted(found, key=lambda path: path.target))


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
        edges = self._edges(graph)
        table = self.param("embedding", _NORMAL, (self.n_elements, config.channels), dtype)
        table = table / math.sqrt(self.n_elements)
        features, layers = None, []
        for t in range(config.num_interactions):
            interaction = Interaction(config, self.n_elements, t, name=f"interaction_{t}")
            features = interaction(graph, edges, table, features)
            layers.append(features)
        invariants = jnp.concatenate([layer[:, 0] for layer in layers], axis=1)
        return Features(invariants, *(_of_degree(layers, l) for l in (1, 2)))

    def _edges(self, graph: Graph) -> tuple:
        """Radial functions under the envelope, and harmonics of the direction."""
        config, distance = self.config, graph.distances
        initial = initial_frequencies(config.num_bessel, config.cutoff)
        frequencies = self.param(
            "bessel_weights", lambda _: jnp.asarray(initial, distance.dtype)
        )
        cut = envelope(distance, config.envelope_of_edges) * graph.present
        radial = bessel(distance, frequencies, config.cutoff) * cut[..., None]
        # Edges point from the sender (neighbour) to the receiver (this atom).
        unit = -graph.vectors / distance[..., None]
        return radial, spherical_harmonics(unit, config.max_ell)


def _of_degree(layers, l):
    """Vectors or tensors of all layers that have them; None if no layer has."""
    convert = {1: to_vectors, 2: to_tensors}[l]
    has = [layer for layer in layers if layer.shape[1] >= (l + 1) ** 2]
    return jnp.concatenate([convert(layer[:, part(l)]) for layer in has], 1) if has else None


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
            features: those before this interaction; None before the first.
        """
        config, dtype = self.config, table.dtype
        messages = self._messages(graph, edges, table, features)
        skips = self._skips(dtype)
        weights = self._weights(dtype)
        mix = self._mixings("linear_out", self._target, config.channels, dtype)
        before = table[graph.species][:, None] if features is None else features

        def update(messages, species, before):
            if not self._residual:
                messages = _by_element(messages, species, skips)
            coupled = contract(jnp.swapaxes(messages, 0, 1), species, weights, config.max_ell)
            new = _mix(jnp.swapaxes(coupled, 0, 1), mix)
            if self._residual:
                kept = _by_element(before, species, skips)
                kept = jnp.pad(kept, ((0, 0), (0, new.shape[1] - kept.shape[1]), (0, 0)))
                new = new + kept
            return save(new)

        monomials = len(products(config.max_ell, self._target, config.correlation).factors[0])
        size = 2 * monomials * config.channels * table.itemsize
        return by_blocks(update, size, messages, graph.species, before)

    def _messages(self, graph, edges, table, features):
        """Sums over neighbours, coupled and mixed: degrees 0 to max_ell."""
        config, dtype = self.config, table.dtype
        up = self._mixings("linear_up", self._source, config.channels, dtype)
        sizes = (config.num_bessel, *config.radial_MLP, len(self._paths) * config.channels)
        network = [
            self.param(f"radial_{n}", _NORMAL, shape, dtype)
            for n, shape in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        ]
        mix = self._mixings("linear", config.max_ell, config.channels, dtype, self._paths)
        parameters = (network, mix)
        if features is None and self.n_elements <= MOST_ELEMENTS:
            sums = partial(_first_sums, parameters, _mix(table[:, None], up)[:, 0], config)
            slots = self.n_elements * (config.max_ell + 1) ** 2 + 2 * sizes[1]
            size = known_neighbors(graph.index.shape[1]) * slots * table.itemsize
            messages = by_blocks(sums, size, *edges, graph.species[graph.index])
        else:
            before = table[graph.species][:, None] if features is None else features
            size = 2 * known_neighbors(graph.index.shape[1]) * sizes[-1] * table.itemsize
            message = _message(config, self._paths)
            values = _mix(before, up)
            messages = graph.sums(values, message, parameters, *edges, bytes_per_atom=size)
        return messages / config.avg_num_neighbors

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

    def _mixings(self, name, highest, channels, dtype, sources=None):
        """Matrices that mix the channels of every degree, divided by the root of their fan-in.

        With `sources` the channels of all paths to a degree are mixed.
        """
        matrices = []
        for l in range(highest + 1):
            many = sum(path.target == l for path in sources) if sources else 1
            matrix = self.param(f"{name}_{l}", _NORMAL, (many * channels, channels), dtype)
            matrices.append(matrix / math.sqrt(many * channels))
        return matrices

    def _skips(self, dtype):
        """Matrices for every element and degree, (channels, elements, channels)."""
        config = self.config
        highest = min(self._source, self._target) if self._residual else config.max_ell
        shape = (config.channels, self.n_elements, config.channels)
        return [
            self.param(f"skip_{l}", _NORMAL, shape, dtype)
            / math.sqrt(config.channels * self.n_elements)
            for l in range(highest + 1)
        ]


def _mix(features, matrices):
    """Channels of every degree mixed by its matrix."""
    return jnp.concatenate(
        [features[:, part(l)] @ matrix for l, matrix in enumerate(matrices)], axis=1
    )


def _by_element(features, species, matrices):
    """The same with one matrix for each element; degrees without a matrix are left out."""
    chosen = jax.nn.one_hot(species, matrices[0].shape[1], dtype=features.dtype)
    results = []
    for l, matrix in enumerate(matrices):
        every = jnp.einsum("imu,uev->imev", features[:, part(l)], matrix)
        results.append(jnp.einsum("imev,ie->imv", every, chosen))
    return jnp.concatenate(results, axis=1)


def _hidden(radial, network, config):
    """The last hidden layer of the radial network, which is zero where `radial` is."""
    for kernel in network[:-1]:
        radial = config.silu_scale * jax.nn.silu(radial @ (kernel / math.sqrt(len(kernel))))
    return radial


def _first_sums(parameters, table, config, radial, harmonics, species):
    """Sums over neighbours whose features are those of their element, `table`."""
    network, mix = parameters
    hidden = _hidden(radial, network, config)
    chosen = jax.nn.one_hot(species, len(table), dtype=hidden.dtype)
    angular = harmonics[..., None] * chosen[..., None, :]
    density = jnp.einsum("inh,inq->ihq", hidden, angular.reshape(*chosen.shape[:2], -1))
    density = save(density).reshape(*density.shape[:2], *angular.shape[2:])
    last = network[-1].reshape(len(network[-1]), -1, table.shape[1])
    last = last / math.sqrt(len(network[-1]))
    sums = []
    for l, matrix in enumerate(mix):
        kernel = last[:, l, None] * table  # (hidden, elements, channels)
        sums.append(jnp.einsum("ihme,hec->imc", density[:, :, part(l)], kernel) @ matrix)
    return save(jnp.concatenate(sums, axis=1))


def _message(config: MaceConfig, every: tuple[Path, ...]):
    """The message of later interactions, see `neighbor_sums`."""

    def message(parameters, values, radial, harmonics, weight=None):
        network, mix = parameters
        hidden = _hidden(radial, network, config)
        if weight is not None:
            hidden = hidden * weight[..., None]
        channels = values.shape[-1]
        last = network[-1].reshape(-1, len(every), channels) / math.sqrt(len(network[-1]))
        coupled = [[] for _ in mix]
        for l2 in range(config.max_ell + 1):
            places = [n for n, path in enumerate(every) if path.edge == l2]
            factors = jnp.einsum("inh,hpc->inpc", hidden, last[:, np.array(places)])
            moved = [
                factors[:, :, k, None] * values[:, :, part(every[n].source)]
                for k, n in enumerate(places)
            ]
            moved = jnp.concatenate(moved, axis=2)
            flat = moved.reshape(*moved.shape[:2], -1)
            sums = jnp.einsum("inq,inx->iqx", harmonics[..., part(l2)], flat)
            sums = sums.reshape(*sums.shape[:2], -1, channels)
            start = 0
            for n in places:
                l1, _, l3 = every[n]
                table = coupling(l1, l2, l3).astype(sums.dtype)
                slots = sums[:, :, start : start + 2 * l1 + 1]
                coupled[l3].append((n, jnp.einsum("iqmc,mqk->ikc", slots, table)))
                start += 2 * l1 + 1
        results = []
        for found, matrix in zip(coupled, mix, strict=True):
            ordered = [one for _, one in sorted(found, key=lambda pair: pair[0])]
            results.append(jnp.concatenate(ordered, axis=2) @ matrix)
        return jnp.concatenate(results, axis=1)

    return message
