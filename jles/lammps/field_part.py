r"""The part of one rank in the coupling E . P of the charges and permanent dipoles.

Its derivative with respect to positions is that of the infinite crystal, as in
`jles.bloch.crystal_coupling`:

.. math:: F_{ib} = E_b q_i + \sum_j E\cdot(r_j - r_i) \frac{\partial q_j}{\partial r_{ib}}
    + \sum_j E\cdot\frac{\partial u_j}{\partial r_{ib}}

where a rank takes the sums over its own atoms j. It is linear in E, so that the fields along
three axes give the Born charges.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.domains.domain import Domain
from jles.domains.own_atoms import near_neighbors
from jles.electrostatics.multipoles import summed_channels
from jles.electrostatics.response.applied_field import sum_of_dipoles
from jles.electrostatics.sums.slab import slab_normal
from jles.lammps.charge_sum import ChargeSum, constrained
from jles.lammps.network_pass import evaluate_own
from jles.models.potential import Params, Potential
from jles.products import matmul, vdot
from jles.typing import Cell, Positions


class Mean(NamedTuple):
    """Means over the atoms of all ranks, which the open direction of a slab needs.

    Attributes:
        charge: latent, e.
        place: of positions, angstrom.
    """

    charge: Float[Array, ""]
    place: Float[Array, " 3"]


def field_forces(
    potential: Potential,
    params: Params,
    domain: Domain,
    positions: Positions,
    cell: Cell,
    fields: Float[Array, "fields 3"],
    mean: Mean,
    total: ChargeSum | None,
) -> Float[Array, "fields atoms 3"]:
    """Derivatives of E . P of this rank, to be added over ranks; traced.

    Args:
        potential: of a model with permanent latent moments.
        params: of the model.
        domain: of the rank.
        positions: of own atoms and ghosts, padded, angstrom.
        cell: rows are lattice vectors, angstrom.
        fields: latent, V/angstrom.
        mean: of all atoms.
        total: sum of the charges of all ranks; None where it is free. The shift of the charges
            that it causes is uniform, so it transports no charge.
    """
    fixed, _ = near_neighbors(domain, positions, cell, potential.config.backbone.cutoff)
    places, own = fixed.atom[: fixed.first], fixed.own[: fixed.first]

    def weighted(positions, wave, lift, along):
        """Charge weighted by place, in periodic directions by the phase of a wave; dipoles."""
        found = evaluate_own(potential, params, fixed, positions, cell, wave)
        charges = summed_channels(found.moments.charges)
        weight = 1.0 + matmul(lax.stop_gradient(found.places) - mean.place, lift)
        dipole = sum_of_dipoles(found.moments.dipoles, positions.dtype)
        whole = summed_channels(constrained(found, total).moments.charges)
        return jnp.sum(charges * weight) + vdot(along, dipole), whole

    origin = jnp.zeros(3, positions.dtype)

    def force(field):
        outward = _outward(field, cell, fixed.plan)
        _, slope, charges = jax.jvp(
            lambda *weights: jax.grad(weighted, has_aux=True)(positions, *weights),
            (origin, origin, origin),
            (field - outward, outward, field),
            has_aux=True,
        )
        direct = charges[:, None] * field - jnp.where(own, mean.charge, 0.0)[:, None] * outward
        return slope.at[places].add(direct)

    return jax.vmap(force)(fields)


def _outward(field, cell, plan):
    """The part of a field along the open direction of a slab; zero in a crystal."""
    if plan.slab is None:
        return jnp.zeros_like(field)
    normal, _ = slab_normal(cell, plan.slab.axis)
    return vdot(field, normal) * normal
