r"""Transport coefficients as means over time origins, with errors from blocking.

A current J and its integral Q (or a displacement) have

.. math:: L(t) = \int_0^t <J(0)\cdot J(s)> ds = \tfrac12 \frac{d}{dt} <|Q(t) - Q(0)|^2>.

Both sides are averages over the time origin n: :math:`J_n\cdot(Q_{n+k} - Q_n)` (Green 1954,
Kubo 1957) and :math:`(|Q_{n+2k}-Q_n|^2 - |Q_{n+k}-Q_n|^2)/(2k\Delta)` (Einstein 1905, Helfand
1960), the second being the mean of L between the times k and 2k.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jles.analysis.estimators.blocks import block_average, pooled

_ORIGINS = 4
"""A lag is at most the series divided by this, so that origins are left to average over."""


class Sampled(NamedTuple):
    """A quantity of several runs, each (frames, 3), and the time between frames, fs."""

    parts: list[Float[np.ndarray, "frames 3"]]
    interval: float


class Estimate(NamedTuple):
    """A number (or one for each of several lags) and its standard error."""

    value: Float[np.ndarray, "*shape"]
    error: Float[np.ndarray, "*shape"]
    converged: bool
    """Whether blocking found a plateau everywhere; if not, the error is a lower bound."""

    def scaled(self, factor: float) -> "Estimate":
        """The estimate in another unit."""
        return Estimate(self.value * factor, self.error * abs(factor), self.converged)

    def __str__(self) -> str:
        note = "" if self.converged else " (error a lower bound: the run is short)"
        return f"{float(self.value):.4g} ± {float(self.error):.2g}{note}"


def cumulative(
    current: Float[np.ndarray, "frames channels"], interval: float
) -> Float[np.ndarray, "frames channels"]:
    """Integral of a sampled current by the trapezoidal rule, zero at the first frame."""
    steps = 0.5 * interval * (current[1:] + current[:-1])
    return np.concatenate([np.zeros((1, current.shape[1])), np.cumsum(steps, axis=0)])


def green_kubo_series(
    current: Float[np.ndarray, "frames channels"],
    integral: Float[np.ndarray, "frames channels"],
    lag: int,
) -> Float[np.ndarray, " origins"]:
    """L at a lag from every origin, summed over channels."""
    ahead = integral[lag:] - integral[: len(integral) - lag]
    return np.einsum("nc,nc->n", current[: len(ahead)], ahead)


def einstein_series(
    paths: Float[np.ndarray, "frames particles 3"], interval: float, lag: int
) -> Float[np.ndarray, " origins"]:
    """Mean of L between a lag and twice the lag, from every origin, averaged over particles."""
    origins = len(paths) - 2 * lag
    near = _squares(paths[lag : lag + origins] - paths[:origins])
    far = _squares(paths[2 * lag :] - paths[:origins])
    return (far - near) / (2.0 * lag * interval)


def mean_squares(
    paths: Float[np.ndarray, "frames particles 3"], lags: Int[np.ndarray, " lags"]
) -> Float[np.ndarray, " lags"]:
    """Mean square displacement at each lag, averaged over origins and particles."""
    return np.array(
        [np.mean(_squares(paths[lag:] - paths[: len(paths) - lag])) for lag in lags]
    )


def estimate(parts: list[Float[np.ndarray, "_ *shape"]]) -> Estimate:
    """Mean and error of the series (first axis) of one or more runs."""
    found = pooled([block_average(part) for part in parts], [len(part) for part in parts])
    return Estimate(found.mean, found.error, bool(np.all(found.converged)))


def spread_lags(longest: int, count: int = 60) -> Int[np.ndarray, " lags"]:
    """About `count` evenly spaced lags from 0 to the longest."""
    return np.unique(np.linspace(0, longest, count + 1).round().astype(int))


def longest_lag(frames: int) -> int:
    """The longest lag used for a series of this length."""
    return max(frames // _ORIGINS, 1)


def _squares(steps: Float[np.ndarray, "origins particles 3"]) -> Float[np.ndarray, " origins"]:
    return np.einsum("npa,npa->n", steps, steps) / steps.shape[1]
