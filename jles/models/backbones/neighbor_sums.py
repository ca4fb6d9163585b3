"""Weighted sums over the values of neighbours, one block of atoms at a time.

Gathered for all atoms at once, these values are the largest array of a model with messages, and
on a CPU their way to memory and back dominates the cost. A block that stays in the cache takes
a sixth of the time.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.bloch.tangents import instantiate, is_zero
from jles.electrostatics.sums.chunks import in_chunks, split
from jles.models.backbones.blocks import block_bytes, known_neighbors

Kernel = Callable[..., Array]
"""`(parameters, *edges) -> k`: edges (block, neighbors) each, k (block, neighbors, columns)."""


def neighbor_sums(
    values: Float[Array, "atoms rows columns"],
    kernel: Kernel,
    index: Int[Array, "atoms neighbors"],
    weight: Float[Array, "atoms neighbors"] | None,
    parameters,
    *edges: Float[Array, "atoms neighbors"],
) -> Float[Array, "atoms rows columns"]:
    r""":math:`m_{irc} = \sum_n k_{inc}\, v_{j(i,n)rc}`.

    Args:
        values: v of every atom.
        kernel: `(parameters, *edges) -> k`, evaluated again for derivatives; it must not close
            over arrays.
        index: j, of the neighbours.
        weight: of Bloch-weighted derivatives, see `jles.bloch.weighted`. Derivatives of second
            order are exact where it is one, which is where they are needed.
        parameters: arrays that all edges share.
        edges: one number per edge each; k must vanish in padding slots, where they are zero.
    """
    if weight is None:
        return _sums(kernel, values, index, parameters, edges)
    return _weighted_sums(kernel, values, index, weight, parameters, edges)


def _sums(kernel: Kernel, values, index, parameters, edges):
    atoms, neighbors = index.shape
    columns = values.shape[1] * values.shape[2] * values.dtype.itemsize
    chunks = split(atoms, max(1, block_bytes() // (known_neighbors(neighbors) * columns)))

    @jax.checkpoint
    def block(index, edges):
        return jnp.sum(kernel(parameters, *edges)[:, :, None] * values[index], axis=1)

    if chunks.is_one:
        return block(index, edges)
    blocks = jax.tree.map(lambda array: in_chunks(array, chunks), (index, edges))
    sums = jax.lax.map(lambda one: block(*one), blocks)
    return sums.reshape(-1, *values.shape[1:])[:atoms]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _weighted_sums(kernel: Kernel, values, index, weight, parameters, edges):
    """The same sums; derivatives with respect to the values are multiplied by the weight.

    The rule is that of `bloch_weighted` for a whole sum, because jax 0.10 would lose it inside
    a loop. Reverse mode loses the rule of the term below that changes with the kernel:
    derivatives of that term with respect to the values are then plain, which is exact where the
    weight is one.
    """
    return _sums(kernel, values, index, parameters, edges)


def _weighted_sums_jvp(kernel, primals, tangents):
    values, index, weight, *of_kernel = primals
    moved, _, _, *kernel_moved = tangents
    # As in `bloch_weighted` the value does not depend on the weight.
    fixed = jax.lax.stop_gradient(weight)
    change = jnp.zeros_like(values)

    def weighted(parameters, weight, *edges):
        return kernel(parameters, *edges) * weight[..., None]

    def slope(pair, *edges):
        """The derivative of the kernel, which is a kernel too."""
        half = len(edges) // 2
        at, along = (pair[0], *edges[:half]), (pair[1], *edges[half:])
        return jax.jvp(kernel, at, along)[1]

    parameters, edges = of_kernel
    if not is_zero(moved):
        change += _sums(weighted, jnp.asarray(moved), index, parameters, (weight, *edges))
    if not all(map(is_zero, jax.tree.leaves(kernel_moved, is_leaf=is_zero))):
        along = jax.tree.map(instantiate, of_kernel, kernel_moved, is_leaf=is_zero)
        change += _weighted_sums(
            slope, values, index, fixed, (parameters, along[0]), (*edges, *along[1])
        )
    return _weighted_sums(kernel, values, index, fixed, *of_kernel), change


_weighted_sums.defjvp(_weighted_sums_jvp, symbolic_zeros=True)
