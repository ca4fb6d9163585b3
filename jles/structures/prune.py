"""Dropping neighbours beyond the cutoff, on the device."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jles.structures.structure import Structure, neighbor_vectors


def within(structure: Structure, cutoff: float) -> Bool[Array, "atoms neighbors"]:
    """The slots that hold a neighbour within `cutoff`, angstrom."""
    squared = jnp.sum(lax.stop_gradient(neighbor_vectors(structure)) ** 2, axis=-1)
    return structure.neighbor_mask & (squared < cutoff**2)


def most_neighbors(structure: Structure, cutoff: float) -> Int[Array, ""]:
    """The largest number of neighbours within `cutoff` that an atom has."""
    return jnp.max(jnp.sum(within(structure, cutoff), axis=1))


most_neighbors_jit = jax.jit(most_neighbors, static_argnums=1)
"""`most_neighbors`, compiled."""


def prune(structure: Structure, cutoff: float, slots: int) -> Structure:
    """The same structure with only the neighbours within `cutoff`, in order, in `slots` slots.

    The cost of a model grows with the number of slots, and a list with a skin has about twice
    as many as needed. Neighbours beyond `slots` are lost: see `most_neighbors`.
    """
    source, filled = near_slots(within(structure, cutoff), slots)
    own = jnp.arange(len(filled), dtype=structure.neighbor_index.dtype)[:, None]
    index = jnp.take_along_axis(structure.neighbor_index, source, axis=1)
    shift = jnp.take_along_axis(structure.neighbor_shift, source[..., None], axis=1)
    return replace(
        structure,
        neighbor_index=jnp.where(filled, index, own),
        neighbor_shift=jnp.where(filled[..., None], shift, 0),
        neighbor_mask=filled,
    )


def near_slots(
    near: Bool[Array, "atoms neighbors"], slots: int
) -> tuple[Int[Array, "atoms slots"], Bool[Array, "atoms slots"]]:
    """The slots that are `near`, in order, and which of them are filled, in `slots` slots."""
    own = jnp.arange(len(near))[:, None]
    slot = jnp.where(near, jnp.cumsum(near, axis=1) - 1, slots)
    taken_from = jnp.broadcast_to(jnp.arange(near.shape[1]), near.shape)
    source = jnp.zeros((len(near), slots), int).at[own, slot].set(taken_from, mode="drop")
    return source, jnp.arange(slots) < jnp.sum(near, axis=1, keepdims=True)
