r"""Infrared absorption of a periodic cell from the current dP/dt.

Linear response of a classical system (fluctuation-dissipation theorem; McQuarrie, Statistical
Mechanics, ch. 21; Ramirez, Lopez-Ciudad, Kumar, Marx, J. Chem. Phys. 121, 3973 (2004)):

.. math:: n(\omega)\alpha(\omega) = \frac{\omega\,\epsilon''(\omega)}{c}
    = \frac{\beta}{6 c V \epsilon_0} \int_{-\infty}^{\infty} <J(0)\cdot J(t)> e^{-i\omega t} dt
    = \frac{\beta\, S_J(\tilde\nu)}{12\, c\, V \epsilon_0\, c_w},

with J = dP/dt of the whole cell, S_J the one-sided spectrum per wavenumber of `spectra`, summed
over directions, and c_w the speed of light in cm/fs. Its integral is a sum rule: for fixed
charges :math:`\int n\alpha\, d\omega = \pi \sum_i Z_i^2/m_i / (2 c V \epsilon_0)`.
"""

import numpy as np
from jaxtyping import Float

from jles.analysis.estimators.units import BOLTZMANN, PLANCK, SPEED_OF_LIGHT, WAVENUMBER
from jles.units import EPSILON0

CORRECTIONS = ("harmonic", "standard", "schofield")


def absorption_factor(temperature: float, volume: float) -> float:
    """Absorption n alpha (cm^-1) per (e angstrom/fs)^2 cm of the spectrum of the current."""
    per_frequency = WAVENUMBER / (12.0 * SPEED_OF_LIGHT * volume * EPSILON0)
    per_angstrom = per_frequency / (BOLTZMANN * temperature)
    return 1e8 * per_angstrom


def quantum_correction(
    kind: str, wavenumber: Float[np.ndarray, " points"], temperature: float
) -> Float[np.ndarray, " points"]:
    r"""Factor that multiplies the classical absorption, with :math:`x = \hbar\omega/kT`.

    The classical formula is exact for a harmonic quantum system ("harmonic", factor 1). The
    other factors identify the classical correlation with the real part of the quantum
    correlation ("standard", tanh(x/2)/(x/2)) or with its value at imaginary time
    :math:`\beta\hbar/2` ("schofield", sinh(x/2)/(x/2)); Ramirez et al. 2004, table I.
    """
    half = 0.5 * PLANCK * wavenumber / (WAVENUMBER * BOLTZMANN * temperature)
    shape = {"harmonic": np.ones_like, "standard": np.tanh, "schofield": np.sinh}[kind](half)
    if kind == "harmonic":
        return shape
    return np.divide(shape, half, out=np.ones_like(half), where=half > 0.0)


def continuous_branch(
    polarization: Float[np.ndarray, "frames 3"], cells: Float[np.ndarray, "frames 3 3"], pbc
) -> Float[np.ndarray, "frames 3"]:
    """The polarization (e angstrom) without jumps by quanta e a, a the periodic cell vectors.

    Between two frames it must change by less than half a quantum.
    """
    steps = np.diff(polarization, axis=0)
    rows = cells[1:] * np.asarray(pbc, float)[:, None]
    quanta = np.round(np.einsum("fa,fab->fb", steps, np.linalg.pinv(rows)))
    jumps = np.cumsum(np.einsum("fb,fba->fa", quanta, rows), axis=0)
    return np.concatenate([polarization[:1], polarization[1:] - jumps])
