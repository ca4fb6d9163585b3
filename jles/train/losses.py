"""Squared errors of a batch, and the loss they are weighted into."""

from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.data.loader import Labels
from jles.models.potential import Potential
from jles.observables.stress import energy_and_forces, energy_forces_stress
from jles.structures.structure import Structure
from jles.train.response_labels import nearest_branch, predict_responses

Number = float | Float[Array, ""]


class PerLabel(NamedTuple):
    """One number for every label."""

    energy: Number
    forces: Number
    stress: Number
    born_charges: Number = 0.0
    dipole: Number = 0.0
    polarizability: Number = 0.0


class Weights(PerLabel):
    """Weights of the mean squared errors; units as in `LossConfig`."""


class Counts(PerLabel):
    """How many numbers there are to be compared: energies, components."""


class Errors(NamedTuple):
    """Sums over a batch of squared errors and of the numbers compared; they add up over batches."""

    energy: Number
    forces: Number
    stress: Number
    n_energy: Number
    n_forces: Number
    n_stress: Number
    born_charges: Number = 0.0
    dipole: Number = 0.0
    polarizability: Number = 0.0
    n_born_charges: Number = 0.0
    n_dipole: Number = 0.0
    n_polarizability: Number = 0.0


LABELS = PerLabel._fields
_OF_ATOMS = {"forces", "born_charges"}


def batch_errors(
    potential: Potential, params, batch: Structure, labels: Labels, needed: Collection[str]
) -> Errors:
    """Compares a batch with its labels; filler structures and missing labels count nothing.

    Args:
        potential: what predicts.
        params: its parameters.
        batch: structures.
        labels: of them; they hold at least what is needed.
        needed: labels to compare; static, the others are not computed and their errors are zero.
    """
    squares = {
        name: jnp.sum(difference**2)
        for name, difference in differences(potential, params, batch, labels, needed).items()
    }
    counts = label_counts(batch, labels, needed)._asdict()
    nothing = dict.fromkeys(LABELS, jnp.zeros((), labels.energy.dtype))
    return Errors(**nothing | squares, **{f"n_{name}": count for name, count in counts.items()})


def differences(
    potential: Potential, params, batch: Structure, labels: Labels, needed: Collection[str]
) -> dict[str, Array]:
    """Predicted less reference of the needed labels, in their shapes; zero where none is there.

    Energies are compared per atom (eV), all else by component, the dipoles of crystals modulo the
    quantum (`nearest_branch`).
    """
    predicted = jax.vmap(lambda one: _predict(potential, params, one, needed))(batch)
    found = {}
    for name in needed:
        difference = predicted[name] - getattr(labels, name)
        if name == "energy":
            atoms = jnp.sum(batch.mask, axis=1).astype(difference.dtype)
            difference = difference / jnp.maximum(atoms, 1.0)
        if name == "dipole":
            difference = jax.vmap(nearest_branch)(difference, batch)
        found[name] = jnp.where(compared(batch, labels, name), difference, 0.0)
    return found


def _predict(potential: Potential, params, structure: Structure, needed) -> dict[str, Array]:
    """What the model says of the needed labels of one structure, and what comes with it."""

    def energy_fn(moved):
        return potential.energy_fn(params, moved)

    values = predict_responses(potential, params, structure, needed)
    if "stress" in needed:
        return values | energy_forces_stress(energy_fn, structure)._asdict()
    # Forces alone need no derivative of the cell.
    if "forces" in needed:
        energy, forces = energy_and_forces(energy_fn, structure)
        return values | {"energy": energy, "forces": forces}
    if "energy" in needed:
        return values | {"energy": energy_fn(structure)}
    return values


def compared(batch: Structure, labels: Labels, name: str) -> Array:
    """True at the numbers of a label that count: of structures that have it, of real atoms."""
    label, mask = getattr(labels, name), getattr(labels, f"has_{name}") > 0
    axes = tuple(range(1, label.ndim))
    mask = jnp.expand_dims(mask, axes)
    if name in _OF_ATOMS:
        mask = mask & jnp.expand_dims(batch.mask, axes[1:])
    return jnp.broadcast_to(mask, label.shape)


def label_counts(batch: Structure, labels: Labels, needed: Collection[str]) -> Counts:
    """How many numbers of a batch have a label to be compared with."""
    dtype = labels.energy.dtype
    found = {name: jnp.sum(compared(batch, labels, name), dtype=dtype) for name in needed}
    return Counts(**dict.fromkeys(LABELS, jnp.zeros((), dtype)) | found)


def loss_of(errors: Errors, weights: Weights, counts: Counts | None = None) -> Float[Array, ""]:
    """Weighted sum of mean squared errors; a label that no structure has contributes nothing.

    `counts` are those of the whole batch where `errors` are those of a part of it: the losses of
    the parts then add up.
    """
    if counts is None:
        counts = Counts(*(getattr(errors, f"n_{name}") for name in LABELS))
    return sum(
        getattr(weights, name) * getattr(errors, name) / jnp.maximum(getattr(counts, name), 1.0)
        for name in LABELS
    )


def root_mean_square(errors: Errors) -> dict[str, float]:
    """Plain numbers: RMSE of every label that was there, units as in `LossConfig`."""
    result = {}
    for name in LABELS:
        count = float(getattr(errors, f"n_{name}"))
        if count:
            label = "energy_per_atom" if name == "energy" else name
            result[f"{label}_rmse"] = (float(getattr(errors, name)) / count) ** 0.5
    return result
