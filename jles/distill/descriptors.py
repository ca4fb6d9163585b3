"""A vector for every frame, from the features of its atoms."""

from collections.abc import Sequence

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Float

from jles.follow import follow
from jles.predict.model import Model


def describe_frames(model: Model, frames: Sequence[Atoms]) -> Float[np.ndarray, "frames dims"]:
    """Mean and standard deviation of the features over the atoms of every element.

    Each entry is scaled to the standard deviation one over all frames; entries that do not
    vary are left out. Elements that a frame lacks have zeros.

    Args:
        model: whose backbone gives the features; it need not be trained.
        frames: the structures.
    """
    features_fn = jax.jit(model.potential.features_fn)
    model.plan(frames)
    rows = []
    for atoms in follow(frames, "described frame"):
        with model.precision():
            features = features_fn(model.params, model.structure(atoms))
        of_atoms = np.asarray(features.invariants, np.float64)[: len(atoms)]
        rows.append(_moments(of_atoms, atoms.numbers, model.config.numbers))
    return standardized(np.array(rows))


def _moments(features: np.ndarray, numbers: np.ndarray, elements: Sequence[int]) -> np.ndarray:
    parts = []
    for element in elements:
        mine = features[numbers == element]
        if not len(mine):
            mine = np.zeros((1, features.shape[1]))
        parts += [mine.mean(axis=0), mine.std(axis=0)]
    return np.concatenate(parts)


def standardized(rows: Float[np.ndarray, "frames dims"]) -> np.ndarray:
    """Columns with zero mean and standard deviation one; constant ones are left out."""
    centred = rows - rows.mean(axis=0)
    deviation = centred.std(axis=0)
    varies = deviation > 1e-6 * np.abs(rows).max(axis=0, initial=1e-12)
    return centred[:, varies] / deviation[varies]
