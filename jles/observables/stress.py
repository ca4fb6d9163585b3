"""Energy, forces and stress of a structure by one reverse pass."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.structures.structure import Structure


class Derivatives(NamedTuple):
    """Energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3; zero for clusters)."""

    energy: Float[Array, ""]
    forces: Float[Array, "atoms 3"]
    stress: Float[Array, "3 3"]


def energy_and_forces(energy_fn: Callable[[Structure], Array], structure: Structure):
    """Energy (eV) and forces (eV/angstrom) of `energy_fn` at `structure`."""

    def energy(positions):
        return energy_fn(replace(structure, positions=positions))

    value, gradient = jax.value_and_grad(energy)(structure.positions)
    return value, -gradient


def energy_forces_stress(
    energy_fn: Callable[..., Array],
    structure: Structure,
    field: Float[Array, " 3"] | None = None,
) -> Derivatives:
    r"""All first derivatives of an energy, positions and strain together.

    .. math:: F_i = -\partial E/\partial r_i, \quad
              \sigma = \frac1V \partial E/\partial\epsilon, \quad r \to r(1+\epsilon)

    with the symmetric part of the strain; tension is positive, as in ASE. In a field the voltages
    across the cell, :math:`E\cdot a_k`, stay as they are while it is strained, as between
    electrodes: the answer then does not depend on the branch of the polarization.

    Args:
        energy_fn: `structure -> eV`, or `(structure, field) -> eV` where there is a field.
        structure: one crystal, slab or cluster.
        field: V/angstrom.

    Source of the field's part: Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009).
    """

    def energy(positions, strain):
        deform = strained(strain)
        moved = replace(structure, positions=positions @ deform, cell=structure.cell @ deform)
        return energy_fn(moved, *(() if field is None else (jnp.linalg.solve(deform, field),)))

    strain = jnp.zeros((3, 3), structure.positions.dtype)
    value, (gradient, virial) = jax.value_and_grad(energy, (0, 1))(structure.positions, strain)
    volume = jnp.abs(jnp.linalg.det(structure.cell))
    stress = jnp.where(structure.periodic, virial / volume, 0.0)
    return Derivatives(value, -gradient, stress)


def strained(strain: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """What positions and cell are multiplied by, of the symmetric part of a strain."""
    return jnp.eye(3, dtype=strain.dtype) + 0.5 * (strain + strain.T)
