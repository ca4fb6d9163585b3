"""PaiNN as a Flax module: scalars, vectors and, as an extension, tensors of every atom.

Source: Schütt, Unke, Gastegger, ICML 2021, PMLR 139, 9377. The filters are linear in the radial
functions. They are therefore applied after the sum over neighbours, once for each atom instead
of once for each edge, and no array has both an axis of edges and one of filters. In the first
interaction, where the features of a neighbour are those of its element, the sum has one channel
for each element. docs/theory.md states the equations and what differs from the published ones.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.models.backbones.blocks import by_blocks, known_neighbors, save
from jles.models.backbones.cartesian import components, directions, matrices
from jles.models.backbones.envelope import envelope
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.backbones.irrep_messages import MOST_ELEMENTS, NORMAL, Path
from jles.models.backbones.irreps import part
from jles.models.backbones.painn_config import PainnConfig
from jles.models.backbones.radial import bessel, bessel_scale, initial_frequencies
from jles.models.backbones.state_embedding import initial_features

SPREAD = 0.5
"""Of the initial weights that give what is added to the features.

Every interaction multiplies features by functions of features. With weights of order one, some
new models of three interactions have features of several thousand and forces of 20 eV/angstrom.
"""


def paths(source: int, degree: int) -> tuple[Path, ...]:
    """The messages of an interaction, sorted by the degree of the direction.

    Args:
        source: highest degree of the neighbours' features.
        degree: highest degree of the messages; without tensors these are the published ones.
    """
    every = [(0, 0, 0), (1, 0, 1), (2, 0, 2), (0, 1, 1), (1, 1, 2), (0, 2, 2)]
    return tuple(Path(*one) for one in every if one[0] <= source and one[2] <= degree)


class Painn(nn.Module):
    """PaiNN; weights are of order one and divided by the root of their fan-in when used.

    Features are (atoms, components, channels), see `cartesian`.

    Attributes:
        config: of the network.
        n_elements: length of the element list.
    """

    config: PainnConfig
    n_elements: int

    @nn.compact
    def __call__(self, graph: Graph) -> Features:
        """Features of every atom's environment."""
        config, dtype = self.config, graph.vectors.dtype
        radial, angular = _edges(graph, config)
        shape = (self.n_elements, config.n_atom_basis)
        table = self.param("embedding", NORMAL, shape, dtype)
        features = initial_features(self, graph, table)
        for t in range(config.n_interactions):
            interaction = Interaction(config, name=f"interaction_{t}")
            features = interaction(graph, radial, angular, table, features)
            is_last = t == config.n_interactions - 1
            degree = config.degree if is_last else config.passed_degree
            features = Mixing(degree, name=f"mixing_{t}")(features)
        vectors = tensors = None
        if config.degree >= 1:
            vectors = jnp.moveaxis(features[:, part(1)], -1, 1)
        if config.degree == 2:
            tensors = jnp.moveaxis(matrices(features[:, part(2)]), -1, 1)
        return Features(features[:, 0], vectors, tensors)


def _edges(graph: Graph, config: PainnConfig):
    """Radial functions under the envelope, and powers of the direction.

    The mean square of every radial function in the sphere of the cutoff is one.
    """
    distance = graph.distances
    cut = envelope(distance, config.envelope_of_edges) * graph.present
    initial = initial_frequencies(config.n_rbf, config.cutoff)
    frequencies = jnp.asarray(initial, distance.dtype)
    scale = bessel_scale(config.cutoff)
    radial = bessel(distance, frequencies, config.cutoff) * (scale * cut)[..., None]
    # Edges point from the sender (neighbour) to the receiver (this atom).
    unit = -graph.vectors / distance[..., None]
    return radial, directions(unit, config.passed_degree)


class Linear(nn.Module):
    """A linear map of the channels; `spread` is that of the initial weights."""

    features: int
    bias: bool = True
    spread: float = 1.0

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch before"]) -> Float[Array, "*batch after"]:
        """The mapped channels."""
        width, dtype = inputs.shape[-1], inputs.dtype
        start = nn.initializers.normal(self.spread)
        kernel = self.param("kernel", start, (width, self.features), dtype)
        outputs = inputs @ (kernel / math.sqrt(width))
        if self.bias:
            zeros = nn.initializers.zeros_init()
            outputs = outputs + self.param("bias", zeros, (self.features,), dtype)
        return outputs


class Context(nn.Module):
    """A perceptron with one hidden layer, from scalars to `many` numbers for each channel."""

    channels: int
    many: int

    @nn.compact
    def __call__(
        self, scalars: Float[Array, "*batch before"]
    ) -> Float[Array, "*batch many channels"]:
        """The numbers."""
        hidden = jax.nn.silu(Linear(self.channels, name="hidden")(scalars))
        size = self.many * self.channels
        outputs = Linear(size, spread=SPREAD, name="out")(hidden)
        return outputs.reshape(*scalars.shape[:-1], self.many, self.channels)


class Interaction(nn.Module):
    """Adds messages from the neighbours."""

    config: PainnConfig

    @nn.compact
    def __call__(
        self,
        graph: Graph,
        radial: Float[Array, "atoms neighbors rbf"],
        angular: Float[Array, "atoms neighbors powers"],
        table: Float[Array, "elements channels"],
        features: Float[Array, "atoms before channels"] | None,
    ) -> Float[Array, "atoms components channels"]:
        """Features of every atom, messages included.

        Args:
            graph: of the structure.
            radial: radial functions under the envelope.
            angular: powers of the direction.
            table: features of each element before the first interaction.
            features: those before this interaction; None before the first where they are those
                of the elements.
        """
        config = self.config
        channels, degree = config.n_atom_basis, config.passed_degree
        by_element = features is None and table.shape[0] <= MOST_ELEMENTS
        if features is None:
            features = table[graph.species][:, None]
        is_first = features.shape[1] == 1
        every = paths(0 if is_first else degree, degree)
        if is_first:
            features = jnp.pad(features, ((0, 0), (0, (degree + 1) ** 2 - 1), (0, 0)))
        shape = (config.n_rbf, len(every), channels)
        filters = self.param("filter", NORMAL, shape, table.dtype)
        filters = filters / math.sqrt(config.n_rbf * config.avg_num_neighbors)
        scalars = table if by_element else features[:, 0]
        sent = Context(channels, len(every), name="context")(scalars)
        if by_element:
            species = graph.species[graph.index]
            messages = _sums_by_element(every, filters, sent, radial, angular, species)
        else:
            values = [
                sent[:, n, None] * (features[:, part(path.source)] if path.source else 1.0)
                for n, path in enumerate(every)
            ]
            values = jnp.concatenate(values, axis=1)
            messages = graph.sums(values, _message(every), filters, radial, angular)
        return features + messages


def _message(every: Sequence[Path]):
    """The message of later interactions, see `neighbor_sums`.

    The rows of the values are those of the paths, (2 source + 1) each. Degrees of the direction
    are summed one after the other, with one product of matrices for all paths of a degree.
    """

    def message(filters, values, radial, angular, weight=None):
        if weight is not None:
            radial = radial * weight[..., None]
        atoms, slots, _, channels = values.shape
        parts, start = [], 0
        for l in sorted({path.edge for path in every}):
            rows = sum(2 * path.source + 1 for path in every if path.edge == l)
            some = values[:, :, start : start + rows].reshape(atoms, slots, rows * channels)
            start += rows
            factors = angular[..., part(l), None] * radial[..., None, :]
            factors = factors.reshape(atoms, slots, (2 * l + 1) * len(filters))
            sums = jnp.einsum("inq,inx->iqx", factors, some)
            sums = sums.reshape(atoms, 2 * l + 1, len(filters), rows, channels)
            row = 0
            for n, path in enumerate(every):
                if path.edge == l:
                    one = sums[:, :, :, row : row + 2 * path.source + 1]
                    row += 2 * path.source + 1
                    parts.append(jnp.einsum("iykxc,kc->iyxc", one, filters[:, n]))
        return _coupled(every, parts)

    return message


def _sums_by_element(
    every: Sequence[Path],
    filters: Float[Array, "rbf messages channels"],
    sent: Float[Array, "elements messages channels"],
    radial: Float[Array, "atoms neighbors rbf"],
    angular: Float[Array, "atoms neighbors powers"],
    species: Int[Array, "atoms neighbors"],
) -> Float[Array, "atoms components channels"]:
    """The sums where what a neighbour sends depends on its element only."""
    elements = len(sent)

    def density(radial, angular, species):
        chosen = jax.nn.one_hot(species, elements, dtype=radial.dtype)
        each = angular[..., None] * chosen[..., None, :]
        return save(jnp.einsum("ink,inye->ikye", radial, each))

    floats = known_neighbors(species.shape[1]) * angular.shape[-1] * elements
    sums = by_blocks(density, floats * filters.itemsize, radial, angular, species)
    parts = []
    for n, path in enumerate(every):
        kernel = filters[:, None, n] * sent[:, n]  # (rbf, elements, channels)
        parts.append(jnp.einsum("ikye,kec->iyc", sums[:, :, part(path.edge)], kernel))
    return _coupled(every, [one[:, :, None] for one in parts])


def _coupled(every: Sequence[Path], parts) -> Float[Array, "atoms components channels"]:
    """Adds the messages to one degree.

    Args:
        every: the paths.
        parts: their messages, (atoms, components of the direction, of the source, channels).
    """
    sums = {}
    for path, part_of in zip(every, parts, strict=True):
        if path.edge and path.source:
            message = components(part_of)
        else:
            message = part_of[:, 0] if path.source else part_of[:, :, 0]
        sums[path.target] = sums.get(path.target, 0.0) + message
    return jnp.concatenate([sums[l] for l in sorted(sums)], axis=1)


class Mixing(nn.Module):
    """Mixes the scalars, vectors and tensors of each atom.

    Attributes:
        degree: highest degree of the result.
    """

    degree: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "atoms components channels"]
    ) -> Float[Array, "atoms _ channels"]:
        """New features of every atom, without degrees above that of the result."""
        channels = features.shape[-1]
        has_tensors = features.shape[1] > 4
        scalars = features[:, 0]
        pairs, inputs = {}, [scalars]
        for l in (1, 2) if has_tensors else (1,):
            mixed = Linear(2 * channels, bias=False, name=f"mix_{l}")(features[:, part(l)])
            pairs[l] = jnp.split(mixed, 2, axis=-1)
            inputs.append(_length(pairs[l][1]))
        sizes = [1 + len(pairs), 1 + has_tensors, 2][: self.degree + 1]
        context = Context(channels, sum(sizes), name="context")(jnp.concatenate(inputs, -1))
        gates = iter(jnp.moveaxis(context, 1, 0)[:, :, None])
        change = [next(gates)]
        for u, v in pairs.values():
            change[0] = change[0] + next(gates) * jnp.sum(u * v, axis=1, keepdims=True)
        if self.degree >= 1:
            u, v = pairs[1]
            change.append(next(gates) * u)
            if has_tensors:
                turned = jnp.einsum("ixyc,iyc->ixc", matrices(pairs[2][0]), v)
                change[1] = change[1] + next(gates) * turned
        if self.degree == 2:
            of_vectors = components(u[:, :, None] * v[:, None, :])
            change.append(next(gates) * pairs[2][0] + next(gates) * of_vectors)
        change = jnp.concatenate(change, axis=1)
        return features[:, : change.shape[1]] + change


def _length(
    values: Float[Array, "atoms components channels"],
) -> Float[Array, "atoms channels"]:
    """Length of vectors or tensors, smooth at zero: sqrt(1 + x^2) - 1."""
    return jnp.sqrt(1.0 + jnp.sum(values**2, axis=1)) - 1.0
