r"""From latent to physical moments: a factor and a sign.

Energies and forces determine neither. A latent charge is screened by electrons that the model
does not contain, :math:`q = q_{phys}/\sqrt{\epsilon_e}`; docs/conventions.md, section 7.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jles.typing import Scalar
from jles.units import EPSILON0


def hidden_permittivity(
    epsilon_infinity: Scalar, total: Float[Array, "3 3"] | None, volume: Scalar
) -> Float[Array, ""]:
    r""":math:`\epsilon_e = \epsilon_\infty/(1 + \chi)`, the screening without induced dipoles.

    Args:
        epsilon_infinity: electronic dielectric constant of the material, at least 1.
        total: latent polarizability of the cell, e angstrom^2/V; None for none.
        volume: angstrom^3.
    """
    if total is None:
        return jnp.asarray(epsilon_infinity)
    return epsilon_infinity / (1.0 + jnp.trace(total) / (3.0 * EPSILON0 * volume))


def hidden_polarizability(permittivity: Array, volume: Scalar) -> Float[Array, "3 3"]:
    r""":math:`(\epsilon_e - 1)\epsilon_0 V`, e angstrom^2/V, of electrons not in the model.

    Together with it the polarizability of a model is that of the cell, (eps_inf - 1) eps0 V.
    """
    return (permittivity - 1.0) * EPSILON0 * volume * jnp.eye(3, dtype=permittivity.dtype)


def gauge_sign(charges: Float[Array, " atoms"], chosen: Bool[Array, " atoms"], mask) -> Array:
    """The sign, 1 or -1, that makes the chosen atoms more positive than the others.

    1 if there are no such atoms, or no others.

    Args:
        charges: latent, e.
        chosen: the atoms of an element that is known to be positive.
        mask: False on padding atoms.
    """
    inside = chosen & mask
    others = mask & ~chosen

    def mean(which):
        return jnp.sum(jnp.where(which, charges, 0.0)) / jnp.maximum(
            jnp.sum(which, dtype=charges.dtype), 1.0
        )

    differs = jnp.any(inside) & jnp.any(others) & (mean(inside) < mean(others))
    return jnp.where(differs, -1.0, 1.0).astype(charges.dtype)


def sum_polarizabilities(polarizabilities: Array) -> Float[Array, "3 3"]:
    """Sum over atoms of scalars (atoms,) or tensors (atoms, 3, 3), e angstrom^2/V."""
    if polarizabilities.ndim == 1:
        return jnp.sum(polarizabilities) * jnp.eye(3, dtype=polarizabilities.dtype)
    return jnp.sum(polarizabilities, axis=0)
