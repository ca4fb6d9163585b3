r"""Dipoles and quadrupoles of clusters, and changes of the polarization of crystals."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles, summed_channels, symmetric, traceless
from jles.electrostatics.response.applied_field import from_centre, polarization
from jles.products import einsum
from jles.typing import AtomMask, Charges, Positions


def cluster_dipole(charges: Charges, positions: Positions, mask: AtomMask) -> Float[Array, "3"]:
    r"""Dipole of a cluster, e angstrom: :math:`P = \sum_i (q_i - \langle q\rangle)\, r_i`.

    The mean charge is subtracted, so that the dipole does not depend on the origin if the
    latent charges of the cluster do not sum to zero. Channels are summed.

    Args:
        charges: e; zero on padding atoms.
        positions: angstrom; the cluster in one piece.
        mask: False on padding atoms.

    Source: docs/conventions.md, section 6.
    """
    return polarization(Multipoles(charges), positions, mask)


def cluster_quadrupole(
    moments: Multipoles, positions: Positions, mask: AtomMask
) -> Float[Array, "3 3"]:
    r"""Traceless quadrupole of a cluster about its mean position, e angstrom^2.

    .. math:: Q = \sum_i (q_i - \langle q\rangle)\, r_i r_i + r_i u_i + u_i r_i + Q_i

    Args:
        moments: without channels; zero on padding.
        positions: angstrom.
        mask: False on padding atoms.
    """
    weight = mask.astype(positions.dtype)
    count = jnp.maximum(jnp.sum(weight), 1.0)
    charges = summed_channels(moments.charges)
    charges = (charges - jnp.sum(charges) / count) * weight
    places = from_centre(positions, mask)
    total = einsum("i,ia,ib->ab", charges, places, places)
    if moments.dipoles is not None:
        mixed = einsum("ia,ib->ab", places, moments.dipoles)
        total += mixed + mixed.T
    if moments.quadrupoles is not None:
        total += jnp.sum(symmetric(moments.quadrupoles), axis=0)
    return traceless(total)


def polarization_change(
    born_fn: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    end: np.ndarray,
    points: int = 4,
) -> np.ndarray:
    r"""Polarization of one crystal less that of another with the same cell, e angstrom.

    .. math:: \Delta P = \int_0^1 \sum_i Z^*_i(r_0 + s\,\Delta r)\,\Delta r_i\, ds

    along the straight line between them, by Gauss-Legendre quadrature. It does not depend on
    the branch, and it includes charge that crosses the boundary of the cell, which a difference
    of polarizations on one branch misses.

    Args:
        born_fn: positions (atoms, 3) to Born charges (atoms, 3, 3), e.
        start: positions, angstrom.
        end: positions of the same atoms in the same images; atoms must not meet on the way.
        points: of the quadrature.

    Source: King-Smith, Vanderbilt, Phys. Rev. B 47, 1651 (1993).
    """
    nodes, weights = np.polynomial.legendre.leggauss(points)
    moved = end - start
    total = np.zeros(3)
    for node, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
        total += weight * np.einsum("iab,ib->a", born_fn(start + node * moved), moved)
    return total
