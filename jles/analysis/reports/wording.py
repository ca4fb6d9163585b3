"""Phrases that several reports share: titles, sampling, positions of bands."""

from collections.abc import Sequence

from jles.analysis.estimators.bands import SMOOTHING, find_bands
from jles.analysis.estimators.spectra import Segments, Spectrum
from jles.analysis.estimators.units import WAVENUMBER
from jles.analysis.run import Record, Run


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


def bands_in_words(spectrum: Spectrum) -> str:
    """Positions of the bands of a spectrum."""
    listed = ", ".join(f"{band:.0f}" for band in find_bands(spectrum)) or "none"
    return f"bands (cm^-1, smoothed by {SMOOTHING:g}): {listed}"
