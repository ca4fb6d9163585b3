"""Nosé-Hoover chains of jax-md, with the settings that every integrator here uses."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jles.products import vdot
from jles.typing import Scalar


def degrees_of_freedom(atoms: int, conserved_momentum: bool) -> int:
    """3N, or 3N - 3 if the total momentum is conserved.

    In a field it is not conserved if there is a total charge.
    """
    return 3 * atoms - 3 if conserved_momentum and atoms > 1 else 3 * atoms


def nose_hoover_chain(timestep: Scalar, time: Scalar):
    """jax-md's functions for a chain of five, two substeps of order 3 each.

    Args:
        timestep: of the integrator.
        time: of the thermostat, in the same unit.
    """
    from jax_md import simulate

    return simulate.nose_hoover_chain(timestep, 5, 2, 3, time)


def start_chain(chain_fns, degrees: int, kinetic: Array, kT: Scalar):
    """A chain at rest, in the dtype of the kinetic energy."""
    chain = chain_fns.initialize(degrees, kinetic, kT)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, kinetic.dtype), chain)


def chain_energy(chain, kT) -> Array:
    r""":math:`\sum_k p_k^2/2Q_k + kT(N_f\xi_1 + \xi_2 + \dots)`, eV."""
    weights = jnp.ones_like(chain.position).at[0].set(chain.degrees_of_freedom)
    kinetic = jnp.sum(chain.momentum**2 / (2.0 * chain.mass))
    return kinetic + vdot(kT * weights, chain.position)


def keep_dtypes(before, after):
    """`after`, every leaf cast to the dtype of the same leaf of `before`, as a loop needs."""
    return jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), before, after)
