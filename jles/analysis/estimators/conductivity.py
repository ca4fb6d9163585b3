r"""Ionic conductivity of a periodic cell from the Green-Kubo and the Einstein relation.

.. math:: \sigma = \frac{1}{3 V k T} \int_0^\infty <J(0)\cdot J(t)> dt
                 = \frac{1}{6 V k T} \lim_{t\to\infty} \frac{d}{dt} <|Q(t) - Q(0)|^2>,

J = dP/dt comes from Born charges or from formal charges; in an electronic insulator both give
the same conductivity (Grasselli, Baroni, Nat. Phys. 15, 967 (2019); French, Hamel, Redmer,
Phys. Rev. Lett. 107, 185901 (2011)). The integral ends at a time `window` beyond which the
correlation is only noise (`correlate.lag_of_silence`). The slope is taken between that time and
twice that time. Independent ions would have :math:`\sigma_{NE} = \sum_i q_i^2 D_i/(V k T)`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jles.analysis.estimators.correlate import autocorrelation, lag_of_silence
from jles.analysis.estimators.transport import (
    Estimate,
    Sampled,
    cumulative,
    einstein_series,
    estimate,
    green_kubo_series,
    longest_lag,
    mean_squares,
    spread_lags,
)
from jles.analysis.estimators.units import BOLTZMANN, CONDUCTIVITY
from jles.errors import InputError


class ChargeFlow(NamedTuple):
    """Current and displaced charge of the cell."""

    name: str
    current: Sampled | None
    """J, e angstrom/fs; None if only positions were recorded."""
    dipole: Sampled
    """The integral of J, e angstrom, or the recorded polarization."""


class Curves(NamedTuple):
    """The functions of time (fs) that a conductivity is read from."""

    times: Float[np.ndarray, " lags"]
    correlation: Float[np.ndarray, " frames"]
    """<J(0).J(t)>/<J.J> at every frame up to the last of the times. Without a current, J is
    taken from differences of the dipole."""
    running: Estimate
    """Integral of the correlation up to each time, S/cm; NaN if there is no current."""
    squares: Float[np.ndarray, " lags"]
    """Mean square displaced dipole, (e angstrom)^2."""


class Conductivity(NamedTuple):
    """Conductivities, S/cm, of one set of charges."""

    flow: ChargeFlow
    window: float
    """fs"""
    is_silent: bool
    """Whether the correlation has decayed at the window; if not, the run is too short."""
    green_kubo: Estimate | None
    einstein: Estimate


def conductivity_unit(temperature: float, volume: float) -> float:
    """S/cm for one (e angstrom)^2/fs of the integral of <J.J>, summed over directions.

    Args:
        temperature: K.
        volume: of the cell, angstrom^3.
    """
    return 0.01 * CONDUCTIVITY / (3.0 * volume * BOLTZMANN * temperature)


def ionic_conductivity(
    flow: ChargeFlow, unit: float, window: float | None = None
) -> Conductivity:
    """Both estimates from one flow of charge.

    Args:
        flow: current and displaced charge of the cell.
        unit: as `conductivity_unit` gives it.
        window: end of the Green-Kubo integral, fs; by default `silent_window`.
    """
    is_silent = True
    if window is None:
        window, is_silent = silent_window(flow)
    lag = _lag(flow.dipole, window)
    parts = [einstein_series(p[:, None], flow.dipole.interval, lag) for p in flow.dipole.parts]
    einstein = estimate(parts).scaled(unit)
    kubo = None
    if flow.current is not None:
        kubo = running_integral(flow.current, np.array([_lag(flow.current, window)]), unit)
        kubo = kubo._replace(value=kubo.value[0], error=kubo.error[0])
    return Conductivity(flow, window, is_silent, kubo, einstein)


def silent_window(flow: ChargeFlow) -> tuple[float, bool]:
    """Time (fs) after which the correlation of the current is noise; whether it was found.

    It leaves enough time origins in both series of the flow.
    """
    current = flow.current or _differences(flow.dipole)
    correlation = mean_correlation(current)
    lag = lag_of_silence(correlation, sum(len(part) for part in current.parts), 3)
    window = min(lag * current.interval, *(_longest(each) for each in (current, flow.dipole)))
    return window, lag < len(correlation) - 1


def mean_correlation(current: Sampled) -> Float[np.ndarray, " lags"]:
    """Autocorrelation of a current, averaged over runs with their lengths as weights."""
    lags = longest_lag(min(len(part) for part in current.parts)) + 1
    lengths = [len(part) for part in current.parts]
    return np.average(
        [autocorrelation(part, lags) for part in current.parts], axis=0, weights=lengths
    )


def running_integral(current: Sampled, lags: Int[np.ndarray, " lags"], unit: float) -> Estimate:
    """Integral of the correlation up to each lag, times `unit`, with standard errors."""
    integrals = [cumulative(part, current.interval) for part in current.parts]
    pairs = list(zip(current.parts, integrals, strict=True))
    found = [estimate([green_kubo_series(*pair, int(lag)) for pair in pairs]) for lag in lags]
    value, error = (np.array([getattr(e, name) for e in found]) for name in ("value", "error"))
    return Estimate(value, error, all(e.converged for e in found)).scaled(unit)


def _differences(dipole: Sampled) -> Sampled:
    parts = [np.diff(part, axis=0) / dipole.interval for part in dipole.parts]
    return Sampled(parts, dipole.interval)


def _longest(series: Sampled) -> float:
    """The longest window of a series, fs."""
    return longest_lag(min(len(part) for part in series.parts)) * series.interval


def _lag(series: Sampled, window: float) -> int:
    """The window in frames; an error if too few time origins are left."""
    lag = max(round(window / series.interval), 1)
    frames = min(len(part) for part in series.parts)
    if lag > longest_lag(frames):
        raise InputError(
            f"--window {window:g} fs is more than a quarter of the run "
            f"({frames * series.interval:g} fs); run longer or take a shorter one"
        )
    return lag


def curves(found: Conductivity, unit: float) -> Curves:
    """Correlation, integral and displacement against time, up to three windows."""
    flow = found.flow
    current = flow.current or _differences(flow.dipole)
    correlation = mean_correlation(current)
    shortest = min(len(part) for part in flow.dipole.parts)
    reach = min(3.0 * found.window, longest_lag(shortest) * flow.dipole.interval)
    lags = spread_lags(min(round(reach / current.interval), len(correlation) - 1))
    unknown = Estimate(np.full(len(lags), np.nan), np.full(len(lags), np.nan), True)
    running = unknown if flow.current is None else running_integral(current, lags, unit)
    times = lags * current.interval
    squares = np.interp(times, *_mean_squares(flow.dipole, times))
    return Curves(times, correlation[: lags[-1] + 1] / correlation[0], running, squares)


def _mean_squares(dipole: Sampled, times) -> tuple:
    lags = np.unique(np.round(times / dipole.interval).astype(int))
    lengths = [len(part) for part in dipole.parts]
    parts = [mean_squares(part[:, None], lags) for part in dipole.parts]
    return lags * dipole.interval, np.average(parts, axis=0, weights=lengths)
