"""Radial functions of a neighbour distance and the envelopes that end them at the cutoff."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.models.config import CaceConfig

Distances = Float[Array, "*batch"]


def bessel(distance: Distances, frequencies: Float[Array, " rbf"], cutoff: float):
    r"""Trainable Bessel functions :math:`\sqrt{2/r_c}\,\sin(w_m r)/r` (docs/theory.md, eq. 2)."""
    r = distance[..., None]
    # Published models hold the prefactor in float32: rounded alike, they come back exactly.
    prefactor = np.float32(np.sqrt(2.0 / cutoff)).astype(distance.dtype)
    return prefactor * jnp.sin(frequencies * r) / r


def initial_frequencies(n_rbf: int, cutoff: float) -> np.ndarray:
    """Frequencies (m+1) pi / r_c, 1/angstrom: Bessel functions that vanish at the cutoff."""
    return np.arange(1, n_rbf + 1) * np.pi / cutoff


def _fixed_radial(distance: Distances, config: CaceConfig):
    r, count, cutoff = distance[..., None], config.n_rbf, config.cutoff
    if config.radial == "gaussian":
        centers = np.linspace(0.8, cutoff, count)
        width = centers[1] - centers[0] if count > 1 else 1.0
        return jnp.exp(-((r - centers.astype(r.dtype)) ** 2) / (2.0 * width**2))
    if config.radial == "gaussian-centered":
        widths = np.linspace(1.0, cutoff, count).astype(r.dtype)
        return jnp.exp(-(r**2) / (2.0 * widths**2))
    lengths = np.linspace(0.0, cutoff, count + 2)[1:-1].astype(r.dtype)
    return jnp.exp(-r / lengths)


def radial_functions(distance: Distances, config: CaceConfig, frequencies=None):
    """All radial functions, (..., n_rbf); `frequencies` only for the trainable Bessel ones."""
    if config.radial == "bessel":
        return bessel(distance, frequencies, config.cutoff)
    return _fixed_radial(distance, config)


def envelope(distance: Distances, config: CaceConfig) -> Distances:
    """The factor that takes every radial function to zero at the cutoff (docs/theory.md, eq. 3)."""
    x = distance / config.cutoff
    inside = x < 1.0
    x = jnp.where(inside, x, 0.5)  # keeps powers and quotients finite where the answer is zero
    value = {
        "polynomial": _polynomial,
        "cosine": lambda x, _: 0.5 * (jnp.cos(np.pi * x) + 1.0),
        "mollifier": lambda x, _: jnp.exp(1.0 - 1.0 / (1.0 - x**2)),
        "switch": _switch,
    }[config.envelope](x, config)
    return jnp.where(inside, value, 0.0)


def _polynomial(x, config):
    p = config.envelope_power
    exponent = int(p) if p == int(p) else p  # integer powers are products, not logarithms
    return 1.0 + x**exponent * (
        -(p + 1.0) * (p + 2.0) / 2.0 + p * (p + 2.0) * x - p * (p + 1.0) / 2.0 * x**2
    )


def _switch(x, config):
    """1 below the onset, 0 at the cutoff, every derivative continuous."""
    y = (x * config.cutoff - config.envelope_onset) / (config.cutoff - config.envelope_onset)

    def g(t):
        positive = t > 0.0
        return jnp.where(positive, jnp.exp(-1.0 / jnp.where(positive, t, 1.0)), 0.0)

    return g(1.0 - y) / (g(y) + g(1.0 - y))
