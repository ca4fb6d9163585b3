"""Elements that several pictures share: error bands, rules, marks of spectral bands."""

import numpy as np

from jles.analysis.estimators.bands import SMOOTHING, find_bands
from jles.analysis.estimators.spectra import Spectrum
from jles.pictures import GRID, INK


def draw_band(axis, x, mean, error, color, label=None) -> None:
    """A line with a band of one standard error, if the error is known."""
    axis.plot(x, mean, color=color, linewidth=1.2, label=label)
    if np.isfinite(error).any():
        axis.fill_between(x, mean - error, mean + error, color=color, alpha=0.22, linewidth=0)


def rule(axis, value: float, along: str = "x") -> None:
    """A thin line at a value of one axis."""
    (axis.axvline if along == "x" else axis.axhline)(value, color=GRID, linewidth=1.2, zorder=0)


def mark_bands(axis, spectrum: Spectrum) -> None:
    """Writes the wavenumber of every band above it."""
    top = np.fmax(spectrum.mean, spectrum.mean + spectrum.error)
    for band in find_bands(spectrum):
        near = np.abs(spectrum.wavenumber - band) < SMOOTHING
        axis.annotate(
            f"{band:.0f}",
            (band, np.max(top[near])),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )


def fit_height(axis, *spectra: Spectrum) -> None:
    """Sets the vertical range from zero to above the bands and their marks."""
    tops = [np.fmax(s.mean, s.mean + s.error).max() for s in spectra]
    axis.set_ylim(0.0, 1.1 * max(tops) or 1.0)
