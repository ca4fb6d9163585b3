r"""Latent charges whose sum over all ranks is the total charge Q.

.. math:: q_i = q^0_i + \frac{w_i}{W} M, \quad M = Q - \sum_j q^0_j, \quad W = \sum_j w_j

with the charges :math:`q^0` and the weights w that the network of a rank gives. M and W are
sums over ranks (`charge_sum`). So is the derivative of the energy by M and W, which then goes
back through the network of each rank.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.lammps.network_pass import Own


class ChargeSum(NamedTuple):
    """M (e) and W (one a charge, or e/V), see above; of a rank without Q."""

    missing: Float[Array, ""]
    weight: Float[Array, ""]


def charge_sum(own: Own) -> ChargeSum | None:
    """The part of one rank; None where the sum is free. Traced."""
    if own.weights is None:
        return None
    return ChargeSum(-jnp.sum(own.moments.charges), jnp.sum(own.weights))


def constrained(own: Own, total: ChargeSum | None) -> Own:
    """The same output with charges that sum to Q over all ranks; traced.

    Args:
        own: of a rank.
        total: of all ranks, with Q; None where the sum is free.
    """
    if total is None:
        return own
    share = total.missing / jnp.where(total.weight > 0.0, total.weight, 1.0)
    charges = own.moments.charges + share * own.weights
    return own._replace(moments=own.moments._replace(charges=charges))
