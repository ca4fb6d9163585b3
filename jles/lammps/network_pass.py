"""The network applied to the domain of one rank, with its way back."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.domains.domain import Domain
from jles.domains.own_atoms import near_neighbors, own_atoms
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response.induction import Response
from jles.models.latent import charge_weights
from jles.models.potential import Params, Potential
from jles.products import matmul
from jles.typing import Cell, Positions


class Valence(NamedTuple):
    """What charges are equilibrated by.

    Attributes:
        electronegativity: V; zero on padding.
        hardness: V/e; one on padding.
        present: one for atoms, zero on padding.
    """

    electronegativity: Float[Array, " first"]
    hardness: Float[Array, " first"]
    present: Float[Array, " first"]


class Own(NamedTuple):
    """Network output of the first rows, which hold the own atoms.

    Attributes:
        short_range: energies, eV, zero for padding.
        places: positions, angstrom.
        moments: permanent; None without latent charges.
        response: of the moments; None without one.
        weights: shares of the charges in what is missing in their sum; None where the sum is
            free.
        valence: of charges that are equilibrated, which are no output of the network; None for
            others.
    """

    short_range: Float[Array, " first"]
    places: Positions
    moments: Multipoles | None
    response: Response | None
    weights: Array | None
    valence: Valence | None


class NetworkPass(NamedTuple):
    """Network output of one rank, and the way back.

    Attributes:
        own: of the first rows; charges before their sum is constrained.
        crowd: neighbours within the cutoff of the row that has most; if they exceed
            `Domain.near`, the output is wrong.
        back: derivative by `own` -> (by positions, by strain).
    """

    own: Own
    crowd: Int[Array, ""]
    back: Callable


def network_pass(
    potential: Potential, params: Params, domain: Domain, positions: Positions, cell: Cell
) -> NetworkPass:
    """Applies the network to the domain of one rank; traced.

    Args:
        potential: of a model that `jles.lammps.refusals` accepts.
        params: of the model.
        domain: lists of the rank.
        positions: of own atoms and ghosts, padded, angstrom.
        cell: rows are lattice vectors, angstrom.
    """
    cutoff = potential.config.backbone.cutoff
    fixed, crowd = near_neighbors(domain, positions, cell, cutoff)

    def network(positions, strain):
        deform = deformation(strain)
        moved = matmul(positions, deform), matmul(cell, deform)
        return evaluate_own(potential, params, fixed, *moved)

    own, back = jax.vjp(network, positions, jnp.zeros((3, 3), positions.dtype))
    return NetworkPass(own, crowd, back)


def evaluate_own(
    potential: Potential,
    params: Params,
    domain: Domain,
    positions: Positions,
    cell: Cell,
    bloch: Float[Array, " 3"] | None = None,
) -> Own:
    """The output for a domain with the neighbours within the cutoff.

    Derivatives are Bloch-weighted where `bloch` is given, see `jles.bloch.weighted`. Other
    arguments are those of `network_pass`.
    """
    own = own_atoms(potential, params, domain, positions, cell, bloch)
    charges, weights = potential.config.charges, None
    if own.valence is not None:
        electronegativity, hardness = own.valence
        valence = Valence(
            jnp.where(own.mask, electronegativity, 0.0),
            jnp.where(own.mask, hardness, 1.0),
            own.mask.astype(hardness.dtype),
        )
        return Own(own.short_range, own.places, None, None, None, valence)
    if charges is not None and charges.total != "free":
        softness = None if own.response is None else own.response.charge_softness
        weights = charge_weights(own.moments.charges, softness, own.mask, charges.total)
    return Own(own.short_range, own.places, own.moments, own.response, weights, None)


def deformation(strain: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """1 + strain, symmetrized."""
    return jnp.eye(3, dtype=strain.dtype) + 0.5 * (strain + strain.T)
