"""Sums of messages from neighbours, one block of atoms at a time.

The gathered values of the neighbours of all atoms would be the largest array of a model with
messages, and on a CPU the memory traffic would dominate the cost. Blocks that stay in the cache
take a sixth of the time.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.bloch.tangents import instantiate, is_zero
from jles.electrostatics.sums.chunks import in_chunks, split
from jles.models.backbones.blocks import known_neighbors
from jles.products import keep_precision
from jles.step_sizes import step_sizes

Message = Callable[..., Array]
"""`(parameters, values, *edges, weight=None) -> sums`, linear in `values`.

`values` (block, neighbors, ...) are those of the neighbours of a block of atoms, `edges` have
the same axes. The result (block, ...) is the sum over neighbours, each of them multiplied by
its `weight` (block, neighbors) where there is one.
"""


def neighbor_sums(
    values: Float[Array, "atoms ..."],
    message: Message,
    index: Int[Array, "atoms neighbors"],
    weight: Float[Array, "atoms neighbors"] | None,
    parameters,
    *edges: Float[Array, "atoms neighbors ..."],
    bytes_per_atom: int | None = None,
) -> Float[Array, "atoms ..."]:
    r""":math:`m_i = \sum_n M(e_{in})\, v_{j(i,n)}`, with a linear map M for every edge.

    Args:
        values: v of every atom.
        message: the sum over n for a block of atoms, evaluated again for derivatives; it must
            not close over traced arrays.
        index: j, of the neighbours.
        weight: of Bloch-weighted derivatives, see `jles.bloch.weighted`. Derivatives of second
            order are exact where it is one, which is where they are needed.
        parameters: arrays that all edges share.
        edges: quantities of the edges, e; the message must vanish in padding slots, where they
            are zero.
        bytes_per_atom: of the largest array in a message; by default the neighbours' values.
    """
    gathered = known_neighbors(index.shape[1]) * math.prod(values.shape[1:])
    size = gathered * values.dtype.itemsize
    how = (keep_precision(message), max(size, bytes_per_atom or 0))
    if weight is None:
        return _sums(how, values, index, parameters, edges)
    return _weighted_sums(how, values, index, weight, parameters, edges)


def _sums(how: tuple[Message, int], values, index, parameters, edges):
    message, bytes_per_atom = how
    atoms = index.shape[0]
    chunks = split(atoms, max(1, step_sizes().block_bytes // bytes_per_atom))

    @jax.checkpoint
    def block(index, edges):
        return message(parameters, values[index], *edges)

    if chunks.is_one:
        return block(index, edges)
    blocks = jax.tree.map(lambda array: in_chunks(array, chunks), (index, edges))
    sums = jax.lax.map(lambda one: block(*one), blocks)
    return sums.reshape(-1, *sums.shape[2:])[:atoms]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _weighted_sums(how: tuple[Message, int], values, index, weight, parameters, edges):
    """The same sums; derivatives with respect to the values are multiplied by the weight.

    The rule is that of `bloch_weighted` for a whole sum, because jax 0.10 would lose it inside
    a loop. Reverse mode loses the rule of the term below that changes with the edges:
    derivatives of that term with respect to the values are then plain, which is exact where the
    weight is one.
    """
    return _sums(how, values, index, parameters, edges)


def _weighted_sums_jvp(how, primals, tangents):
    message, bytes_per_atom = how
    values, index, weight, *of_message = primals
    moved, _, _, *message_moved = tangents
    # As in `bloch_weighted` the value does not depend on the weight.
    fixed = jax.lax.stop_gradient(weight)
    sums = _weighted_sums(how, values, index, fixed, *of_message)
    change = jnp.zeros_like(sums)

    def weighted(parameters, values, weight, *edges):
        return message(parameters, values, *edges, weight=weight)

    def slope(pair, values, *edges, weight=None):
        """The derivative by parameters and edges, which is linear in the values too."""
        half = len(edges) // 2
        at, along = (pair[0], *edges[:half]), (pair[1], *edges[half:])

        def of_edges(parameters, *edges):
            return message(parameters, values, *edges, weight=weight)

        return jax.jvp(of_edges, at, along)[1]

    parameters, edges = of_message
    if not is_zero(moved):
        how = (weighted, bytes_per_atom)
        change += _sums(how, jnp.asarray(moved), index, parameters, (weight, *edges))
    if not all(map(is_zero, jax.tree.leaves(message_moved, is_leaf=is_zero))):
        along = jax.tree.map(instantiate, of_message, message_moved, is_leaf=is_zero)
        how = (slope, bytes_per_atom)
        change += _weighted_sums(
            how, values, index, fixed, (parameters, along[0]), (*edges, *along[1])
        )
    return sums, change


_weighted_sums.defjvp(_weighted_sums_jvp, symbolic_zeros=True)
