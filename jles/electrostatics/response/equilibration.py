r"""Charges from electronegativity and hardness, with total charges and electrodes given.

With :math:`\kappa = 1/J` this is a self-consistent, charge-conserving response to the
electronegativities, so the solver is that of `response`.
Sources: Rappe and Goddard, J. Phys. Chem. 95, 3358 (1991); electrodes at constant potential:
Siepmann and Sprik, J. Chem. Phys. 102, 511 (1995).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response.induction import (
    MAX_STEPS,
    Drive,
    SolveReport,
    relax,
    rounding,
)
from jles.typing import Scalar


class Equilibrium(NamedTuple):
    """Energy (eV), charges (e), common potential (V) of every group, and how it was solved."""

    energy: Float[Array, ""]
    charges: Float[Array, " atoms"]
    group_potentials: Float[Array, " groups"]
    report: SolveReport


def equilibrate_charges(
    interaction: Callable[[Multipoles], Array],
    electronegativity: Float[Array, " atoms"],
    hardness: Float[Array, " atoms"],
    *,
    total_charge: Scalar = 0.0,
    groups: Int[Array, " atoms"] | None = None,
    group_charges: Float[Array, " groups"] | None = None,
    applied_potential: Float[Array, " atoms"] | None = None,
    tolerance: float | None = None,
    max_steps: int = MAX_STEPS,
) -> Equilibrium:
    r"""The charges at which the energy is least under the constraints.

    .. math:: E(q) = \sum_i (\chi_i - V_i) q_i + \tfrac12\sum_i J_i q_i^2 + \tfrac12 q\cdot K q,
        \quad \sum_{i\in g} q_i = Q_g

    Stationary where :math:`\chi_i - V_i + J_i q_i + \phi_i = \lambda_g`; atoms that belong to no
    group have :math:`\lambda = 0`: they take what charge their potential :math:`V_i` asks for.

    Examples: one group, the default, is a molecule of given total charge. Two electrodes at a
    voltage, neutral together: one group of charge 0 for all atoms, V of the one electrode's atoms
    minus that of the other's as `applied_potential`. An electrode held at a potential against
    infinity: group -1.

    Args:
        interaction: quadratic form of the moments, eV, e.g. `ewald_energy` with everything else
            bound; its Hessian in the charges is K.
        electronegativity: chi, V.
        hardness: J > 0, V/e; infinity for padding, which then carries no charge.
        total_charge: e, of all atoms, where there are no `groups`.
        groups: group of every atom, 0, 1, ...; -1 for atoms without a constraint.
        group_charges: e, of every group.
        applied_potential: V, V.
        tolerance: see `response.relax`.
        max_steps: see `response.relax`; NaN where it has not converged.
    """
    softness = 1.0 / hardness
    if groups is None:
        groups = jnp.zeros(softness.shape, int)
        group_charges = jnp.reshape(jnp.asarray(total_charge, softness.dtype), (1,))
    count = group_charges.shape[0]
    bound = groups >= 0
    # Atoms without a constraint go to a group of their own, whose mean is not used.
    index = jnp.where(bound, groups, count)

    def group_sum(values):
        return jax.ops.segment_sum(values, index, count + 1)[:count]

    def at_atoms(values):
        return jnp.where(bound, jnp.append(values, 0.0)[index], 0.0)

    group_softness = group_sum(softness)
    safe = jnp.where(group_softness > 0.0, group_softness, 1.0)

    def unbound(local: Drive) -> Drive:
        return Drive(softness * local.charges, None)

    def respond(local: Drive) -> Drive:
        charges = unbound(local).charges
        return Drive(charges - softness * at_atoms(group_sum(charges) / safe), None)

    external = electronegativity
    if applied_potential is not None:
        external = external - applied_potential
    level = at_atoms(group_charges / safe)
    start = softness * level
    slope = jax.grad(interaction)(Multipoles(start)).charges
    drive = Drive(-(external + level + slope), None)
    noise = rounding(drive, unbound)
    relaxed = relax(interaction, drive, respond, tolerance, max_steps, noise)
    energy = interaction(Multipoles(start)) + jnp.sum(external * start)
    energy = energy + 0.5 * jnp.sum(softness * level**2) + relaxed.energy
    charges = start + relaxed.charges
    potential = external + jax.grad(interaction)(Multipoles(charges)).charges
    multipliers = (group_sum(softness * potential) + group_charges) / safe
    return Equilibrium(energy, charges, multipliers, relaxed.report)
