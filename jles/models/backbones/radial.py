"""Radial functions of the distance to a neighbour."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.models.backbones.cace_config import CaceConfig
from jles.models.backbones.envelope import Distances


def bessel(distance: Distances, frequencies: Float[Array, " rbf"], cutoff: float):
    r"""Bessel functions with trainable frequencies, :math:`\sqrt{2/r_c}\,\sin(w_m r)/r`.

    Source: docs/theory.md, eq. 2.
    """
    r = distance[..., None]
    # Published models store the prefactor in float32; the same rounding reproduces them
    # exactly.
    prefactor = np.float32(np.sqrt(2.0 / cutoff)).astype(distance.dtype)
    return prefactor * jnp.sin(frequencies * r) / r


def bessel_scale(cutoff: float) -> float:
    """Factor for Bessel functions of mean square one in the sphere of the cutoff."""
    return math.sqrt(cutoff**3 / 3.0)


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
