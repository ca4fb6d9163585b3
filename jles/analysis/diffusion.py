r"""Self-diffusion of every element from unwrapped positions, by Einstein's relation.

.. math:: D_e = \frac{1}{6}\,\frac{d}{dt}\,\frac{1}{N_e}\sum_{i\in e} <|r_i(t) - r_i(0)|^2>,

the slope between two times, relative to the centre of mass; the error by blocking over origins.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.analysis.run import Record, Run
from jles.analysis.transport import Estimate, einstein_series, estimate


def centred_positions(run: Run, record: Record) -> Float[np.ndarray, "frames atoms 3"]:
    """Positions relative to the centre of mass, angstrom; it may drift under a thermostat."""
    weights = run.masses / run.masses.sum()
    return record.values - np.einsum("i,fia->fa", weights, record.values)[:, None]


def self_diffusion(
    runs: Sequence[Run],
    paths: Sequence[Float[np.ndarray, "frames atoms 3"]],
    interval: float,
    lag: int,
) -> dict[int, Estimate]:
    """Diffusion coefficient of every element, angstrom^2/fs.

    Args:
        runs: where the paths come from.
        paths: unwrapped positions of each run.
        interval: fs.
        lag: the slope is taken between this many frames and twice as many.
    """
    found = {}
    for number in np.unique(runs[0].numbers):
        parts = [
            einstein_series(path[:, run.numbers == number], interval, lag)
            for run, path in zip(runs, paths, strict=True)
        ]
        found[int(number)] = estimate(parts).scaled(1.0 / 3.0)
    return found
