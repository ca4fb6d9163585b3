"""Splitting an axis of atoms into equal parts for a scan."""

import jax.numpy as jnp


def in_chunks(array, steps: int, axis: int = 0, fill=0):
    """`axis` padded with `fill` and split into `steps` equal parts along a new leading axis."""
    axis %= array.ndim
    size = -(-array.shape[axis] // steps)
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, size * steps - array.shape[axis])
    padded = jnp.pad(array, padding, constant_values=fill)
    shape = (*array.shape[:axis], steps, size, *array.shape[axis + 1 :])
    return jnp.moveaxis(padded.reshape(shape), axis, 0)
