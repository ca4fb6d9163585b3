"""Weighted sums of what the neighbours have, a block of atoms at a time.

What is gathered for all atoms at once is the largest array of a model with messages, and on a CPU
it is the way to memory and back that costs: a block of it that stays in the cache takes a sixth of
the time.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.electrostatics.chunks import in_chunks
from jles.structures.carry import gather


def neighbor_sums(
    values: Float[Array, "atoms rows columns"],
    kernel: Callable[..., Array],
    index: Int[Array, "atoms neighbors"],
    weight: Float[Array, "atoms neighbors"] | None,
    *edges: Float[Array, "atoms neighbors"],
) -> Float[Array, "atoms rows columns"]:
    r""":math:`m_{irc} = \sum_n k_{inc}\, v_{j(i,n)rc}`.

    Args:
        values: v of every atom.
        kernel: of a block of `edges` to k, (block, neighbors, columns); made again for derivatives.
        index: j, of the neighbours.
        weight: see `jles.structures.carry`; with one all atoms are taken at once.
        edges: what the kernel is a function of; it must be zero at padding, where these are zero.
    """
    atoms, neighbors = index.shape
    gathered = neighbors * values.shape[1] * values.shape[2] * values.dtype.itemsize
    steps = -(-atoms // max(1, _block_bytes() // gathered))

    @jax.checkpoint
    def block(index, weight, edges):
        found = gather(values, index, weight)
        return jnp.sum(kernel(*edges)[:, :, None] * found, axis=1)

    # No custom rule may be in a loop, see `carry`.
    if steps == 1 or weight is not None:
        return block(index, weight, edges)
    chunks = jax.tree.map(lambda array: in_chunks(array, steps), (index, edges))
    sums = jax.lax.map(lambda chunk: block(chunk[0], None, chunk[1]), chunks)
    return sums.reshape(-1, *values.shape[1:])[:atoms]


def _block_bytes() -> int:
    """What is gathered at once: what a cache holds, or on accelerators what saves memory."""
    return 2**22 if jax.default_backend() == "cpu" else 2**28
