"""Phrases that several reports share: titles, sampling, positions of bands."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from jles.analysis.estimators.bands import SMOOTHING, find_bands
from jles.analysis.estimators.blocks import block_average
from jles.analysis.estimators.spectra import Segments, Spectrum
from jles.analysis.estimators.units import WAVENUMBER
from jles.analysis.run import Record, Run

FEW_FRAMES = 10
"""Below this number of frames errors are rough."""

_FEW_SEGMENTS = 4
_FEW_SAMPLES = 20


def describe(runs: Sequence[Run], records: Sequence[Record], temperature: float | None) -> str:
    """A title: temperature, total length, frames, runs."""
    length = 1e-3 * sum(record.length for record in records)
    frames = sum(len(record.steps) for record in records)
    parts = [] if temperature is None else [f"{temperature:.1f} K"]
    parts += [f"{length:.4g} ps", f"{frames} frames"]
    return ", ".join(parts + ([f"{len(runs)} runs"] if len(runs) > 1 else []))


def sampling(segments: Segments, resolution: float, interval: float) -> str:
    """Number of segments, resolution and Nyquist wavenumber of a spectrum."""
    nyquist = 0.5 * WAVENUMBER / interval
    return (
        f"{len(segments.power)} segments, resolution {resolution:g} cm^-1; recorded every "
        f"{interval:g} fs: motion above {nyquist:.0f} cm^-1 is aliased"
    )


def few_segments(segments: Segments, resolution: float) -> list[str]:
    """A warning if a spectrum is the mean of too few segments; else nothing."""
    count = len(segments.power)
    if count >= _FEW_SEGMENTS:
        return []
    # Segments overlap by half: k of them cover (k + 1)/2 lengths.
    longer = 0.5 * (_FEW_SEGMENTS + 1) / (0.5 * (count + 1))
    errors = "no errors can be given" if count == 1 else "the errors are rough"
    warning = (
        f"warning: the run is short for this resolution: {count} segment(s), so {errors}; run "
        f"{longer:.2g} times as long, or take --resolution {longer * resolution:.3g}"
    )
    return [warning]


def few_samples(what: str, series: Sequence[np.ndarray], interval: float) -> list[str]:
    """A warning if a series has few independent samples; else nothing.

    Args:
        what: is sampled, in words.
        series: of each run, (frames, components).
        interval: time between frames, fs.
    """
    independent, times = 0.0, []
    for part in series:
        found = block_average(part)
        # Frames per independent sample: squared error of the mean by that of white noise.
        variances = np.var(part, axis=0, ddof=1) / len(part)
        ratio = np.max(found.error**2 / np.where(variances > 0.0, variances, np.inf))
        independent += len(part) / max(float(ratio), 1.0)
        times.append(0.5e-3 * interval * max(float(ratio), 1.0))
    if independent >= _FEW_SAMPLES:
        return []
    warning = (
        f"warning: the run is short: {what} stays correlated for {np.mean(times):.2g} ps or "
        f"more, so there are about {independent:.0f} independent samples; run longer"
    )
    return [warning]


def lower_bounds(
    converged: Sequence[Bool[np.ndarray, "..."]], what: str, remedy: str = ""
) -> list[str]:
    """A warning if errors are lower bounds; else nothing.

    Args:
        converged: whether they are not.
        what: has the errors, in the plural.
        remedy: what else helps than a longer run.
    """
    flags = np.concatenate([np.ravel(each) for each in converged])
    short = int(np.sum(~flags))
    if short == 0:
        return []
    warning = (
        f"warning: the run is short: the errors of {short} of {len(flags)} {what} are lower "
        f"bounds; run longer{remedy}"
    )
    return [warning]


def few_frames(count: int) -> str:
    """A warning about errors from few frames."""
    return f"warning: {count} frames are few: the errors are rough; run longer"


def bands_in_words(spectrum: Spectrum) -> str:
    """Positions of the bands of a spectrum."""
    listed = ", ".join(f"{band:.0f}" for band in find_bands(spectrum)) or "none"
    return f"bands (cm^-1, smoothed by {SMOOTHING:g}): {listed}"
