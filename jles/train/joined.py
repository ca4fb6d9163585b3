"""The parameters as a few large arrays: matrices of one size together, the rest in a vector.

An operation on many small arrays costs a kernel for each of them, in compilation and in time.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

_SMALLEST_MATRIX = 8
"""Rows and columns of the smallest matrix; read-outs of one number are not matrices."""

_NO_MATRICES = ("product_", "radial_mixing_", "ar_", "memory_")
"""First parts of the names of weights that act on single channels of the features."""

_REST = "rest"


def join(tree) -> dict[str, Array]:
    """The leaves of a tree of parameters, joined by the sizes of their matrices.

    Args:
        tree: parameters or their gradient.

    Returns:
        "ROWSxCOLUMNS": (rows, maps, columns), every matrix of this size; "rest": a vector of
        all other numbers. Absent where no leaf is of this kind.
    """
    joined = {}
    for group, leaf in _grouped(tree):
        joined.setdefault(group, []).append(leaf.reshape(_shape_in(group, leaf)))
    return {
        group: jnp.concatenate(leaves, axis=_joined_axis(group))
        for group, leaves in joined.items()
    }


def split(joined: dict[str, Array], like):
    """What `join` has joined, as a tree with the structure and shapes of `like`."""
    leaves, taken = [], dict.fromkeys(joined, 0)
    for group, leaf in _grouped(like):
        whole, start = joined[group], taken[group]
        axis = _joined_axis(group)
        taken[group] = start + _shape_in(group, leaf)[axis]
        part = jax.lax.slice_in_dim(whole, start, taken[group], axis=axis)
        leaves.append(part.reshape(leaf.shape))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _grouped(tree) -> list[tuple]:
    """All leaves with the name of the array that they are joined into."""
    return [
        (_group(path, leaf), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _group(path, leaf) -> str:
    """Rows and columns of a matrix; "rest" for everything else.

    The first and the last axis are those of a linear map. An axis between them counts maps,
    e.g. one for every element. Embeddings and weights of single channels are no such maps,
    whatever their shape.
    """
    named = str(path[-1].key) if path and hasattr(path[-1], "key") else ""
    matrix = leaf.ndim > 1 and min(leaf.shape[0], leaf.shape[-1]) >= _SMALLEST_MATRIX
    if not matrix or named.endswith("embedding") or named.startswith(_NO_MATRICES):
        return _REST
    return f"{leaf.shape[0]}x{leaf.shape[-1]}"


def _joined_axis(group: str) -> int:
    """The axis along which leaves are joined: that of the maps for matrices."""
    return 0 if group == _REST else 1


def _shape_in(group: str, leaf) -> tuple[int, ...]:
    """Shape of a leaf in the joined array."""
    if group == _REST:
        return (leaf.size,)
    return leaf.shape[0], math.prod(leaf.shape[1:-1]), leaf.shape[-1]
