"""Functions of the environments of atoms, computed for one block of atoms at a time.

The quantities of all edges are the largest arrays of a backbone. For many atoms at once they do
not fit into the cache of a CPU, and the memory traffic more than doubles the time per atom.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from jles.electrostatics.sums.chunks import Length, in_chunks, known, split
from jles.step_sizes import step_sizes

_SAVED = "saved"
_FAR = 1000.0
_TYPICAL_NEIGHBORS = 64


def save(array: Array) -> Array:
    """Marks a small result for the reverse pass, which computes the rest of a block again."""
    return checkpoint_name(array, _SAVED)


def by_blocks(function: Callable, bytes_per_atom: int, *arrays):
    """`function(*arrays)`, evaluated for one block of atoms after the other.

    Args:
        function: its arguments and results have the atoms as their first axis, and the results
            of an atom depend on nothing but the entries of that atom.
        bytes_per_atom: of the largest intermediate array.
        arrays: or trees of arrays; None is passed on.
    """
    atoms = jax.tree.leaves(arrays)[0].shape[0]
    sizes = step_sizes()
    chunks = split(atoms, max(1, sizes.block_bytes // bytes_per_atom))
    policy = jax.checkpoint_policies.save_only_these_names(_SAVED)
    block = jax.checkpoint(function, policy=policy)
    if chunks.is_one:
        return block(*arrays) if sizes.recompute else function(*arrays)
    blocks = jax.tree.map(lambda array: in_chunks(array, chunks, fill=_fill(array)), arrays)
    results = jax.lax.map(lambda one: block(*one), blocks)
    return jax.tree.map(lambda one: one.reshape(-1, *one.shape[2:])[:atoms], results)


def _fill(array) -> float | int:
    """Padding of the last block: a vector beyond every cutoff, where derivatives are finite."""
    return _FAR if jnp.issubdtype(array.dtype, jnp.floating) else 0


def known_neighbors(neighbors: Length) -> int:
    """Neighbour slots of an atom; a typical number where theirs is symbolic (`jax.export`)."""
    return known(neighbors, _TYPICAL_NEIGHBORS)
