r"""What one rank contributes if its moments respond, one-shot.

The response energy of rank r depends on the structure factor S of all ranks through the local
fields :math:`f = -\partial(g\cdot S_r - U_r)/\partial m`, with
:math:`g = \partial E_k/\partial S` and the self-energy U:

.. math:: E = \sum_r E_r + E_k(S) + \sum_r h_r(g), \quad h_r = -\tfrac12 f\cdot R f

Its derivative by g is the structure factor :math:`T_r` of the induced moments R f, which the
ranks add up in a second sum. With S and T every rank takes the derivative of

.. math:: E_r + h_r + c\cdot S_r, \quad c = \partial\Lambda/\partial S, \quad
    \Lambda = E_k(S) + T\cdot g(S)

at fixed c, T and g. That by strain at fixed S is the one of :math:`\Lambda`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.electrostatics.multipoles import (
    Multipoles,
    self_energy,
    summed_channels,
)
from jles.electrostatics.partial_sums import partial_sums
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.response.induction import (
    Induced,
    effective_multipoles,
    induce,
    local_field,
)
from jles.lammps.domain import Domain
from jles.lammps.own_part import (
    Derivatives,
    Own,
    deformation,
    evaluate_own,
    lattice_energy_of,
    near_neighbors,
)
from jles.models.config import ElectrostaticsConfig
from jles.models.potential import Params, Potential
from jles.products import matmul
from jles.typing import Cell, Positions


class RespondingPart(NamedTuple):
    """Network output of one rank and its part of the structure factor.

    Attributes:
        own: of the first rows.
        sums: S_r.
        crowd: see `OwnPart`.
    """

    own: Own
    sums: Float[Array, "..."]
    crowd: Int[Array, ""]


class InducedPart(NamedTuple):
    """Induced moments of one rank.

    Attributes:
        sums: T_r, their part of the structure factor.
        charges: permanent and induced charges of the first rows, e.
    """

    sums: Float[Array, "..."]
    charges: Float[Array, " first"]


def responding_part(
    potential: Potential, params: Params, domain: Domain, positions: Positions, cell: Cell
) -> RespondingPart:
    """Permanent moments of one rank; traced, arguments as of `own_part`."""
    fixed, crowd = near_neighbors(domain, positions, cell, potential.config.backbone.cutoff)
    own = evaluate_own(potential, params, fixed, positions, cell)
    return RespondingPart(own, partial_sums(own.moments, own.places, cell, domain.plan), crowd)


def induced_part(
    part: RespondingPart,
    sums: Float[Array, "..."],
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
) -> InducedPart:
    """Induced moments of one rank, from the structure factor S of all ranks; traced."""
    slope = jax.grad(lattice_energy_of)(sums, cell, plan, config)
    own = part.own
    found = _induced(own, slope, cell, plan, config)
    moments = Multipoles(
        jnp.zeros_like(own.moments.charges) if found.charges is None else found.charges,
        found.dipoles,
    )
    total = effective_multipoles(own.moments, found)
    return InducedPart(
        partial_sums(moments, own.places, cell, plan), summed_channels(total.charges)
    )


def responding_derivatives(
    potential: Potential,
    params: Params,
    domain: Domain,
    positions: Positions,
    cell: Cell,
    sums: Float[Array, "..."],
    induced_sums: Float[Array, "..."],
) -> tuple[Float[Array, ""], Derivatives]:
    """E_r + h_r of this rank, and derivatives of the energy of all ranks; traced.

    Args:
        potential: of the model.
        params: of the model.
        domain: of the rank.
        positions: of own atoms and ghosts, padded, angstrom.
        cell: rows are lattice vectors, angstrom.
        sums: S, of all ranks.
        induced_sums: T, of all ranks.
    """
    config, plan = potential.config.electrostatics, domain.plan
    fixed, _ = near_neighbors(domain, positions, cell, potential.config.backbone.cutoff)
    strain = jnp.zeros((3, 3), cell.dtype)

    def lattice(sums, strain):
        return lattice_energy_of(sums, matmul(cell, deformation(strain)), plan, config)

    def coupled(sums, strain):
        energy, slope = jax.value_and_grad(lattice)(sums, strain)
        return energy + jnp.sum(induced_sums * slope), (energy, slope)

    (slope_of_all, by_strain), (energy, slope) = jax.grad(coupled, (0, 1), has_aux=True)(
        sums, strain
    )

    def parts(positions, strain):
        deform = deformation(strain)
        strained = matmul(cell, deform)
        own = evaluate_own(potential, params, fixed, matmul(positions, deform), strained)
        response = _induced(own, slope, strained, plan, config)
        sums = partial_sums(own.moments, own.places, strained, plan)
        return own.energy + response.energy, sums

    (own_energy, _), back = jax.vjp(parts, positions, strain)
    gradient, virial = back((jnp.ones_like(own_energy), slope_of_all))
    return own_energy, Derivatives(energy, -gradient, -virial, -by_strain)


def _induced(own: Own, slope, cell, plan, config: ElectrostaticsConfig) -> Induced:
    """The one-shot response of a rank's moments to the local fields of all moments."""

    def interaction(moments):
        energy = jnp.sum(partial_sums(moments, own.places, cell, plan) * slope)
        if config.remove_self:
            energy = energy - config.self_terms * self_energy(moments, config.sigma)
        return energy

    source = local_field(interaction, own.moments, own.response)
    return induce(interaction, source, own.response)
