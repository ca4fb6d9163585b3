"""Messages between features of degrees 0, 1, ...: radial network x harmonics x features.

MACE and NequIP share them. Features are (atoms, components, channels), with the components of
degree 0, 1, ... one after the other. The sum over neighbours comes before the coupling, which
is then done once for each atom instead of once for each edge. In the first interaction, where
the features of a neighbour are those of its element, radial channels are mixed after the sum
too.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.linalg import block_diag

from jles.models.backbones.blocks import by_blocks, known_neighbors, save
from jles.models.backbones.envelope import envelope
from jles.models.backbones.graph import Graph
from jles.models.backbones.irreps import by_degree, coupling, spherical_harmonics
from jles.models.backbones.radial import bessel
from jles.models.backbones.record import Envelope

NORMAL = nn.initializers.normal(1.0)
"""Weights are of order one and divided by the root of their fan-in when used."""
SILU_SCALE = 1.6765324703310907
"""The second moment of this factor times the SiLU of normal numbers is one."""
MOST_ELEMENTS = 12
"""With more elements the first interaction is computed like the later ones."""


class Path(NamedTuple):
    """A coupling of features of degree `source` and harmonics of degree `edge` to `target`."""

    source: int
    edge: int
    target: int


def paths(source: int, max_ell: int, target: int | None = None) -> tuple[Path, ...]:
    """All paths from features up to degree `source`, sorted by target.

    Args:
        source: highest degree of the features.
        max_ell: highest degree of the harmonics.
        target: highest degree of the messages; `max_ell` by default.
    """
    highest = max_ell if target is None else target
    found = [
        Path(l1, l2, l3)
        for l1 in range(source + 1)
        for l2 in range(max_ell + 1)
        for l3 in range(abs(l1 - l2), min(l1 + l2, highest) + 1, 2)
    ]
    return tuple(sorted(found, key=lambda path: path.target))


class Edges(NamedTuple):
    """Quantities of the edges of every atom.

    Attributes:
        radial: radial functions under the envelope, zero in padding slots.
        harmonics: of the direction from the neighbour to the atom, all degrees.
    """

    radial: Float[Array, "atoms neighbors bessel"]
    harmonics: Float[Array, "atoms neighbors components"]


def scaled_silu(x: Array, scale: float = SILU_SCALE) -> Array:
    """SiLU times a factor."""
    return scale * jax.nn.silu(x)


def hidden_layers(x: Array, kernels: Sequence[Array], silu_scale: float = SILU_SCALE) -> Array:
    """Layers without bias: the SiLU of a linear map for each kernel."""
    for kernel in kernels:
        x = scaled_silu(x @ kernel, silu_scale)
    return x


def edges_of(
    graph: Graph, frequencies: Float[Array, " bessel"], spec: Envelope, max_ell: int
) -> Edges:
    """Bessel functions under the envelope, and harmonics up to degree `max_ell`."""
    distance = graph.distances
    cut = envelope(distance, spec) * graph.present
    radial = bessel(distance, frequencies, spec.cutoff) * cut[..., None]
    # Edges point from the sender (neighbour) to the receiver (this atom).
    unit = -graph.vectors / distance[..., None]
    return Edges(radial, spherical_harmonics(unit, max_ell))


def mixings(param: Callable, name: str, shapes: Sequence[tuple[int, int]], dtype) -> list:
    """Matrices that mix the channels of every degree, divided by the root of their fan-in.

    Args:
        param: of the Flax module that has the weights.
        name: of the weights; the degree is appended.
        shapes: channels before and after, for each degree.
        dtype: of the weights.
    """
    return [
        param(f"{name}_{l}", NORMAL, shape, dtype) / math.sqrt(shape[0])
        for l, shape in enumerate(shapes)
    ]


def mix(
    features: Float[Array, "atoms components channels"], matrices
) -> Float[Array, "atoms components channels"]:
    """Channels of every degree mixed by its matrix."""
    parts = zip(by_degree(features, 1), matrices, strict=True)
    return jnp.concatenate([one @ matrix for one, matrix in parts], axis=1)


def mix_by_element(
    features: Float[Array, "atoms components channels"],
    species: Int[Array, " atoms"],
    matrices: Sequence[Float[Array, "channels elements _"]],
) -> Float[Array, "atoms rows channels"]:
    """Channels of every degree mixed by a matrix of the atom's element.

    Degrees without a matrix are left out. A matrix to k times as many channels gives k rows for
    each component.
    """
    channels = features.shape[2]
    chosen = jax.nn.one_hot(species, matrices[0].shape[1], dtype=features.dtype)
    results = []
    for one, matrix in zip(by_degree(features, 1), matrices, strict=False):
        every = jnp.einsum("imu,uev->imev", one, matrix)
        found = jnp.einsum("imev,ie->imv", every, chosen)
        results.append(found.reshape(found.shape[0], -1, channels))
    return jnp.concatenate(results, axis=1)


class MessageWeights(NamedTuple):
    """Parameters of messages.

    Attributes:
        up: matrices that mix the features before they are sent, by degree.
        network: kernels of the radial network; the last one gives (paths, channels).
        mix: matrices from the channels of all paths to one degree to those of the result; to k
            times as many channels gives k rows for each component.
    """

    up: list[Array]
    network: list[Array]
    mix: list[Array]


def message_weights(
    param: Callable,
    every: tuple[Path, ...],
    sizes: Sequence[int],
    channels: int,
    widths: Sequence[int],
    dtype,
) -> MessageWeights:
    """The parameters `linear_up`, `radial` and `linear` of a Flax module.

    Args:
        param: of the module.
        every: the paths.
        sizes: radial functions and sizes of the hidden layers of the radial network.
        channels: of the features.
        widths: channels of the result by degree.
        dtype: of the parameters.
    """
    source = max(path.source for path in every)
    up = mixings(param, "linear_up", [(channels, channels)] * (source + 1), dtype)
    sizes = (*sizes, len(every) * channels)
    network = [
        param(f"radial_{n}", NORMAL, shape, dtype)
        for n, shape in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    ]
    shapes = [
        (sum(path.target == l for path in every) * channels, width)
        for l, width in enumerate(widths)
    ]
    return MessageWeights(up, network, mixings(param, "linear", shapes, dtype))


def messages(
    graph: Graph,
    edges: Edges,
    table: Float[Array, "elements channels"],
    features: Float[Array, "atoms components channels"] | None,
    weights: MessageWeights,
    every: tuple[Path, ...],
    silu_scale: float,
) -> Float[Array, "atoms rows channels"]:
    """Sums over neighbours, coupled and mixed.

    Args:
        graph: of the structure.
        edges: of the structure.
        table: features of each element.
        features: of the atoms; None for those of their elements.
        weights: of the messages.
        every: the paths.
        silu_scale: factor of every SiLU in the radial network.
    """
    up, network, last = weights
    many = known_neighbors(graph.index.shape[1])
    if features is None and len(table) <= MOST_ELEMENTS:
        sent = mix(table[:, None], up)[:, 0]
        sums = partial(_sums_by_element, (network, last), sent, silu_scale)
        slots = len(table) * edges.harmonics.shape[-1] + 2 * network[0].shape[1]
        size = many * slots * table.itemsize
        return by_blocks(sums, size, *edges, graph.species[graph.index])
    before = table[graph.species][:, None] if features is None else features
    size = 2 * many * network[-1].shape[1] * table.itemsize
    message = _message(every, silu_scale)
    values = mix(before, up)
    return graph.sums(values, message, (network, last), *edges, bytes_per_atom=size)


def _hidden(radial, network, silu_scale):
    """The last hidden layer of the radial network, which is zero where `radial` is."""
    kernels = [kernel / math.sqrt(len(kernel)) for kernel in network[:-1]]
    return hidden_layers(radial, kernels, silu_scale)


def _sums_by_element(parameters, table, silu_scale, radial, harmonics, species):
    """Sums over neighbours whose features are those of their element, `table`."""
    network, mix = parameters
    hidden = _hidden(radial, network, silu_scale)
    chosen = jax.nn.one_hot(species, len(table), dtype=hidden.dtype)
    angular = harmonics[..., None] * chosen[..., None, :]
    density = jnp.einsum("inh,inq->ihq", hidden, angular.reshape(*chosen.shape[:2], -1))
    density = save(density).reshape(*density.shape[:2], *angular.shape[2:])
    channels = table.shape[1]
    last = network[-1].reshape(len(network[-1]), -1, channels)
    last = last / math.sqrt(len(network[-1]))
    sums = []
    parts = by_degree(density, 2), jnp.split(last, len(mix), axis=1), mix
    for one, radial_of_path, matrix in zip(*parts, strict=False):
        kernel = radial_of_path * table  # (hidden, elements, channels)
        found = jnp.einsum("ihme,hec->imc", one, kernel) @ matrix
        sums.append(found.reshape(found.shape[0], -1, channels))
    return save(jnp.concatenate(sums, axis=1))


def _message(every: tuple[Path, ...], silu_scale: float):
    """The message to neighbours with features of their own, see `neighbor_sums`."""

    def message(parameters, values, radial, harmonics, weight=None):
        network, mix = parameters
        hidden = _hidden(radial, network, silu_scale)
        if weight is not None:
            hidden = hidden * weight[..., None]
        channels = values.shape[-1]
        last = network[-1].reshape(-1, len(every), channels) / math.sqrt(len(network[-1]))
        factors = jnp.einsum("inh,hpc->inpc", hidden, last)
        factors = jnp.split(factors, len(every), axis=2)
        sources, angular = by_degree(values, 2), by_degree(harmonics, 2)
        coupled = [None] * len(every)
        for l2 in sorted({path.edge for path in every}):
            places = [n for n, path in enumerate(every) if path.edge == l2]
            moved = [factors[n] * sources[every[n].source] for n in places]
            moved = jnp.concatenate(moved, axis=2)
            flat = moved.reshape(*moved.shape[:2], -1)
            sums = jnp.einsum("inq,inx->iqx", angular[l2], flat)
            sums = sums.reshape(len(sums), -1, channels)
            table = _couplings(tuple(every[n] for n in places)).astype(sums.dtype)
            found = jnp.einsum("ixc,xk->ikc", sums, table)
            ends = np.cumsum([2 * every[n].target + 1 for n in places])
            for n, one in zip(places, jnp.split(found, ends[:-1], axis=1), strict=True):
                coupled[n] = one
        results = []
        for l3, matrix in enumerate(mix):
            found = [one for one, path in zip(coupled, every, strict=True) if path.target == l3]
            mixed = jnp.concatenate(found, axis=2) @ matrix
            results.append(mixed.reshape(mixed.shape[0], -1, channels))
        return jnp.concatenate(results, axis=1)

    return message


@cache
def _couplings(every: tuple[Path, ...]) -> np.ndarray:
    """The couplings of several paths with one degree of the harmonics, as one matrix.

    Rows are the products of harmonics and features, the components of all features for each
    harmonic in turn; columns are the components of all results. One large product compiles
    faster than many small ones.
    """
    blocks = [coupling(*path).transpose(1, 0, 2) for path in every]
    return np.concatenate(
        [block_diag(*(block[q] for block in blocks)) for q in range(len(blocks[0]))]
    )
