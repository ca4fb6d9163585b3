"""Energy, forces and stress of a structure by one reverse pass."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.products import matmul
from jles.structures.structure import Structure
from jles.typing import Cell, Positions


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

    with the symmetric part of the strain. Tension is positive, as in ASE. In a field the
    voltages across the cell, :math:`E\cdot a_k`, are fixed under strain, as between electrodes.
    The result then does not depend on the branch of the polarization.

    Args:
        energy_fn: `structure -> eV`, or `(structure, field) -> eV` where there is a field.
        structure: one crystal, slab or cluster.
        field: V/angstrom.

    Source of the field's part: Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009).
    """

    def energy_at(positions, cell, *field):
        return energy_fn(replace(structure, positions=positions, cell=cell), *field)

    energy = strained(energy_at, structure.cell, field)
    strain = jnp.zeros((3, 3), structure.positions.dtype)
    value, (gradient, virial) = jax.value_and_grad(energy, (0, 1))(structure.positions, strain)
    volume = jnp.abs(jnp.linalg.det(structure.cell))
    stress = jnp.where(structure.periodic, virial / volume, 0.0)
    return Derivatives(value, -gradient, stress)


def strained(
    energy_fn: Callable[..., Array], cell: Cell, field: Float[Array, " 3"] | None = None
) -> Callable[[Positions, Float[Array, "3 3"]], Array]:
    r"""An energy of positions and strain, :math:`r \to r(1+\epsilon)`, voltages fixed.

    Args:
        energy_fn: `(positions, cell) -> eV`, or `(positions, cell, field) -> eV` in a field.
        cell: rows are lattice vectors, angstrom; strained with the positions.
        field: V/angstrom; under strain it changes such that :math:`E\cdot a_k` stays fixed.

    Returns:
        `(positions, strain) -> eV`; only the symmetric part of the strain counts.
    """

    def energy(positions, strain):
        deform = jnp.eye(3, dtype=strain.dtype) + 0.5 * (strain + strain.T)
        seen = () if field is None else (jnp.linalg.solve(deform, field),)
        return energy_fn(matmul(positions, deform), matmul(cell, deform), *seen)

    return energy
