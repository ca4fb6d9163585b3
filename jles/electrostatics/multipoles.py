"""Moments of the atoms and their self-energy (docs/theory.md, Multipoles)."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.typing import Charges, Scalar
from jles.units import COULOMB_CONSTANT, HALF_INVERSE_EPSILON0

Dipoles = Float[Array, "atoms 3"] | Float[Array, "atoms channels 3"]
Quadrupoles = Float[Array, "atoms 3 3"] | Float[Array, "atoms channels 3 3"]


class Multipoles(NamedTuple):
    r"""Moments of the atoms: charges e, dipoles e angstrom, quadrupoles e angstrom^2.

    Latent channels, which do not interact, are an axis after `atoms` of every moment.
    Quadrupoles are :math:`Q_{ab} = \sum q x_a x_b` made traceless; any trace is accepted, and
    of a matrix that is not symmetric the symmetric part counts.
    """

    charges: Charges
    dipoles: Dipoles | None = None
    quadrupoles: Quadrupoles | None = None


def as_multipoles(moments: Multipoles | Charges) -> Multipoles:
    """The moments, or charges alone, as `Multipoles`."""
    return moments if isinstance(moments, Multipoles) else Multipoles(moments)


def channels_first(moments: Multipoles) -> Multipoles:
    """The same moments with a leading channel axis, of length one where there was none."""
    has_channels = moments.charges.ndim == 2

    def lead(array):
        if array is None:
            return None
        return jnp.moveaxis(array, 1, 0) if has_channels else array[None]

    return Multipoles(*(lead(array) for array in moments))


def with_dipoles(moments: Multipoles) -> Multipoles:
    """The same moments, with zero dipoles if they had none."""
    if moments.dipoles is not None:
        return moments
    charges = moments.charges
    return moments._replace(dipoles=jnp.zeros((*charges.shape, 3), charges.dtype))


def rank_of(moments: Multipoles) -> int:
    """Highest moment: 0 charges, 1 dipoles, 2 quadrupoles."""
    return 2 if moments.quadrupoles is not None else int(moments.dipoles is not None)


def symmetric(matrices):
    """The symmetric part, the only one that counts in quadrupoles and polarizabilities."""
    return 0.5 * (matrices + matrices.swapaxes(-1, -2))


def summed_channels(charges: Charges) -> Float[Array, " atoms"]:
    """Charges (atoms,), or the sum over the channels of (atoms, channels)."""
    return charges.reshape(charges.shape[0], -1).sum(axis=1)


def traceless(matrices):
    """The same matrices less their trace, spread over the diagonal; of JAX or NumPy."""
    third = trace(matrices)[..., None, None] / 3.0
    return matrices - third * np.eye(3, dtype=matrices.dtype)


def trace(matrices):
    """The trace of each matrix, of JAX or NumPy; `jnp.trace` has more operations to compile."""
    return (matrices * np.eye(3, dtype=matrices.dtype)).sum(axis=(-2, -1))


def self_energy(moments: Multipoles | Charges, sigma: Scalar) -> Float[Array, ""]:
    r"""Energy (eV) of each smeared multipole with itself.

    .. math:: E = \frac{1}{2\epsilon_0(2\pi)^{3/2}} \sum_i \left[\frac{q_i^2}{\sigma}
        + \frac{|u_i|^2}{3\sigma^3} + \frac{2\,Q_i{:}Q_i + (\mathrm{tr}\,Q_i)^2}{20\sigma^5}
        - \frac{q_i\,\mathrm{tr}\,Q_i}{3\sigma^3}\right]
    """
    charges, dipoles, quadrupoles = as_multipoles(moments)
    total = jnp.sum(charges**2) / sigma
    if dipoles is not None:
        total += jnp.sum(dipoles**2) / (3.0 * sigma**3)
    if quadrupoles is not None:
        quadrupoles = symmetric(quadrupoles)
        traces = trace(quadrupoles)
        total += (2.0 * jnp.sum(quadrupoles**2) + jnp.sum(traces**2)) / (20.0 * sigma**5)
        total -= jnp.sum(charges * traces) / (3.0 * sigma**3)
    return HALF_INVERSE_EPSILON0 / (2.0 * math.pi) ** 1.5 * total


def background_energy(total_charge, volume: Scalar, sigma: Scalar) -> Float[Array, ""]:
    r"""The energy (eV) that smearing adds in a charged cell: :math:`\pi k_e\sigma^2Q^2/V`.

    A sum without k = 0 neutralises the *smeared* charges. Subtract this term from
    `ewald_energy` for the conventional uniform background of point charges.

    Args:
        total_charge: e, of the cell; several channels are summed over.
        volume: angstrom^3.
        sigma: smearing width, angstrom.
    """
    squared = jnp.sum(jnp.asarray(total_charge) ** 2)
    return math.pi * COULOMB_CONSTANT * sigma**2 * squared / volume
