r"""The part of one rank in energy, forces and virial.

The energy of a crystal is

.. math:: E = \sum_r E_r(x) + E_k\Big(\sum_r S_r(x)\Big)

with the energy :math:`E_r` of the own atoms of rank r (short range, less the self-energy of
their moments), their part :math:`S_r` of the structure factor, and the energy of the lattice
sum :math:`E_k`. Each rank computes :math:`E_r, S_r` (`own_part`). The sum over ranks S is the
only quantity that all ranks need. With it each rank computes :math:`E_k` and its derivative
:math:`\partial E_k/\partial S`, which goes back through the network of the rank
(`derivatives`). The result is the derivative with respect to the positions of own atoms and
ghosts; the ranks exchange those of ghosts.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.domains.domain import Domain
from jles.domains.own_atoms import near_neighbors, own_atoms
from jles.domains.rank_sums import RankSums, energy_of_rank_sums, rank_sums
from jles.electrostatics.multipoles import Multipoles, self_energy, summed_channels
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.response.applied_field import sum_of_dipoles
from jles.electrostatics.response.induction import Response
from jles.models.config import ElectrostaticsConfig
from jles.models.potential import Params, Potential
from jles.products import matmul
from jles.typing import Cell, Positions


class OwnPart(NamedTuple):
    """The part of one rank, and what its derivatives need.

    Attributes:
        energy: E_r, eV.
        sums: S_r, the part of the structure factor.
        charges: latent charges of the first rows, e, summed over channels; zero without.
        dipole: sum of their latent dipoles, e angstrom; zero without.
        crowd: neighbours within the cutoff of the row that has most; if they exceed
            `Domain.near`, the part is wrong.
        back: `(derivative by E_r, derivative by S_r) -> (by positions, by strain)`.
    """

    energy: Float[Array, ""]
    sums: RankSums
    charges: Float[Array, " first"]
    dipole: Float[Array, " 3"]
    crowd: Int[Array, ""]
    back: Callable


class Derivatives(NamedTuple):
    """Derivatives of the energy of all ranks.

    Attributes:
        lattice_energy: E_k, eV; the same on every rank.
        forces: of own atoms and ghosts, eV/angstrom; to be added over ranks.
        virial: -dE/dstrain of the atoms of the rank, eV, to be added over ranks.
        lattice_virial: the same of E_k at fixed S; the same on every rank.
    """

    lattice_energy: Float[Array, ""]
    forces: Float[Array, "atoms 3"]
    virial: Float[Array, "3 3"]
    lattice_virial: Float[Array, "3 3"]


def own_part(
    potential: Potential, params: Params, domain: Domain, positions: Positions, cell: Cell
) -> OwnPart:
    """The part of one rank; traced.

    Args:
        potential: of a model that `jles.lammps.refusals` accepts.
        params: of the model.
        domain: lists of the rank.
        positions: of own atoms and ghosts, padded, angstrom.
        cell: rows are lattice vectors, angstrom.
    """
    config = potential.config
    fixed, near = near_neighbors(domain, positions, cell, config.backbone.cutoff)

    def parts(positions, strain):
        deform = deformation(strain)
        moved = matmul(positions, deform), matmul(cell, deform)
        return _parts(potential, params, fixed, *moved)

    strain = jnp.zeros((3, 3), positions.dtype)
    (energy, sums), back, moments = jax.vjp(parts, positions, strain, has_aux=True)
    return OwnPart(energy, sums, *moments, near, back)


def derivatives(
    part: OwnPart,
    sums: RankSums,
    cell: Cell,
    plan: SumPlan,
    config: ElectrostaticsConfig,
) -> Derivatives:
    """Derivatives of the energy of all ranks; traced.

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
    gradient, by_strain = part.back((jnp.ones_like(part.energy), slopes[0]))
    return Derivatives(energy, -gradient, -by_strain, -slopes[1])


class Own(NamedTuple):
    """Network output of the first rows, which hold the own atoms.

    Attributes:
        energy: short range, less the self-energy of the moments where the model removes it, eV.
        places: positions, angstrom.
        moments: permanent; None without latent charges.
        response: of the moments; None without one.
    """

    energy: Float[Array, ""]
    places: Positions
    moments: Multipoles | None
    response: Response | None


def _parts(potential, params, domain: Domain, positions, cell):
    """(E_r, S_r), and the charges of the first rows with the sum of their dipoles."""
    own = evaluate_own(potential, params, domain, positions, cell)
    if own.moments is None:
        nothing = jnp.zeros(domain.first, cell.dtype), jnp.zeros(3, cell.dtype)
        return (own.energy, RankSums(None, None)), nothing
    config = potential.config.electrostatics
    sums = rank_sums(own.moments, own.places, cell, domain.plan, config)
    dipole = sum_of_dipoles(own.moments.dipoles, cell.dtype)
    return (own.energy, sums), (summed_channels(own.moments.charges), dipole)


def evaluate_own(
    potential: Potential,
    params: Params,
    domain: Domain,
    positions: Positions,
    cell: Cell,
    bloch: Float[Array, " 3"] | None = None,
) -> Own:
    """Applies the network to the rows of a domain; arguments as of `own_part`.

    Derivatives are Bloch-weighted where `bloch` is given, see `jles.bloch.weighted`.
    """
    own = own_atoms(potential, params, domain, positions, cell, bloch)
    energy, moments = own.short_range, own.moments
    config = potential.config.electrostatics
    if moments is not None and config.remove_self:
        energy = energy - config.self_terms * self_energy(moments, config.sigma)
    return Own(energy, own.places, moments, own.response)


def deformation(strain: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """1 + strain, symmetrized."""
    return jnp.eye(3, dtype=strain.dtype) + 0.5 * (strain + strain.T)
