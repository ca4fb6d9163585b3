"""Error of the mean of a correlated series by blocking, with automatic block length."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_FEWEST_BLOCKS = 4


class BlockAverage(NamedTuple):
    """Mean of a series over its first axis, and its error from blocking."""

    mean: Float[np.ndarray, "*shape"]
    error: Float[np.ndarray, "*shape"]
    """Standard error; NaN for fewer than two frames."""
    block: Int[np.ndarray, "*shape"]
    """Frames per block, a power of two."""
    converged: Bool[np.ndarray, "*shape"]
    """Whether the error reached a plateau; if not, it is a lower bound."""


def block_average(series: Float[np.ndarray, "frames *shape"]) -> BlockAverage:
    r"""Mean and standard error of each column of a stationary, correlated series.

    Neighbouring frames are averaged in pairs, repeatedly (Flyvbjerg and Petersen, J. Chem.
    Phys. 91, 461 (1989)). Blocks of B frames give the estimate

    .. math:: \epsilon_B^2 = \frac{s_B^2}{n/B},

    which rises to a plateau once the blocks are uncorrelated. The plateau is taken at the first
    B with B^3 > 2 n (eps_B / eps_1)^4, where bias and noise of the estimate are balanced (Lee,
    Conduit, Nemec, Lopez Rios, Drummond, Phys. Rev. E 83, 066706 (2011)).
    """
    frames = len(series)
    if frames < 2:
        missing = np.full(series.shape[1:], np.nan)
        return BlockAverage(
            np.asarray(np.mean(series, axis=0)),
            missing,
            np.ones_like(missing, dtype=int),
            np.zeros_like(missing, dtype=bool),
        )
    variances = block_variances(series)
    blocks = 2 ** np.arange(len(variances)).reshape((-1,) + (1,) * (series.ndim - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(variances[0] > 0.0, variances / variances[0], 1.0)
    is_plateau = blocks**3 > 2.0 * frames * growth**2
    converged = is_plateau.any(axis=0)
    # Without a plateau the largest estimate is closest to the truth.
    level = np.where(converged, is_plateau.argmax(axis=0), variances.argmax(axis=0))
    chosen = np.take_along_axis(variances, level[None], axis=0)[0]
    return BlockAverage(
        np.asarray(np.mean(series, axis=0)), np.asarray(np.sqrt(chosen)), 2**level, converged
    )


def block_variances(
    series: Float[np.ndarray, "frames *shape"],
) -> Float[np.ndarray, "levels *shape"]:
    """Squared standard error from blocks of 1, 2, 4, ... frames, down to four blocks.

    Frames at the end that do not fill a block are dropped.
    """
    found = []
    blocks = np.asarray(series, np.float64)
    while True:
        found.append(np.var(blocks, axis=0, ddof=1) / len(blocks))
        if len(blocks) < 2 * _FEWEST_BLOCKS:
            return np.stack(found)
        even = len(blocks) // 2 * 2
        blocks = 0.5 * (blocks[0:even:2] + blocks[1:even:2])


class Pooled(NamedTuple):
    """Mean over independent runs, and its error."""

    mean: Float[np.ndarray, "*shape"]
    error: Float[np.ndarray, "*shape"]
    converged: Bool[np.ndarray, "*shape"]
    """Whether the errors of all runs reached a plateau; if not, it is a lower bound."""


def pooled(averages: list[BlockAverage], frames: list[int]) -> Pooled:
    """Mean and standard error over independent runs, weighted by their lengths in frames."""
    share = np.asarray(frames, np.float64) / np.sum(frames)
    mean = sum(w * average.mean for w, average in zip(share, averages, strict=True))
    squared = sum((w * average.error) ** 2 for w, average in zip(share, averages, strict=True))
    return Pooled(mean, np.sqrt(squared), np.all([a.converged for a in averages], axis=0))
