"""Tangents in custom derivative rules: which are zero, and how to make arrays of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def is_zero(tangent) -> bool:
    """Whether the tangent is known to be zero when the rule is traced."""
    return isinstance(tangent, SymbolicZero)


def instantiate(primal, tangent):
    """The tangent as an array, also where it is known to be zero."""
    return jnp.zeros_like(primal) if is_zero(tangent) else tangent


class Varied:
    """Those arrays of a tree whose tangents are not zero.

    Attributes:
        tangents: theirs, a list.
    """

    def __init__(self, tree, tangents):
        arrays, self._tree = jax.tree.flatten(tree)
        tangents = jax.tree.leaves(tangents, is_leaf=is_zero)
        self._places = [n for n in range(len(arrays)) if not is_zero(tangents[n])]
        self.tangents = [tangents[n] for n in self._places]

    def of(self, tree) -> list:
        """These arrays of a tree."""
        arrays = jax.tree.leaves(tree)
        return [arrays[n] for n in self._places]

    def replaced(self, tree, varied: list):
        """The tree with these arrays replaced."""
        arrays = jax.tree.leaves(tree)
        for place, array in zip(self._places, varied, strict=True):
            arrays[place] = array
        return jax.tree.unflatten(self._tree, arrays)

    def gradient(self, function: Callable) -> Callable:
        """`tree -> gradient` of a function of the tree, a list of arrays."""

        def of_tree(tree):
            return jax.grad(lambda varied: function(self.replaced(tree, varied)))(self.of(tree))

        return of_tree

    def derivative(self, function: Callable) -> Callable:
        """`(tree, tangents) -> derivative` of a function of the tree."""

        def along(at):
            tree, tangents = at

            def of_varied(varied):
                return function(self.replaced(tree, varied))

            return jax.jvp(of_varied, (self.of(tree),), (tangents,))[1]

        return along
