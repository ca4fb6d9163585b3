"""Errors of a batch, and the loss they are weighted into."""

from collections import namedtuple
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.data.loader import Labels
from jles.models.potential import Potential
from jles.quantities.catalogue import trained_labels
from jles.quantities.evaluation import Evaluation
from jles.structures.structure import Structure
from jles.train.response_labels import nearest_branch

LABELS = tuple(trained_labels())
"""Names of the labels that a loss may contain."""

PerLabel = namedtuple("PerLabel", LABELS, defaults=(0.0,) * len(LABELS))
"""One number for every label."""


class Weights(PerLabel):
    """Weights of the mean losses; units as in `LossConfig`."""


def emphasized(weights: Weights, factors: dict[str, float] | None) -> Weights:
    """Weights that count every value of an epoch alike, see `jles.data.packing.emphasis`."""
    if factors is None:
        return weights
    return Weights(*(weight * factors[name] for name, weight in weights._asdict().items()))


class Errors(NamedTuple):
    """Sums over a batch, which add up over batches.

    Attributes:
        squares: of squared errors, by label.
        counts: of numbers compared (energies, components), by label.
        losses: of squared errors, or of Huber's where a label has a threshold; by label.
    """

    squares: PerLabel
    counts: PerLabel
    losses: PerLabel


NO_THRESHOLDS: Mapping[str, float] = MappingProxyType({})
"""Squared errors for every label."""


def huber(difference: Array, threshold: float) -> Array:
    """Huber's loss, twice the usual one: d^2 up to the threshold t, then t (2 |d| - t).

    Source: P. J. Huber, Ann. Math. Statist. 35, 73 (1964).
    """
    within = jnp.clip(difference, -threshold, threshold)
    return within * (2.0 * difference - within)


def batch_errors(
    potential: Potential,
    params,
    batch: Structure,
    labels: Labels,
    needed: Collection[str],
    thresholds: Mapping[str, float] = NO_THRESHOLDS,
) -> Errors:
    """Compares a batch with its labels; filler structures and missing labels count nothing.

    Args:
        potential: what predicts.
        params: its parameters.
        batch: structures.
        labels: of them; they hold at least what is needed.
        needed: labels to compare; static. The others are not computed; their errors are zero.
        thresholds: of Huber's loss, by label; static.
    """
    found = differences(potential, params, batch, labels, needed)
    squares = {name: jnp.sum(difference**2) for name, difference in found.items()}
    losses = squares | {
        name: jnp.sum(huber(found[name], threshold))
        for name, threshold in thresholds.items()
        if name in found
    }
    nothing = dict.fromkeys(LABELS, jnp.zeros((), labels.values["energy"].dtype))
    squares, losses = (PerLabel(**nothing | sums) for sums in (squares, losses))
    return Errors(squares, label_counts(batch, labels, needed), losses)


def differences(
    potential: Potential, params, batch: Structure, labels: Labels, needed: Collection[str]
) -> dict[str, Array]:
    """Predicted less reference of the needed labels, in their shapes; zero where none is there.

    Energies are compared per atom (eV), all else by component, the dipoles of crystals modulo
    the quantum (`nearest_branch`).
    """
    predicted = jax.vmap(lambda one: _predict(potential, params, one, needed))(batch)
    found = {}
    for name in needed:
        label = trained_labels()[name].label
        difference = predicted[name] - labels.values[name]
        if label.per_atom:
            atoms = jnp.sum(batch.mask, axis=1).astype(difference.dtype)
            difference = difference / jnp.maximum(atoms, 1.0)
        if label.modulo_quantum:
            difference = jax.vmap(nearest_branch)(difference, batch)
        found[name] = jnp.where(compared(batch, labels, name), difference, 0.0)
    return found


def _predict(potential: Potential, params, structure: Structure, needed) -> dict[str, Array]:
    """The needed labels of one structure as the model predicts them."""
    quantities = {name: trained_labels()[name] for name in needed}
    want = {quantity.name for quantity in quantities.values()}
    evaluation = Evaluation(potential, params, structure, want=want)
    return {
        name: (quantity.label.of or quantity.of)(evaluation)
        for name, quantity in quantities.items()
    }


def compared(batch: Structure, labels: Labels, name: str) -> Array:
    """True at the numbers of a label that count: of structures that have it, of real atoms."""
    label, mask = labels.values[name], labels.has[name] > 0
    axes = tuple(range(1, label.ndim))
    mask = jnp.expand_dims(mask, axes)
    if trained_labels()[name].per_atom:
        mask = mask & jnp.expand_dims(batch.mask, axes[1:])
    return jnp.broadcast_to(mask, label.shape)


def label_counts(batch: Structure, labels: Labels, needed: Collection[str]) -> PerLabel:
    """Number of values of a batch that have a label."""
    dtype = labels.values["energy"].dtype
    found = {name: jnp.sum(compared(batch, labels, name), dtype=dtype) for name in needed}
    return PerLabel(**dict.fromkeys(LABELS, jnp.zeros((), dtype)) | found)


def loss_of(
    errors: Errors, weights: Weights, counts: PerLabel | None = None
) -> Float[Array, ""]:
    """Weighted sum of mean losses; a label that no structure has contributes nothing.

    `counts` are those of the whole batch where `errors` are those of a part of it: the losses
    of the parts then add up.
    """
    terms = zip(weights, errors.losses, counts or errors.counts, strict=True)
    return sum(weight * loss / jnp.maximum(count, 1.0) for weight, loss, count in terms)


def rmse_name(name: str) -> str:
    """Name of the RMSE of a label in metrics, e.g. "energy_per_atom_rmse"."""
    per_atom = "_per_atom" if trained_labels()[name].label.per_atom else ""
    return f"{name}{per_atom}_rmse"


def root_mean_square(errors: Errors) -> dict[str, float]:
    """Plain numbers: RMSE of every label that was there, units as in `LossConfig`."""
    result = {}
    for name, square, count in zip(LABELS, errors.squares, errors.counts, strict=True):
        if float(count):
            result[rmse_name(name)] = (float(square) / float(count)) ** 0.5
    return result
