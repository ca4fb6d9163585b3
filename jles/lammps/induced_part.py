r"""The part of one rank in energy, forces and virial with one-shot induced moments.

The response energy of rank r depends on the structure factor S of all ranks through the local
fields :math:`f = -\partial(g\cdot S_r - U_r)/\partial m`, with
:math:`g = \partial E_k/\partial S` and the self-energy U:

.. math:: E = \sum_r E_r + E_k(S) + \sum_r h_r(g), \quad h_r = -\tfrac12 f\cdot R f

The derivative of all :math:`h_r` by g is the structure factor :math:`T_r` of the induced
moments R f, which the ranks add up in a second sum. With S and T every rank takes the
derivative of

.. math:: E_r + h_r + c\cdot S_r, \quad c = \partial\Lambda/\partial S, \quad
    \Lambda = E_k(S) + T\cdot g(S)

at fixed c, T and g. That by strain at fixed S is the one of :math:`\Lambda`. In an applied
field E the local field of the dipoles is f + E.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.domains.rank_sums import (
    RankSums,
    energy_of_rank_sums,
    inner,
    rank_sums,
    without_self,
)
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.response.induction import (
    Induced,
    LocalField,
    apply_response,
    dot,
    effective_multipoles,
    local_field,
)
from jles.lammps.charge_sum import ChargeSum, constrained
from jles.lammps.network_pass import Own, deformation
from jles.lammps.own_part import Pull, latent_sums
from jles.models.config import ElectrostaticsConfig
from jles.observables.screening import sum_polarizabilities
from jles.products import matmul
from jles.typing import Cell


class RespondingPart(NamedTuple):
    """Permanent moments of one rank.

    Attributes:
        own: output of its network, with charges whose sum is constrained.
        sums: S_r, the part of the structure factor.
        charges: of the first rows, e.
        dipole: sum of the dipoles, e angstrom; zero without.
        trace: of the polarizabilities, e angstrom^2/V; zero without.
    """

    own: Own
    sums: RankSums
    charges: Float[Array, " first"]
    dipole: Float[Array, " 3"]
    trace: Float[Array, ""]


class InducedPart(NamedTuple):
    """Induced moments of one rank.

    Attributes:
        sums: T_r, their part of the structure factor.
        charges: permanent and induced charges of the first rows, e.
        dipole: sum of their permanent and induced dipoles, e angstrom.
    """

    sums: RankSums
    charges: Float[Array, " first"]
    dipole: Float[Array, " 3"]


def responding_part(
    own: Own,
    total: ChargeSum | None,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
) -> RespondingPart:
    """Permanent moments of one rank; traced, arguments as of `own_part`."""
    own = constrained(own, total)
    trace = jnp.zeros((), cell.dtype)
    if own.response.polarizabilities is not None:
        trace = jnp.trace(sum_polarizabilities(own.response.polarizabilities))
    sums = rank_sums(own.moments, own.places, cell, plan, config)
    return RespondingPart(own, sums, *latent_sums(own.moments, cell.dtype), trace)


def induced_part(
    part: RespondingPart,
    sums: RankSums,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
    field: Float[Array, " 3"] | None = None,
) -> InducedPart:
    """Induced moments of one rank, from the structure factor S of all ranks; traced.

    Args:
        part: of this rank.
        sums: S, of all ranks.
        cell: rows are lattice vectors, angstrom.
        plan: static, of the sum.
        config: of the sum, static.
        field: applied, latent, V/angstrom; None for none.
    """
    slope = jax.grad(energy_of_rank_sums)(sums, cell, plan, config)
    own = part.own
    found = _induced(own, slope, cell, plan, config, field)
    moments = induced_moments(own, found)
    total = effective_multipoles(own.moments, found)
    sums = rank_sums(moments, own.places, cell, plan, config)
    return InducedPart(sums, *latent_sums(total, cell.dtype))


def responding_pull(
    own: Own,
    total: ChargeSum | None,
    cell: Cell,
    sums: RankSums,
    induced_sums: RankSums,
    plan: SumPlan,
    config: ElectrostaticsConfig,
    field: Float[Array, " 3"] | None = None,
) -> tuple[Float[Array, ""], Pull]:
    """E_r + h_r of this rank, and derivatives of the energy of all ranks; traced.

    Args:
        own: output of the network of this rank.
        total: sum of the charges of all ranks; None where it is free.
        cell: rows are lattice vectors, angstrom.
        sums: S, of all ranks.
        induced_sums: T, of all ranks.
        plan: static, of the sum.
        config: of the sum, static.
        field: applied, latent, V/angstrom; None for none. Its energy with the permanent
            moments is not included.
    """
    strain = jnp.zeros((3, 3), cell.dtype)

    def lattice(sums, strain):
        return energy_of_rank_sums(sums, matmul(cell, deformation(strain)), plan, config)

    def coupled(sums, strain):
        energy, slope = jax.value_and_grad(lattice)(sums, strain)
        return energy + inner(induced_sums, slope), (energy, slope)

    (slope_of_all, by_strain), (energy, slope) = jax.grad(coupled, (0, 1), has_aux=True)(
        sums, strain
    )

    def parts(own, strain, total):
        own = constrained(own, total)
        strained = matmul(cell, deformation(strain))
        response = _induced(own, slope, strained, plan, config, field)
        short = jnp.sum(own.short_range)
        energy = without_self(short, own.moments, config) + response.energy
        return energy, rank_sums(own.moments, own.places, strained, plan, config)

    (own_energy, _), back = jax.vjp(parts, own, strain, total)
    by_own = back((jnp.ones_like(own_energy), slope_of_all))
    return own_energy, Pull(energy, *by_own, by_strain)


def field_at(
    own: Own,
    moments: Multipoles,
    slope: RankSums,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
    field: Float[Array, " 3"] | None,
) -> LocalField:
    """Local fields of moments at a rank's atoms; traced.

    Args:
        own: of the rank.
        moments: of its atoms, which leave out their own field where the model does.
        slope: derivative of the energy by the sums of these moments over all ranks.
        cell: rows are lattice vectors, angstrom.
        plan: static, of the sum.
        config: of the sum, static.
        field: applied, latent, V/angstrom; None for none.
    """

    def interaction(moments):
        energy = inner(rank_sums(moments, own.places, cell, plan, config), slope)
        return without_self(energy, moments, config)

    source = local_field(interaction, moments, own.response)
    if field is not None and source.dipoles is not None:
        source = source._replace(dipoles=source.dipoles + field)
    return source


def induced_moments(own: Own, induced: Induced | LocalField) -> Multipoles:
    """Induced moments alone; charges zero where none are induced."""
    charges = induced.charges
    return Multipoles(
        jnp.zeros_like(own.moments.charges) if charges is None else charges, induced.dipoles
    )


def _induced(own: Own, slope, cell, plan, config: ElectrostaticsConfig, field) -> Induced:
    """The one-shot response of a rank's moments to the local fields of all moments."""
    source = field_at(own, own.moments, slope, cell, plan, config, field)
    moments = apply_response(own.response, source)
    return Induced(-0.5 * dot(source, moments), *moments, None)
