"""Where the bands of a spectrum are, and their marks in a picture."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage, signal

from jles.analysis.spectra import Spectrum
from jles.pictures import INK

SMOOTHING = 20.0
"""Standard deviation of the Gaussian under which bands are looked for, cm^-1."""


def find_bands(spectrum: Spectrum, count: int = 6) -> Float[np.ndarray, " bands"]:
    """Maxima (cm^-1) of the spectrum smoothed by `SMOOTHING`, in order.

    At most `count`, the most prominent, each rising above its surroundings by a twentieth of the
    highest point: finer structure is noise more often than not.
    """
    smooth = _smoothed(spectrum)
    if not np.max(smooth) > 0.0:
        return np.zeros(0)
    found, shape = signal.find_peaks(smooth, prominence=0.05 * np.max(smooth))
    strongest = found[np.argsort(shape["prominences"])[::-1][:count]]
    return np.sort(spectrum.wavenumber[strongest])


def bands_in_words(spectrum: Spectrum) -> str:
    """The positions, as a line to be printed."""
    listed = ", ".join(f"{band:.0f}" for band in find_bands(spectrum)) or "none"
    return f"bands (cm^-1, smoothed by {SMOOTHING:g}): {listed}"


def mark_bands(axis, spectrum: Spectrum) -> None:
    """Writes the positions of the bands above them."""
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
    """Lets the axis begin at zero and end above the bands and their marks."""
    tops = [np.fmax(s.mean, s.mean + s.error).max() for s in spectra]
    axis.set_ylim(0.0, 1.1 * max(tops) or 1.0)


def _smoothed(spectrum: Spectrum) -> Float[np.ndarray, " points"]:
    width = SMOOTHING / (spectrum.wavenumber[1] - spectrum.wavenumber[0])
    return ndimage.gaussian_filter1d(spectrum.mean, width)
