"""Weighted sums of what the neighbours have, a block of atoms at a time.

What is gathered for all atoms at once is the largest array of a model with messages, and on a CPU
it is the way to memory and back that costs: a block of it that stays in the cache takes a sixth of
the time.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.bloch.tangents import instantiate, is_zero
from jles.electrostatics.sums.chunks import in_chunks

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
        kernel: `(parameters, *edges) -> k`, made again for derivatives; it closes over no array.
        index: j, of the neighbours.
        weight: of derivatives that are carried from the neighbours, see `jles.bloch.weighted`.
            Derivatives of second order are right where it is one, and that is where they are taken.
        parameters: arrays that are the same for all edges.
        edges: what else k is a function of; it must be zero at padding, where these are zero.
    """
    if weight is None:
        return _sums(kernel, values, index, parameters, edges)
    return _carried_sums(kernel, values, index, weight, parameters, edges)


def _sums(kernel: Kernel, values, index, parameters, edges):
    atoms, neighbors = index.shape
    gathered = neighbors * values.shape[1] * values.shape[2] * values.dtype.itemsize
    steps = -(-atoms // max(1, _block_bytes() // gathered))

    @jax.checkpoint
    def block(index, edges):
        return jnp.sum(kernel(parameters, *edges)[:, :, None] * values[index], axis=1)

    if steps == 1:
        return block(index, edges)
    chunks = jax.tree.map(lambda array: in_chunks(array, steps), (index, edges))
    sums = jax.lax.map(lambda chunk: block(*chunk), chunks)
    return sums.reshape(-1, *values.shape[1:])[:atoms]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _carried_sums(kernel: Kernel, values, index, weight, parameters, edges):
    """The same, with derivatives in the values that are multiplied by the weight.

    The rule is that of `carry`, for a whole sum: jax 0.10 would forget it inside of a loop.
    Reverse mode forgets the rule of what changes with the kernel, below, whose own derivatives in
    the values are then plain: right where the weight is one, as at the wave zero of a polarization.
    """
    return _sums(kernel, values, index, parameters, edges)


def _carried_sums_jvp(kernel, primals, tangents):
    values, index, weight, *of_kernel = primals
    moved, _, _, *kernel_moved = tangents
    # As in `carry` the value does not follow the weight.
    still = jax.lax.stop_gradient(weight)
    change = jnp.zeros_like(values)

    def weighted(parameters, weight, *edges):
        return kernel(parameters, *edges) * weight[..., None]

    def slope(pair, *edges):
        """Of the kernel, and it in turn is a kernel."""
        half = len(edges) // 2
        at, along = (pair[0], *edges[:half]), (pair[1], *edges[half:])
        return jax.jvp(kernel, at, along)[1]

    parameters, edges = of_kernel
    if not is_zero(moved):
        change += _sums(weighted, jnp.asarray(moved), index, parameters, (weight, *edges))
    if not all(map(is_zero, jax.tree.leaves(kernel_moved, is_leaf=is_zero))):
        along = jax.tree.map(instantiate, of_kernel, kernel_moved, is_leaf=is_zero)
        change += _carried_sums(
            slope, values, index, still, (parameters, along[0]), (*edges, *along[1])
        )
    return _carried_sums(kernel, values, index, still, *of_kernel), change


_carried_sums.defjvp(_carried_sums_jvp, symbolic_zeros=True)


def _block_bytes() -> int:
    """What is gathered at once: what a cache holds, or on accelerators what saves memory."""
    return 2**22 if jax.default_backend() == "cpu" else 2**28
