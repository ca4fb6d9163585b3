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
    """Those arrays of a tree of parameters whose tangents are not zero."""

    def __init__(self, params, tangents):
        arrays, self._tree = jax.tree.flatten(params)
        tangents = jax.tree.leaves(tangents, is_leaf=is_zero)
        self._places = [n for n in range(len(arrays)) if not is_zero(tangents[n])]
        self.tangents = [tangents[n] for n in self._places]

    def gradient(self, function: Callable) -> Callable:
        """`params -> gradient` of a function of the parameters, a list of arrays."""
        return lambda params: jax.grad(self._restricted(function, params))(self._of(params))

    def derivative(self, function: Callable) -> Callable:
        """`(params, tangents) -> derivative` of a function of the parameters."""

        def along(at):
            params, tangents = at
            return jax.jvp(
                self._restricted(function, params), (self._of(params),), (tangents,)
            )[1]

        return along

    def _of(self, params) -> list:
        arrays = jax.tree.leaves(params)
        return [arrays[n] for n in self._places]

    def _restricted(self, function, params):
        def of_varied(varied):
            arrays = jax.tree.leaves(params)
            for place, array in zip(self._places, varied, strict=True):
                arrays[place] = array
            return function(jax.tree.unflatten(self._tree, arrays))

        return of_varied
