"""The network applied to one domain; traced."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jles.bloch.weighted import bloch_weight, bloch_weighted
from jles.domains.domain import Domain
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response.induction import Response
from jles.models.potential import Params, Potential
from jles.products import matmul
from jles.structures.prune import near_slots
from jles.structures.skin import ROUNDING
from jles.structures.structure import Structure
from jles.typing import Cell, Positions


class OwnAtoms(NamedTuple):
    """Network output of the first rows, which hold the own atoms.

    Attributes:
        short_range: energies, eV, zero for padding.
        places: positions, angstrom.
        mask: False for padding.
        moments: permanent, zero for padding; None without latent charges.
        response: of the moments; None without one.
        valence: see `OwnParts`.
    """

    short_range: Float[Array, " first"]
    places: Positions
    mask: Bool[Array, " first"]
    moments: Multipoles | None
    response: Response | None
    valence: tuple[Float[Array, " first"], Float[Array, " first"]] | None


def own_atoms(
    potential: Potential,
    params: Params,
    domain: Domain,
    positions: Positions,
    cell: Cell,
    bloch: Float[Array, " 3"] | None = None,
) -> OwnAtoms:
    """Applies the network to the rows of a domain.

    Args:
        potential: of a model whose atoms see their surroundings alone.
        params: of the model.
        domain: with the neighbours within the cutoff, see `near_neighbors`.
        positions: those that the domain refers to, angstrom.
        cell: rows are lattice vectors, angstrom.
        bloch: t, 1/angstrom, for Bloch-weighted derivatives, see `jles.bloch.weighted`.
    """
    places = positions[domain.atom]
    neighbors = positions[domain.neighbor]
    neighbors = neighbors + matmul(domain.shift.astype(cell.dtype), cell)
    if bloch is not None:
        weight = bloch_weight(neighbors - places[:, None], bloch)
        neighbors = bloch_weighted(neighbors, weight)
    structure = Structure(
        positions=places,
        cell=cell,
        numbers=domain.numbers,
        mask=domain.own,
        neighbor_index=domain.sender,
        neighbor_shift=domain.shift,
        neighbor_mask=domain.present,
        total_charge=jnp.zeros((), cell.dtype),
        periodic=jnp.ones((), bool),
        open_axis=jnp.full((), -1, jnp.int32),
        slab_height=jnp.ones((), cell.dtype),
        plan=domain.plan,
    )
    own = potential.own_parts_fn(params, structure, neighbors, bloch)
    latent = own.moments, own.response, own.valence
    found = OwnAtoms(own.short_range, places, domain.own, *latent)
    first = domain.first
    return jax.tree.map(lambda array: array[:first] if array.ndim else array, found)


def near_neighbors(
    domain: Domain, positions: Positions, cell: Cell, cutoff: float
) -> tuple[Domain, Int[Array, ""]]:
    """The domain with the neighbours within the cutoff alone, and the most that a row has."""
    places = positions[domain.neighbor] + matmul(domain.shift.astype(cell.dtype), cell)
    vectors = lax.stop_gradient(places - positions[domain.atom][:, None])
    squared = jnp.sum(vectors**2, axis=-1)
    counted = domain.present & (squared < (cutoff * ROUNDING) ** 2)
    source, filled = near_slots(domain.present & (squared < cutoff**2), domain.near)
    itself = jnp.arange(len(domain.own), dtype=domain.sender.dtype)[:, None]

    def taken(array):
        return jnp.take_along_axis(array, source, axis=1)

    pruned = replace(
        domain,
        neighbor=taken(domain.neighbor),
        sender=jnp.where(filled, taken(domain.sender), itself),
        shift=jnp.take_along_axis(domain.shift, source[..., None], axis=1),
        present=filled,
    )
    return pruned, jnp.max(jnp.sum(counted, axis=1))
