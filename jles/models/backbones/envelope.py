"""Envelopes: smooth cutoff functions of a distance."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.models.backbones.record import Envelope

Distances = Float[Array, "*batch"]


def envelope(distance: Distances, spec: Envelope) -> Distances:
    """The smooth cutoff function that multiplies every contribution of an edge.

    It is 1 at distance zero, and zero at and beyond the cutoff.

    Args:
        distance: angstrom.
        spec: cutoff and shape.

    Source: docs/theory.md, eq. 3.
    """
    x = distance / spec.cutoff
    inside = x < 1.0
    x = jnp.where(inside, x, 0.5)  # keeps powers and quotients finite beyond the cutoff
    return jnp.where(inside, _SHAPES[spec.shape](x, spec), 0.0)


def _polynomial(x, spec):
    p = spec.power
    exponent = int(p) if p == int(p) else p  # integer powers are products, not logarithms
    return 1.0 + x**exponent * (
        -(p + 1.0) * (p + 2.0) / 2.0 + p * (p + 2.0) * x - p * (p + 1.0) / 2.0 * x**2
    )


def _cosine(x, _):
    return 0.5 * (jnp.cos(np.pi * x) + 1.0)


def _mollifier(x, _):
    return jnp.exp(1.0 - 1.0 / (1.0 - x**2))


def _switch(x, spec):
    """1 below the onset, 0 at the cutoff, every derivative continuous."""
    y = (x * spec.cutoff - spec.onset) / (spec.cutoff - spec.onset)

    def g(t):
        positive = t > 0.0
        return jnp.where(positive, jnp.exp(-1.0 / jnp.where(positive, t, 1.0)), 0.0)

    return g(1.0 - y) / (g(y) + g(1.0 - y))


_SHAPES = {
    "polynomial": _polynomial,
    "cosine": _cosine,
    "mollifier": _mollifier,
    "switch": _switch,
}
