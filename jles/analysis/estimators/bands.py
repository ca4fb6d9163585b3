"""Where the bands of a spectrum are, and their marks in a picture."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage, signal

from jles.analysis.estimators.spectra import Spectrum

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


def _smoothed(spectrum: Spectrum) -> Float[np.ndarray, " points"]:
    width = SMOOTHING / (spectrum.wavenumber[1] - spectrum.wavenumber[0])
    return ndimage.gaussian_filter1d(spectrum.mean, width)
