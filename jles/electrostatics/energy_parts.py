"""The energy split by pairs of moments, to analyse a model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response.induction import Induced

KINDS = {"charges": "charge", "dipoles": "dipole", "quadrupoles": "quadrupole"}


def energy_parts(
    interaction: Callable[[Multipoles], Array],
    moments: Multipoles,
    induced: Induced | None = None,
) -> dict[str, Float[Array, ""]]:
    r"""Energies (eV) by name: "charge-charge", "charge-dipole", ..., "induced"; their sum is E.

    .. math:: E_{ab} = m_a\cdot K m_b \;(a \ne b), \quad E_{aa} = \tfrac12 m_a\cdot K m_a
    """
    present = [name for name in KINDS if getattr(moments, name) is not None]
    nothing = jax.tree.map(jnp.zeros_like, moments)
    parts = {}
    for n, second in enumerate(present):
        slope = jax.grad(interaction)(nothing._replace(**{second: getattr(moments, second)}))
        for first in present[: n + 1]:
            product = jnp.sum(getattr(moments, first) * getattr(slope, first))
            half = 0.5 if first == second else 1.0
            parts[f"{KINDS[first]}-{KINDS[second]}"] = half * product
    if induced is not None:
        parts["induced"] = induced.energy
    return parts
