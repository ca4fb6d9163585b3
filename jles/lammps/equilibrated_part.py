r"""Equilibrated charges of atoms on several ranks.

The charges are those of least energy

.. math:: E = \sum_i (\chi_i q_i + \tfrac12 J_i q_i^2) + E_k(S(q)), \quad \sum_i q_i = Q

with electronegativity, hardness and the energy of the lattice sum, in which the energy of each
charge with itself is included. Conjugate gradients with the preconditioner
:math:`\kappa = 1/J` solve for them. A step adds up one structure factor and three numbers over
the ranks. The energy is stationary in q, so its derivatives are those at fixed q.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.domains.rank_sums import RankSums, energy_of_rank_sums, inner, rank_sums
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.response.induction import MAX_STEPS
from jles.errors import InputError
from jles.lammps.network_pass import Own
from jles.lammps.own_part import OwnPart, part_of
from jles.lammps.ranks import Ranks
from jles.models.config import ElectrostaticsConfig
from jles.typing import Cell


class Equilibration:
    """Solves for the charges; the functions of a rank are compiled once for each plan."""

    def __init__(self):
        self._sums = jax.jit(_sums, static_argnums=(3, 4))
        self._slope = jax.jit(_slope, static_argnums=(4, 5))

    def __call__(
        self,
        own: Own,
        cell: Cell,
        plan: SumPlan,
        config: ElectrostaticsConfig,
        total_charge: float,
        ranks: Ranks,
    ) -> Own:
        """The output of the network with its charges; called by all ranks.

        Args:
            own: output of the network of this rank.
            cell: rows are lattice vectors, angstrom.
            plan: of the sum.
            config: of the sum.
            total_charge: Q, e.
            ranks: sums over them.

        Raises:
            InputError: no convergence; on every rank.
        """
        valence, how = own.valence, (plan, config)
        softness = valence.present / valence.hardness
        whole = ranks.number(jnp.sum(softness))

        def slope(charges):
            sums = ranks.sums(self._sums(own, charges, cell, *how))
            return self._slope(own, charges, sums, cell, *how)

        def projected(residual):
            """Without its mean, to which no change of charges at fixed Q responds."""
            mean = ranks.number(jnp.sum(softness * residual)) / whole
            residual = (residual - mean) * valence.present
            return residual, ranks.number(jnp.sum(softness * residual**2))

        charges = softness * (total_charge / whole)
        start = -(slope(charges) + valence.electronegativity)
        residual, squared = projected(start)
        goal = self._goal(squared, ranks.number(jnp.sum(softness * start**2)), cell.dtype)
        direction = softness * residual
        for _ in range(MAX_STEPS):
            if squared <= goal:
                return own._replace(moments=Multipoles(charges))
            image = slope(direction)
            curvature = ranks.number(jnp.sum(direction * image))
            if not curvature > 0.0:
                break
            length = squared / curvature
            charges, before = charges + length * direction, squared
            residual, squared = projected(residual - length * image)
            direction = softness * residual + (squared / before) * direction
        raise InputError("the equilibration of the charges did not converge")

    @staticmethod
    def _goal(squared: float, whole: float, dtype) -> float:
        """Of the squared residual; rounding limits it where the mean cancels most of it."""
        tolerance = 1e-6 if dtype == jnp.float32 else 1e-12
        return max(tolerance**2 * squared, (30.0 * float(jnp.finfo(dtype).eps)) ** 2 * whole)


def equilibrated_part(
    own: Own,
    total: None,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
) -> OwnPart:
    """The part of one rank; traced, arguments as of `own_part`, with charges in `own`."""

    def energy_of(own, total):
        valence, charges = own.valence, own.moments.charges
        energy = jnp.sum(own.short_range + valence.electronegativity * charges)
        energy += 0.5 * jnp.sum(valence.hardness * charges**2)
        return energy, own.moments

    return part_of(energy_of, own, total, cell, plan, config)


def _sums(own, charges, cell, plan, config) -> RankSums:
    return rank_sums(Multipoles(charges), own.places, cell, plan, config)


def _slope(own, charges, sums, cell, plan, config) -> Float[Array, " first"]:
    """Hardness times charge, and the potential of the charges of all ranks, V."""
    by_sums = jax.grad(energy_of_rank_sums)(sums, cell, plan, config)

    def coupled(charges):
        return inner(_sums(own, charges, cell, plan, config), by_sums)

    return own.valence.present * (own.valence.hardness * charges + jax.grad(coupled)(charges))
