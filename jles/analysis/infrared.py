r"""Infrared absorption of a periodic cell from the current dP/dt.

Linear response of a classical system (fluctuation and dissipation; McQuarrie, Statistical
Mechanics, ch. 21; Ramirez, Lopez-Ciudad, Kumar, Marx, J. Chem. Phys. 121, 3973 (2004)):

.. math:: n(\omega)\alpha(\omega) = \frac{\omega\,\epsilon''(\omega)}{c}
    = \frac{\beta}{6 c V \epsilon_0} \int_{-\infty}^{\infty} <J(0)\cdot J(t)> e^{-i\omega t} dt
    = \frac{\beta\, S_J(\tilde\nu)}{12\, c\, V \epsilon_0\, c_w},

with J = dP/dt of the whole cell, S_J the one-sided spectrum per wavenumber of `spectra`, summed
over directions, and c_w the speed of light in cm/fs. Its integral is a sum rule: for fixed
charges :math:`\int n\alpha\, d\omega = \pi \sum_i Z_i^2/m_i / (2 c V \epsilon_0)`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.analysis.bands import bands_in_words, fit_height, mark_bands
from jles.analysis.conditions import conditions, describe, same_interval
from jles.analysis.outcome import Outcome, draw_band
from jles.analysis.run import Run
from jles.analysis.spectra import (
    Spectrum,
    average,
    derivative_periodograms,
    periodograms,
    pool,
    sampling,
    segment_length,
)
from jles.analysis.units import BOLTZMANN, PLANCK, SPEED_OF_LIGHT, WAVENUMBER
from jles.units import EPSILON0

CORRECTIONS = ("harmonic", "standard", "schofield")
_LEAST_FRAMES = 64


def absorption_factor(temperature: float, volume: float) -> float:
    """Absorption n alpha (cm^-1) for one (e angstrom/fs)^2 cm of the spectrum of the current."""
    per_frequency = WAVENUMBER / (12.0 * SPEED_OF_LIGHT * volume * EPSILON0)
    per_angstrom = per_frequency / (BOLTZMANN * temperature)
    return 1e8 * per_angstrom


def quantum_correction(
    kind: str, wavenumber: Float[np.ndarray, " points"], temperature: float
) -> Float[np.ndarray, " points"]:
    r"""Factor on the classical absorption, with :math:`x = \hbar\omega/kT`.

    The classical formula is that of a harmonic quantum system as it stands ("harmonic", 1). The
    others take the classical correlation for the real part of the quantum one ("standard",
    tanh(x/2)/(x/2)) or for the one at imaginary time :math:`\beta\hbar/2` ("schofield",
    sinh(x/2)/(x/2)); Ramirez et al. 2004, table I.
    """
    half = 0.5 * PLANCK * wavenumber / (WAVENUMBER * BOLTZMANN * temperature)
    shape = {"harmonic": np.ones_like, "standard": np.tanh, "schofield": np.sinh}[kind](half)
    if kind == "harmonic":
        return shape
    return np.divide(shape, half, out=np.ones_like(half), where=half > 0.0)


def continuous_branch(
    polarization: Float[np.ndarray, "frames 3"], cells: Float[np.ndarray, "frames 3 3"], pbc
) -> Float[np.ndarray, "frames 3"]:
    """The polarization (e angstrom) without jumps by quanta e a, a the periodic cell rows.

    For frames so close that it moves by less than half a quantum in between.
    """
    steps = np.diff(polarization, axis=0)
    rows = cells[1:] * np.asarray(pbc, float)[:, None]
    quanta = np.round(np.einsum("fa,fab->fb", steps, np.linalg.pinv(rows)))
    jumps = np.cumsum(np.einsum("fb,fba->fa", quanta, rows), axis=0)
    return np.concatenate([polarization[:1], polarization[1:] - jumps])


def infrared_segments(run: Run, resolution: float) -> tuple:
    """Segment spectra of the current, or else of the differences of the polarization."""
    kind = "current" if run.has("current") or not run.has("polarization") else "polarization"
    record = run.read(kind, least=_LEAST_FRAMES)
    frames = len(record.values) - (kind == "polarization")
    length = segment_length(resolution, record.interval, frames, str(run.path))
    if kind == "current":
        return kind, record, periodograms(record.values, record.interval, length)
    cells = run.read("polarization", "cell").values
    smooth = continuous_branch(record.values, cells, run.pbc)
    return kind, record, derivative_periodograms(smooth, record.interval, length)


def infrared(
    runs: Sequence[Run],
    resolution: float = 20.0,
    highest: float = 4500.0,
    correction: str = "harmonic",
    scale: float = 1.0,
    temperature: float | None = None,
) -> Outcome:
    """Absorption of runs in equilibrium, their segments averaged.

    Args:
        runs: with the current recorded, or the polarization.
        resolution: width at half maximum that a sharp line gets, cm^-1.
        highest: last wavenumber shown, cm^-1.
        correction: one of `CORRECTIONS`.
        scale: what the recorded current is multiplied with, sqrt(eps_inf) for latent charges.
        temperature: K; the mean of the runs if absent.
    """
    kinds, records, parts = zip(
        *(infrared_segments(run, resolution) for run in runs), strict=True
    )
    interval = same_interval(records, runs)
    state = conditions(runs, temperature)
    segments = pool(parts)
    current = average(segments, segments.power.sum(axis=1))
    factor = scale**2 * absorption_factor(*state)
    correct = quantum_correction(correction, current.wavenumber, state.temperature)
    spectrum = current.scaled(factor * correct).below(highest)
    source = "current dP/dt" if kinds[0] == "current" else "differences of the polarization"
    lines = [
        f"infrared absorption from the {source}, {describe(runs, records, state.temperature)}",
        sampling(segments, resolution, interval),
        bands_in_words(spectrum),
    ]
    title = f"{describe(runs, records, state.temperature)}, resolution {resolution:g} cm⁻¹"
    columns = {
        "wavenumber (cm^-1)": spectrum.wavenumber,
        "n alpha (cm^-1)": spectrum.mean,
        "standard error (cm^-1)": spectrum.error,
    }
    return Outcome("ir", columns, lines, draw_absorption(spectrum, title))


def draw_absorption(spectrum: Spectrum, title: str):
    """Absorption n alpha in 10^3/cm against the wavenumber."""
    from jles.pictures import ACCENT, new_figure

    figure, (axis,) = new_figure(6.4, 3.8)
    shown = spectrum.scaled(1e-3)
    draw_band(axis, *shown, ACCENT)
    mark_bands(axis, shown)
    fit_height(axis, shown)
    axis.set(
        xlabel="wavenumber (cm⁻¹)", ylabel="n α (10³ cm⁻¹)", xlim=(0, shown.wavenumber[-1])
    )
    axis.set_title(f"Infrared absorption: {title}", fontsize=9)
    return figure
