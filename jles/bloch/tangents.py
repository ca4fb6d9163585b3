"""Tangents in custom derivative rules: which are zero, and how to make arrays of them."""

import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def is_zero(tangent) -> bool:
    """Whether the tangent is known to be zero when the rule is traced."""
    return isinstance(tangent, SymbolicZero)


def instantiate(primal, tangent):
    """The tangent as an array, also where it is known to be zero."""
    return jnp.zeros_like(primal) if is_zero(tangent) else tangent
