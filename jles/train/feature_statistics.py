"""Constants that normalize the features, from the training data."""

import jax
import jax.numpy as jnp
import numpy as np

from jles.data.loader import Loader
from jles.data.stream import StreamLoader
from jles.models.backbones.features import EQUIVARIANT
from jles.models.potential import Potential

_CONSTANT = 1e-6
"""Features that vary by less than this, relative to their own mean, are constant."""

_VANISHING = 1e-12
"""So are features that vary by less than this, relative to the largest of all.

Invariants that vanish by symmetry are quadratic in the rounding errors: 1e-17 in rock salt. If
its atoms move by 0.05 angstrom, the smallest of 4 bodies vary by 1e-9.
"""

_VANISHING_LENGTH = 1e-7
"""Equivariant features shorter than this, relative to the largest invariant, are zero.

They are linear in the rounding errors: 4e-9 in rock salt; 1e-5 if its atoms move.
"""


def feature_statistics(
    potential: Potential, params: dict, loader: Loader | StreamLoader
) -> dict:
    """Shift and scale that give an atom's features zero mean and unit length on average.

    The whole vector of hundreds of entries has length one, so an optimizer that moves every
    weight by the learning rate moves the output by about as much. Equivariant features are
    only scaled. One pass in float64: means and squared deviations of batches are merged (Chan,
    Golub and LeVeque, Am. Stat. 37, 242 (1983)).
    """
    features_fn = jax.jit(jax.vmap(potential.features_fn, (None, 0)))

    def blocks():
        for batch in loader.epoch(None):
            values = features_fn(params, batch.structure)
            mask = np.asarray(batch.structure.mask)
            yield jax.tree.map(
                lambda leaf, mask=mask: np.asarray(leaf, np.float64)[mask], values
            )

    count, mean, spread = 0, 0.0, 0.0
    squares = dict.fromkeys(EQUIVARIANT, 0.0)
    for block in blocks():
        values, before = block.invariants, count
        count += len(values)
        change = values.mean(axis=0) - mean
        mean = mean + change * len(values) / count
        spread = spread + ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        spread = spread + change**2 * before * len(values) / count
        for name in EQUIVARIANT:
            turning = getattr(block, name)
            if turning is not None:
                flat = turning.reshape(*turning.shape[:2], -1)
                squares[name] = squares[name] + (flat**2).sum(axis=(0, 2))
    lengths = {
        name: np.sqrt(squares[name] / count)
        for name in EQUIVARIANT
        if f"{name}_scale" in params["features"]
    }
    dtype = params["features"]["mean"].dtype
    constants = normalizing_constants(mean, np.sqrt(spread / count), lengths)
    return {name: jnp.asarray(value, dtype) for name, value in constants.items()}


def normalizing_constants(mean, deviation, lengths: dict) -> dict:
    """Shift and scale of the features from their statistics over atoms.

    In crystals of high symmetry many features vanish or are the same for all atoms; what is
    left are rounding errors. Divided by them, the features of an atom that moves would be huge.
    Such features are divided by the largest invariant instead.

    Args:
        mean: of every invariant.
        deviation: standard deviation of every invariant.
        lengths: root mean square of every equivariant feature, by the names in `EQUIVARIANT`.
    """
    largest = max(np.abs(mean).max(), deviation.max())
    least = np.maximum(_CONSTANT * np.abs(mean), _VANISHING * largest)
    constants = {"mean": mean, "scale": _inverse(deviation, least, largest)}
    for name, length in lengths.items():
        longest = length.max(initial=0.0)
        least = max(_CONSTANT * longest, _VANISHING_LENGTH * largest)
        constants[f"{name}_scale"] = _inverse(length, least, max(largest, longest))
    return constants


def _inverse(sizes, least, largest):
    """1/(size sqrt(number of sizes)); sizes that do not exceed `least` count as `largest`."""
    sizes = np.where(sizes > least, sizes, largest or 1.0)
    return 1.0 / (sizes * np.sqrt(len(sizes)))
