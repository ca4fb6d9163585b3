"""Squared errors of a batch, and the loss they are weighted into."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.data.loader import Labels
from jles.models.potential import Potential
from jles.observables.stress import energy_and_forces, energy_forces_stress
from jles.structures.structure import Structure


class Weights(NamedTuple):
    """Weights of the mean squared errors of energy per atom, forces and stress components."""

    energy: float | Float[Array, ""]
    forces: float | Float[Array, ""]
    stress: float | Float[Array, ""]


class Counts(NamedTuple):
    """How many labels there are: energies, force components, stress components."""

    energy: Float[Array, ""]
    forces: Float[Array, ""]
    stress: Float[Array, ""]


class Errors(NamedTuple):
    """Sums over a batch of squared errors and of the numbers compared; they add up over batches."""

    energy: Float[Array, ""]
    forces: Float[Array, ""]
    stress: Float[Array, ""]
    n_energy: Float[Array, ""]
    n_forces: Float[Array, ""]
    n_stress: Float[Array, ""]


def batch_errors(
    potential: Potential, params, batch: Structure, labels: Labels, with_stress: bool
) -> Errors:
    """Compares a batch with its labels; filler structures and missing labels count nothing.

    Energies are compared per atom (eV), forces (eV/angstrom) and stress (eV/angstrom^3) by
    component. `with_stress` is static: forces alone need no derivative of the cell.
    """

    def one(structure):
        def energy_fn(moved):
            return potential.energy_fn(params, moved)

        if with_stress:
            return energy_forces_stress(energy_fn, structure)
        energy, forces = energy_and_forces(energy_fn, structure)
        return energy, forces, jnp.zeros((3, 3), forces.dtype)

    energy, forces, stress = jax.vmap(one)(batch)
    atoms = jnp.sum(batch.mask, axis=1).astype(energy.dtype)
    energy_error = (energy - labels.energy) / jnp.maximum(atoms, 1.0)
    force_mask = batch.mask[..., None] * labels.has_forces[:, None, None]
    force_error = jnp.where(force_mask > 0, forces - labels.forces, 0.0)
    # Without a predicted stress there is nothing to compare, whatever the labels.
    stress_mask = labels.has_stress[:, None, None] * float(with_stress)
    return Errors(
        jnp.sum(labels.has_energy * energy_error**2),
        jnp.sum(force_error**2),
        jnp.sum(((stress - labels.stress) * stress_mask) ** 2),
        *label_counts(batch, labels, with_stress),
    )


def label_counts(batch: Structure, labels: Labels, with_stress: bool) -> Counts:
    """How many numbers of a batch have a label to be compared with."""
    atoms = jnp.sum(batch.mask, axis=1).astype(labels.energy.dtype)
    return Counts(
        jnp.sum(labels.has_energy),
        3.0 * jnp.sum(labels.has_forces * atoms),
        9.0 * jnp.sum(labels.has_stress) * float(with_stress),
    )


def loss_of(errors: Errors, weights: Weights, counts: Counts | None = None) -> Float[Array, ""]:
    """Weighted sum of mean squared errors; a label that no structure has contributes nothing.

    `counts` are those of the whole batch where `errors` are those of a part of it: the losses of
    the parts then add up.
    """
    if counts is None:
        counts = Counts(errors.n_energy, errors.n_forces, errors.n_stress)
    return (
        weights.energy * errors.energy / jnp.maximum(counts.energy, 1.0)
        + weights.forces * errors.forces / jnp.maximum(counts.forces, 1.0)
        + weights.stress * errors.stress / jnp.maximum(counts.stress, 1.0)
    )


def root_mean_square(errors: Errors) -> dict[str, float]:
    """Plain numbers: RMSE of every label that was there, units as in `batch_errors`."""
    named = {"energy": "energy_per_atom", "forces": "forces", "stress": "stress"}
    result = {}
    for name, label in named.items():
        count = float(getattr(errors, f"n_{name}"))
        if count:
            result[f"{label}_rmse"] = (float(getattr(errors, name)) / count) ** 0.5
    return result
