r"""The part of one rank in energy, forces and virial.

The energy of a crystal is

.. math:: E = \sum_r E_r(x) + E_k\Big(\sum_r S_r(x)\Big)

with the energy :math:`E_r` of the own atoms of rank r (short range, less the self-energy of
their moments), their part :math:`S_r` of the structure factor, and the energy of the lattice
sum :math:`E_k`. Each rank computes :math:`E_r, S_r` from the output of its network
(`own_part`). The sum over ranks S is the only quantity that all ranks need. With it each rank
computes :math:`E_k` and its derivative :math:`\partial E_k/\partial S`, which goes back to the
output of the network (`pulled`) and through it (`through_network`). The result is the
derivative with respect to the positions of own atoms and ghosts; the ranks exchange those of
ghosts. Charges whose sum is constrained depend on two more sums, see `charge_sum`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.domains.rank_sums import RankSums, energy_of_rank_sums, rank_sums, without_self
from jles.electrostatics.multipoles import Multipoles, summed_channels
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.response.applied_field import sum_of_dipoles
from jles.lammps.charge_sum import ChargeSum, charge_sum, constrained
from jles.lammps.network_pass import NetworkPass, Own, deformation
from jles.models.config import ElectrostaticsConfig
from jles.products import matmul
from jles.typing import Cell


class OwnPart(NamedTuple):
    """The part of one rank, and what its derivatives need.

    Attributes:
        energy: E_r, eV.
        sums: S_r, the part of the structure factor.
        charges: latent charges of the first rows, e, summed over channels; zero without.
        dipole: sum of their latent dipoles, e angstrom; zero without.
        back: `(derivative by E_r, derivative by S_r) -> (by the output of the network, by
            strain, by the sum of the charges)`.
    """

    energy: Float[Array, ""]
    sums: RankSums
    charges: Float[Array, " first"]
    dipole: Float[Array, " 3"]
    back: Callable


class Pull(NamedTuple):
    """Derivatives of the energy of all ranks by the output of the network of one rank.

    Attributes:
        lattice_energy: E_k, eV; the same on every rank.
        own: by the output.
        strain: by strain at fixed output.
        total: by the sum of the charges, to be added over ranks; None where it is free.
        lattice_strain: by strain at fixed S; the same on every rank.
    """

    lattice_energy: Float[Array, ""]
    own: Own
    strain: Float[Array, "3 3"]
    total: ChargeSum | None
    lattice_strain: Float[Array, "3 3"]


class Derivatives(NamedTuple):
    """Derivatives of the energy of all ranks, and its parts.

    Attributes:
        lattice_energy: E_k, eV; the same on every rank.
        atomic: energies of the first rows, eV, see `atomic_energies`.
        forces: of own atoms and ghosts, eV/angstrom; to be added over ranks.
        virial: -dE/dstrain of the atoms of the rank, eV, to be added over ranks.
        lattice_virial: the same of E_k at fixed S; the same on every rank.
    """

    lattice_energy: Float[Array, ""]
    atomic: Float[Array, " first"]
    forces: Float[Array, "atoms 3"]
    virial: Float[Array, "3 3"]
    lattice_virial: Float[Array, "3 3"]


def own_part(
    own: Own,
    total: ChargeSum | None,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
) -> OwnPart:
    """The part of one rank; traced.

    Args:
        own: output of its network.
        total: sum of the charges of all ranks; None where it is free.
        cell: rows are lattice vectors, angstrom.
        plan: static, of the sum.
        config: of the sum, static.
    """

    def energy_of(own, total):
        own = constrained(own, total)
        energy = jnp.sum(own.short_range)
        if own.moments is not None:
            energy = without_self(energy, own.moments, config)
        return energy, own.moments

    return part_of(energy_of, own, total, cell, plan, config)


def part_of(
    energy_of: Callable,
    own: Own,
    total: ChargeSum | None,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
) -> OwnPart:
    """The part of one rank for the energy and moments that `energy_of` gives; traced.

    `energy_of(own, total)` returns E_r and the moments of the lattice sum, None without latent
    charges. The other arguments are those of `own_part`.
    """

    def parts(own, strain, total):
        energy, moments = energy_of(own, total)
        if moments is None:
            nothing = jnp.zeros(len(own.places), cell.dtype), jnp.zeros(3, cell.dtype)
            return (energy, RankSums(None, None)), nothing
        strained = matmul(cell, deformation(strain))
        sums = rank_sums(moments, own.places, strained, plan, config)
        return (energy, sums), latent_sums(moments, cell.dtype)

    strain = jnp.zeros((3, 3), cell.dtype)
    (energy, sums), back, moments = jax.vjp(parts, own, strain, total, has_aux=True)
    return OwnPart(energy, sums, *moments, back)


def pulled(
    part: OwnPart,
    sums: RankSums,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
) -> Pull:
    """Derivatives by the output of the network; traced.

    Args:
        part: of this rank.
        sums: S, those of all ranks added up.
        cell: rows are lattice vectors, angstrom.
        plan: static, of the sum.
        config: of the sum, static.
    """

    def lattice_energy(sums, strain):
        return energy_of_rank_sums(sums, matmul(cell, deformation(strain)), plan, config)

    strain = jnp.zeros((3, 3), cell.dtype)
    energy, slopes = jax.value_and_grad(lattice_energy, (0, 1))(sums, strain)
    return Pull(energy, *part.back((jnp.ones_like(part.energy), slopes[0])), slopes[1])


def through_network(
    network: NetworkPass,
    own: Own,
    total: ChargeSum | None,
    pull: Pull,
    by_total: ChargeSum | None,
) -> Derivatives:
    """Derivatives by positions and strain, and energies of the atoms; traced.

    Args:
        network: of this rank.
        own: its output, with equilibrated charges where the model has them.
        total: sum of the charges of all ranks; None where it is free.
        pull: of this rank.
        by_total: `Pull.total`, those of all ranks added up.
    """
    atomic = atomic_energies(constrained(own, total), pull.own)
    by_own = pull.own
    if network.own.moments is None:
        # Equilibrated charges minimize the energy: it does not change with them.
        by_own = by_own._replace(moments=None)
    if by_total is not None:
        _, back = jax.vjp(charge_sum, network.own)
        by_own = jax.tree.map(jnp.add, by_own, back(by_total)[0])
    gradient, by_strain = network.back(by_own)
    virial = -(pull.strain + by_strain)
    return Derivatives(pull.lattice_energy, atomic, -gradient, virial, -pull.lattice_strain)


def atomic_energies(own: Own, slope: Own) -> Float[Array, " first"]:
    r"""Energies of a rank's atoms, eV, which add up to the energy of all ranks.

    The long-range energy, that of induced moments included, is a quadratic form of the
    permanent moments m, so it is :math:`\sum_i \tfrac12 m_i\cdot\partial E/\partial m_i`. A
    field adds linear terms; the sum then differs from the energy. The linear term of
    equilibrated charges is included.

    Args:
        own: output of the network, with charges whose sum is constrained.
        slope: derivative of the energy of all ranks by it.
    """
    energies = own.short_range
    for moment, by_moment in zip(
        jax.tree.leaves(own.moments), jax.tree.leaves(slope.moments), strict=True
    ):
        energies += 0.5 * jnp.sum((moment * by_moment).reshape(len(energies), -1), axis=1)
    if own.valence is not None:
        # The term that is linear in the charges.
        energies += 0.5 * own.valence.electronegativity * slope.valence.electronegativity
    return energies


def latent_sums(
    moments: Multipoles, dtype
) -> tuple[Float[Array, " first"], Float[Array, " 3"]]:
    """Charges summed over channels, e, and the sum of all dipoles, e angstrom."""
    return summed_channels(moments.charges), sum_of_dipoles(moments.dipoles, dtype)
