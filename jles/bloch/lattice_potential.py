r"""The potential at the atoms of a crystal, with Bloch-weighted derivatives.

This is the counterpart of `jles.bloch.weighted` for the lattice sum: the change that a source
at :math:`r_l` makes at :math:`r_j` is multiplied by :math:`e^{t\cdot(r_j - r_l)}`, for every
image separately. To first order in t the weight is a slope of the Green function,
:math:`r_a K(r) \leftrightarrow 2 i k_a\,g'(k^2)`; docs/theory.md, Polarization of a crystal.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.interaction import reciprocal_form
from jles.electrostatics.multipoles import Multipoles, self_energy, with_dipoles
from jles.electrostatics.plan import SumPlan
from jles.products import matmul
from jles.typing import Scalar


def bloch_weighted_potential(
    *, sigma: Scalar, k_max: Scalar, plan: SumPlan, cutoff: str, remove_self: bool
) -> Callable[..., Float[Array, " atoms"]]:
    """The potential (V) of moments without channels, of the same sum as `ewald_energy`.

    Args:
        sigma: smearing width, angstrom.
        k_max: cutoff of the sum, 1/angstrom.
        plan: static, of a crystal; see `plan_sum`.
        cutoff: "sharp" or "smooth".
        remove_self: leave out the potential of an atom at itself.

    Returns:
        `(moments, positions, cell, bloch) -> (atoms,)`. The value does not depend on `bloch`.
        Derivatives with respect to moments and positions are Bloch-weighted, exact to first
        order in `bloch`.
    """
    options = {"sigma": sigma, "k_max": k_max, "plan": plan, "cutoff": cutoff}

    def slope_at(targets, moments, positions, cell, of_slope) -> Multipoles:
        """Derivative in charges and dipoles at the targets of their energy with the sources."""
        count = targets.shape[0]
        places = jnp.concatenate([targets, positions])
        reciprocal = reciprocal_form(places, cell, **options, slope=of_slope)
        sources = jax.tree.map(
            lambda array: jnp.concatenate([jnp.zeros_like(array), array]), with_dipoles(moments)
        )
        slope = jax.grad(reciprocal)(sources)
        return jax.tree.map(lambda array: array[:count], slope)

    def plain(moments, positions, cell):
        def energy(given):
            own = self_energy(given, sigma) if remove_self else 0.0
            return reciprocal_form(positions, cell, **options)(given) - own

        return jax.grad(energy)(moments).charges

    @jax.custom_jvp
    def potential(moments, positions, cell, bloch):
        return plain(moments, positions, cell)

    @potential.defjvp
    def rule(primals, tangents):
        moments, positions, cell, bloch = primals
        moments_dot, positions_dot, cell_dot, _ = tangents
        change = jax.jvp(
            plain, (moments, positions, cell), (moments_dot, positions_dot, cell_dot)
        )[1]

        def weighted(moments, places):
            """Sum over sources of t.(r_j - r_l) times their potential at the fixed r_j."""
            far = 2.0 * matmul(slope_at(positions, moments, places, cell, True).dipoles, bloch)
            # The weight belongs to the position of the atom, not to the ends of its dipole.
            inner = _contracted(moments, bloch)
            if inner is not None:
                far += slope_at(positions, inner, places, cell, False).charges
            return far

        far = jax.jvp(weighted, (moments, positions), (moments_dot, positions_dot))[1]
        # The weight itself is not differentiated.
        along = matmul(positions_dot, bloch)
        moved = jax.tree.map(
            lambda array: along.reshape(-1, *[1] * (array.ndim - 1)) * array, moments
        )
        far += slope_at(positions, moved, positions, cell, False).charges
        return potential(moments, positions, cell, bloch), change + far

    return potential


def _contracted(moments: Multipoles, vector) -> Multipoles | None:
    """Moments of one rank less: dipoles u.t as charges, quadrupoles Q.t as dipoles."""
    charges, dipoles, quadrupoles = moments
    if dipoles is None and quadrupoles is None:
        return None
    return Multipoles(
        matmul(dipoles, vector) if dipoles is not None else jnp.zeros_like(charges),
        matmul(quadrupoles, vector) if quadrupoles is not None else None,
    )
