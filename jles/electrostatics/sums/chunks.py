"""Splitting an axis of atoms into equal parts for a scan.

Numbers of atoms and neighbours may be symbolic (`jax.export.symbolic_shape`): the length of the
scan is then symbolic, and the size of a part is not.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, get_abstract_mesh

Length = Any
"""An int, or a symbolic dimension of `jax.export`."""


class Chunks(NamedTuple):
    """The number of parts and the length of each; the last one may need padding."""

    steps: Length
    size: int

    @property
    def is_one(self) -> bool:
        """Whether there is one part; a symbolic number of parts is not one."""
        return isinstance(self.steps, int) and self.steps == 1


def split(count: Length, most: int) -> Chunks:
    """`count` entries in the fewest equal parts of at most `most`.

    A symbolic `count` is split into parts of `most`.
    """
    steps = -(-count // most)
    if not isinstance(steps, int):
        return Chunks(steps, most)
    steps = max(1, steps)
    return Chunks(steps, -(-count // steps))


def known(length: Length, otherwise: int) -> int:
    """A length that the size of a part is chosen by: `otherwise` where it is symbolic."""
    return length if isinstance(length, int) else otherwise


def in_chunks(array, chunks: Chunks, axis: int = 0, fill=0):
    """`axis` padded with `fill` and split into `chunks` along a new leading axis."""
    axis %= array.ndim
    steps, size = chunks
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, size * steps - array.shape[axis])
    padded = jnp.pad(array, padding, constant_values=fill)
    shape = (*array.shape[:axis], steps, size, *array.shape[axis + 1 :])
    return jnp.moveaxis(padded.reshape(shape), axis, 0)


def zero_sum(shape, dtype, *arrays):
    """The zero that a sum over chunks of `arrays` starts with.

    Inside `jax.shard_map` it varies over the same mesh axes as the arrays do, which a scan
    requires of its carry.
    """
    zero = jnp.zeros(shape, dtype)
    # The sum of an empty slice is a zero that varies.
    if AxisType.Manual not in get_abstract_mesh().axis_types:
        return zero
    return zero + sum(jnp.sum(array[:0], dtype=dtype) for array in jax.tree.leaves(arrays))
