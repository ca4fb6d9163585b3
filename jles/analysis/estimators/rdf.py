r"""Radial distribution functions and coordination numbers by pair of elements.

.. math:: g_{AB}(r) = \frac{V}{N_A (N_B - \delta_{AB})}
    \frac{<\sum_{i\in A}\sum_{j\in B, j\ne i} 1[r \le r_{ij} < r + \Delta]>}
         {\tfrac{4\pi}{3}[(r+\Delta)^3 - r^3]},
    \qquad n_{AB}(r) = \frac{1}{N_A} <\#\{(i, j): r_{ij} < r\}>,

so an ideal gas of a fixed number of atoms has g = 1. All periodic images are counted, except
images of the atom itself. Beyond half the smallest height of the cell several images of one
atom are counted, which are correlated; the default stops there.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jles.analysis.estimators.blocks import block_average, pooled


class Distribution(NamedTuple):
    """g and coordination number of one pair of elements."""

    radii: Float[np.ndarray, " bins"]
    """Centres of the bins, angstrom."""
    mean: Float[np.ndarray, " bins"]
    error: Float[np.ndarray, " bins"]
    coordination: Float[np.ndarray, " bins"]
    """Atoms of the second element within the outer edge of each bin about one of the first."""
    converged: Bool[np.ndarray, " bins"]
    """Whether the errors are more than lower bounds, see `Pooled`."""


def half_height(cell: Float[np.ndarray, "3 3"]) -> float:
    """Half the smallest distance between opposite faces, angstrom."""
    return float(0.5 / np.max(np.linalg.norm(np.linalg.inv(cell), axis=0)))


def pair_counts(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    kinds,
    edges: Float[np.ndarray, " edges"],
) -> Int[np.ndarray, "kinds kinds bins"]:
    """Ordered pairs by kinds of the two atoms and by distance, without images of the same atom.

    Args:
        positions: Cartesian, angstrom; need not be wrapped.
        cell: rows are lattice vectors, angstrom, periodic in all directions.
        kinds: an integer from 0 for each atom.
        edges: of the bins, equally spaced from 0, angstrom.
    """
    from vesin import NeighborList

    # Atoms far outside the cell would lose digits in the search.
    wrapped = np.mod(positions @ np.linalg.inv(cell), 1.0) @ cell
    search = NeighborList(cutoff=float(edges[-1]), full_list=True)
    i, j, distances = search.compute(wrapped, cell, True, "ijd")
    count, bins = int(np.max(kinds)) + 1, len(edges) - 1
    slot = np.minimum((distances / edges[1]).astype(int), bins - 1)
    flat = (kinds[i] * count + kinds[j]) * bins + slot
    others = i != j
    return np.bincount(flat[others], minlength=count * count * bins).reshape(count, count, bins)


def ideal_counts(populations, volume: float, edges) -> Float[np.ndarray, "kinds kinds bins"]:
    """Mean pair counts of an ideal gas of the same composition."""
    numbers = np.asarray(populations, float)
    pairs = numbers[:, None] * (numbers - np.eye(len(numbers)))
    return pairs[:, :, None] * (4.0 * np.pi / 3.0) * np.diff(edges**3) / volume


def distributions(
    counts: list[Float[np.ndarray, "_ kinds kinds bins"]],
    ideal: list[Float[np.ndarray, "_ kinds kinds bins"]],
    populations,
    edges: Float[np.ndarray, " edges"],
) -> dict[tuple[int, int], Distribution]:
    """Averages over the frames of runs, with errors from blocking each bin.

    Args:
        counts: pairs of each frame, by run.
        ideal: of an ideal gas in the volume of each frame.
        populations: atoms of each kind.
        edges: of the bins, angstrom.
    """
    radii = 0.5 * (edges[1:] + edges[:-1])
    found = {}
    for a, b in combinations_with_replacement(range(len(populations)), 2):
        if a == b and populations[a] < 2:
            continue
        parts = [
            count[:, a, b] / gas[:, a, b] for count, gas in zip(counts, ideal, strict=True)
        ]
        g = pooled([block_average(part) for part in parts], [len(part) for part in parts])
        within = np.mean(np.concatenate([count[:, a, b] for count in counts]), axis=0)
        coordination = np.cumsum(within) / populations[a]
        found[a, b] = Distribution(radii, g.mean, g.error, coordination, g.converged)
    return found


def first_shell(pair: Distribution) -> tuple[float, float, float]:
    """Radii of the highest maximum and of the minimum behind it; neighbours up to there."""
    top = int(np.argmax(pair.mean))
    bottom = top + int(np.argmin(pair.mean[top:]))
    return float(pair.radii[top]), float(pair.radii[bottom]), float(pair.coordination[bottom])
