"""Dipole moment of latent charges."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.typing import AtomMask, Charges, Positions


def cluster_dipole(charges: Charges, positions: Positions, mask: AtomMask) -> Float[Array, "3"]:
    r"""Dipole of a cluster, e angstrom: :math:`P = \sum_i (q_i - \langle q\rangle)\, r_i`.

    The mean over the structure's atoms is removed, so that the dipole of a cluster whose latent
    charges do not quite cancel does not depend on the origin. Channels are summed.

    Args:
        charges: e; zero on padding atoms.
        positions: angstrom; the cluster in one piece.
        mask: False on padding atoms.

    Source: docs/conventions.md, section 6.
    """
    summed = charges if charges.ndim == 1 else jnp.sum(charges, axis=1)
    weight = mask.astype(summed.dtype)
    mean = jnp.sum(summed * weight) / jnp.maximum(jnp.sum(weight), 1.0)
    return ((summed - mean) * weight) @ positions
