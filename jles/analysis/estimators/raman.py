r"""Raman spectra of a periodic cell from the time series of its polarizability.

With :math:`\bar\alpha = \mathrm{tr}\,\alpha/3` and :math:`\beta = \alpha - \bar\alpha 1`, for
an isotropic sample (McQuarrie, Statistical Mechanics, ch. 21-4; Long, The Raman Effect, ch. 5):

.. math:: R_{iso} = S_{\dot{\bar\alpha}}, \quad
          R_{aniso} = \tfrac{1}{10}\sum_{ab} S_{\dot\beta_{ab}}, \quad
          R_{VV} = R_{iso} + \tfrac43 R_{aniso}, \quad R_{VH} = R_{aniso},

with S the one-sided spectrum of `spectra`. In the 45-convention, with the invariants :math:`a^2
= \bar\alpha^2` and :math:`\gamma^2 = \tfrac32 \beta:\beta`, these are :math:`(45 a^2 +
4\gamma^2)/45` and :math:`3\gamma^2/45`. R is the power of the time derivative, :math:`\omega^2`
times that of the polarizability: the reduced classical spectrum, without optical factors. For
Stokes scattering of a laser at :math:`\tilde\nu_L` it is multiplied by

.. math:: \frac{\hbar\beta}{2\omega (1 - e^{-\beta\hbar\omega})}\,
          \Big(\frac{\tilde\nu_L - \tilde\nu}{\tilde\nu_L}\Big)^4,

which replaces the classical amplitude by that of a quantum harmonic oscillator (Thomas, Brehm,
Fligg, Vohringer, Kirchner, Phys. Chem. Chem. Phys. 15, 6608 (2013)).
"""

import numpy as np
from jaxtyping import Float

from jles.analysis.estimators.spectra import Segments, Spectrum
from jles.analysis.estimators.units import BOLTZMANN, PLANCK, WAVENUMBER


def invariants(
    polarizability: Float[np.ndarray, "frames 3 3"],
) -> Float[np.ndarray, "frames 10"]:
    """The mean polarizability, then the nine components of its symmetric traceless part."""
    symmetric = 0.5 * (polarizability + polarizability.swapaxes(1, 2))
    mean = np.trace(symmetric, axis1=1, axis2=2) / 3.0
    rest = symmetric - mean[:, None, None] * np.eye(3)
    return np.concatenate([mean[:, None], rest.reshape(-1, 9)], axis=1)


def polarized(segments: Segments) -> dict[str, Float[np.ndarray, "segments points"]]:
    """Isotropic, anisotropic, VV and VH power from the nine components of a polarizability."""
    iso = segments.power[:, 0]
    aniso = 0.1 * segments.power[:, 1:].sum(axis=1)
    return {"iso": iso, "aniso": aniso, "VV": iso + 4.0 / 3.0 * aniso, "VH": aniso}


def stokes_factor(
    wavenumber: Float[np.ndarray, " points"], temperature: float, laser: float | None = None
) -> Float[np.ndarray, " points"]:
    """Factor from the reduced spectrum to Stokes scattering, fs^2; NaN at zero wavenumber.

    Args:
        wavenumber: cm^-1.
        temperature: K.
        laser: wavelength, nm; None omits the fourth power.
    """
    energy = PLANCK * wavenumber / WAVENUMBER
    thermal = BOLTZMANN * temperature
    angular = 2.0 * np.pi * wavenumber / WAVENUMBER
    with np.errstate(divide="ignore", invalid="ignore"):
        # hbar/(kT 2 w) (n + 1), as (hbar w/kT)/(2 w^2 (1 - exp(-hbar w/kT))).
        factor = (energy / thermal) / (-2.0 * angular**2 * np.expm1(-energy / thermal))
    if laser is not None:
        factor = factor * np.clip(1.0 - wavenumber * laser * 1e-7, 0.0, None) ** 4
    return np.where(wavenumber > 0.0, factor, np.nan)


def depolarization(spectra: dict[str, Spectrum]) -> Float[np.ndarray, " points"]:
    """Ratio VH/VV, between 0 and 3/4; NaN where VV is below a 300th of its highest value."""
    parallel, crossed = spectra["VV"].mean, spectra["VH"].mean
    seen = parallel > np.nanmax(parallel) / 300.0
    return np.divide(crossed, parallel, out=np.full_like(parallel, np.nan), where=seen)
