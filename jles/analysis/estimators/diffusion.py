r"""Self-diffusion of every element from unwrapped positions, by Einstein's relation.

.. math:: D_e = \frac{1}{6}\,\frac{d}{dt}\,\frac{1}{N_e}\sum_{i\in e} <|r_i(t) - r_i(0)|^2>,

the slope between two times, relative to the centre of mass. Blocking over time origins gives
the error.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jles.analysis.estimators.transport import Estimate, einstein_series, estimate


def element_series(
    numbers: Int[np.ndarray, " atoms"],
    paths: Float[np.ndarray, "frames atoms 3"],
    interval: float,
    lag: int,
) -> dict[int, Float[np.ndarray, " origins"]]:
    """`einstein_series` summed over the atoms of every element, by atomic number.

    Args:
        numbers: atomic numbers.
        paths: unwrapped positions, angstrom.
        interval: time between frames, fs.
        lag: frames.
    """
    found = {}
    for number in np.unique(numbers):
        chosen = numbers == number
        series = einstein_series(paths[:, chosen], interval, lag)
        found[int(number)] = np.sum(chosen) * series
    return found


def diffusion_coefficient(parts: Sequence[Float[np.ndarray, " _"]]) -> Estimate:
    """From the `einstein_series` of runs, averaged over atoms, angstrom^2/fs."""
    return estimate(list(parts)).scaled(1.0 / 3.0)
