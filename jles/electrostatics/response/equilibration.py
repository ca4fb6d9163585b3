r"""Charge equilibration: charges from electronegativity, hardness and total charges.

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
    LocalField,
    SolveReport,
    relax,
    rounding,
)
from jles.errors import InputError
from jles.typing import Scalar


class Equilibrium(NamedTuple):
    """Energy (eV), charges (e), potential (V) of every group, and a report of the solve."""

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
    r"""The charges of least energy under constraints on the total charge of groups of atoms.

    .. math:: E(q) = \sum_i (\chi_i - V_i) q_i + \tfrac12\sum_i J_i q_i^2 + \tfrac12 q\cdot K q,
        \quad \sum_{i\in g} q_i = Q_g

    At the minimum :math:`\chi_i - V_i + J_i q_i + \phi_i = \lambda_g`. Atoms in no group have
    :math:`\lambda = 0`: their charge follows from the potential :math:`V_i`.

    Examples. A molecule of given total charge: one group, the default. Two electrodes at a
    voltage that are neutral together: one group of charge 0 for all atoms, and an
    `applied_potential` that differs by the voltage. An electrode held at a potential against
    infinity: group -1.

    Args:
        interaction: quadratic form of the moments, eV, e.g. `ewald_energy` with everything else
            bound; its Hessian in the charges is K.
        electronegativity: chi, V.
        hardness: J > 0, V/e; infinity for padding, which then has no charge.
        total_charge: e, of all atoms, where there are no `groups`.
        groups: group of every atom, 0, 1, ...; -1 for atoms without a constraint.
        group_charges: e, of every group.
        applied_potential: V, V.
        tolerance: see `response.relax`.
        max_steps: see `response.relax`; without convergence results are NaN.

    Raises:
        InputError: only one of `groups` and `group_charges` is given.
    """
    if (groups is None) != (group_charges is None):
        given, missing = "groups", "group_charges"
        if groups is None:
            given, missing = missing, given
        raise InputError(f"{given} is given without {missing}: give both, or only total_charge")
    softness = 1.0 / hardness
    if groups is None:
        groups = jnp.zeros(softness.shape, int)
        group_charges = jnp.reshape(jnp.asarray(total_charge, softness.dtype), (1,))
    count = group_charges.shape[0]
    bound = groups >= 0
    # Atoms without a constraint form one more group, whose mean is not used.
    index = jnp.where(bound, groups, count)

    def group_sum(values):
        return jax.ops.segment_sum(values, index, count + 1)[:count]

    def at_atoms(values):
        return jnp.where(bound, jnp.append(values, 0.0)[index], 0.0)

    group_softness = group_sum(softness)
    safe = jnp.where(group_softness > 0.0, group_softness, 1.0)

    def unconstrained(local: LocalField) -> LocalField:
        return LocalField(softness * local.charges, None)

    def project(local: LocalField) -> LocalField:
        mean = at_atoms(group_sum(softness * local.charges) / safe)
        return LocalField(local.charges - mean, None)

    def respond(local: LocalField) -> LocalField:
        return unconstrained(project(local))

    external = electronegativity
    if applied_potential is not None:
        external = external - applied_potential
    level = at_atoms(group_charges / safe)
    start = softness * level
    slope = jax.grad(interaction)(Multipoles(start)).charges
    source = LocalField(-(external + level + slope), None)
    noise = rounding(source, unconstrained)
    relaxed = relax(interaction, source, respond, tolerance, max_steps, noise, project)
    energy = interaction(Multipoles(start)) + jnp.sum(external * start)
    energy = energy + 0.5 * jnp.sum(softness * level**2) + relaxed.energy
    charges = start + relaxed.charges
    potential = external + jax.grad(interaction)(Multipoles(charges)).charges
    multipliers = (group_sum(softness * potential) + group_charges) / safe
    return Equilibrium(energy, charges, multipliers, relaxed.report)
