"""Element energies of a model that is trained further."""

import jax
import numpy as np

from jles.data.loader import Loader
from jles.data.offsets import fit_fractions
from jles.data.stream import StreamLoader
from jles.models.potential import Potential


def fit_rest(
    potential: Potential, params: dict, loader: Loader | StreamLoader
) -> dict[str, float]:
    """Element energies (eV) that fit best what the network leaves of the labels.

    One pass over all frames. The labels of the loader are energies less the element energies of
    the model; the result is to be added to those. Frames on which the network is not finite are
    left out.

    Args:
        potential: the model.
        params: of it.
        loader: of the training frames.
    """
    energy_fn = jax.jit(jax.vmap(potential.energy_fn, (None, 0)))
    numbers = potential.config.numbers
    fractions, rest = [np.zeros((0, len(numbers)))], [np.zeros(0)]
    for structure, labels, *_ in loader.epoch(None):
        mask = np.asarray(structure.mask)
        atoms = np.maximum(mask.sum(axis=1), 1)
        left = np.asarray(labels.values["energy"], np.float64)
        left = left - np.asarray(energy_fn(params, structure), np.float64)
        use = (np.asarray(labels.has["energy"]) > 0) & np.isfinite(left)
        kinds = np.where(mask, np.asarray(structure.numbers), 0)
        counts = (kinds[:, :, None] == np.array(numbers)).sum(axis=1)
        fractions.append(counts[use] / atoms[use, None])
        rest.append(left[use] / atoms[use])
    return fit_fractions(np.concatenate(fractions), np.concatenate(rest), numbers)
