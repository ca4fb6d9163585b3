r"""Self-diffusion of every element from unwrapped positions, by Einstein's relation.

.. math:: D_e = \frac{1}{6}\,\frac{d}{dt}\,\frac{1}{N_e}\sum_{i\in e} <|r_i(t) - r_i(0)|^2>,

the slope between two times, relative to the centre of mass. Blocking over time origins gives
the error.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jles.analysis.estimators.transport import Estimate, einstein_series, estimate


def centred_positions(
    positions: Float[np.ndarray, "frames atoms 3"], masses: Float[np.ndarray, " atoms"]
) -> Float[np.ndarray, "frames atoms 3"]:
    """Positions relative to the centre of mass, which drifts under a stochastic thermostat."""
    weights = masses / masses.sum()
    return positions - np.einsum("i,fia->fa", weights, positions)[:, None]


def self_diffusion(
    numbers: Sequence[Int[np.ndarray, " atoms"]],
    paths: Sequence[Float[np.ndarray, "_ atoms 3"]],
    interval: float,
    lag: int,
) -> dict[int, Estimate]:
    """Diffusion coefficient of every element, angstrom^2/fs, by atomic number.

    Args:
        numbers: atomic numbers of each run.
        paths: unwrapped positions of each run, angstrom.
        interval: time between frames, fs.
        lag: the slope is taken between this many frames and twice as many.
    """
    found = {}
    for number in np.unique(numbers[0]):
        parts = [
            einstein_series(path[:, elements == number], interval, lag)
            for elements, path in zip(numbers, paths, strict=True)
        ]
        found[int(number)] = estimate(parts).scaled(1.0 / 3.0)
    return found
