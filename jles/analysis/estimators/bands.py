"""Positions of the bands of a spectrum."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage, signal

from jles.analysis.estimators.spectra import Spectrum

SMOOTHING = 20.0
"""Standard deviation of the Gaussian that smooths a spectrum before the search, cm^-1."""


def find_bands(spectrum: Spectrum, count: int = 6) -> Float[np.ndarray, " bands"]:
    """Maxima (cm^-1) of the spectrum smoothed by `SMOOTHING`, in order.

    At most `count` are returned, the most prominent ones. Each must rise above its surroundings
    by a twentieth of the highest point; smaller maxima are usually noise.
    """
    smooth = _smoothed(spectrum)
    if not np.max(smooth) > 0.0:
        return np.zeros(0)
    found, shape = signal.find_peaks(smooth, prominence=0.05 * np.max(smooth))
    strongest = found[np.argsort(shape["prominences"])[::-1][:count]]
    return np.sort(spectrum.wavenumber[strongest])


def _smoothed(spectrum: Spectrum) -> Float[np.ndarray, " points"]:
    width = SMOOTHING / (spectrum.wavenumber[1] - spectrum.wavenumber[0])
    return ndimage.gaussian_filter1d(spectrum.mean, width)
