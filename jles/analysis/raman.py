r"""Raman spectra of a periodic cell from the time series of its polarizability.

With :math:`\bar\alpha = \mathrm{tr}\,\alpha/3` and :math:`\beta = \alpha - \bar\alpha 1`, for an
isotropic sample (McQuarrie, Statistical Mechanics, ch. 21-4; Long, The Raman Effect, ch. 5):

.. math:: R_{iso} = S_{\dot{\bar\alpha}}, \quad
          R_{aniso} = \tfrac{1}{10}\sum_{ab} S_{\dot\beta_{ab}}, \quad
          R_{VV} = R_{iso} + \tfrac43 R_{aniso}, \quad R_{VH} = R_{aniso},

S the one-sided spectrum of `spectra`. In the 45-convention, with the invariants
:math:`a^2 = \bar\alpha^2` and :math:`\gamma^2 = \tfrac32 \beta:\beta`, these are
:math:`(45 a^2 + 4\gamma^2)/45` and :math:`3\gamma^2/45`. R is the power of the time derivative,
:math:`\omega^2` times that of the polarizability: the reduced classical spectrum, without optical
factors. Stokes scattering of a laser at :math:`\tilde\nu_L` is it times

.. math:: \frac{\hbar\beta}{2\omega (1 - e^{-\beta\hbar\omega})}\,
          \Big(\frac{\tilde\nu_L - \tilde\nu}{\tilde\nu_L}\Big)^4,

the harmonic-quantum amplitude instead of the classical one (Thomas, Brehm, Fligg, Vohringer,
Kirchner, Phys. Chem. Chem. Phys. 15, 6608 (2013)).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.analysis.bands import bands_in_words, fit_height, mark_bands
from jles.analysis.conditions import describe, mean_temperature, same_interval
from jles.analysis.outcome import Outcome, draw_band
from jles.analysis.run import Record, Run
from jles.analysis.spectra import (
    Segments,
    Spectrum,
    average,
    derivative_periodograms,
    pool,
    sampling,
    segment_length,
)
from jles.analysis.units import BOLTZMANN, PLANCK, WAVENUMBER
from jles.errors import InputError
from jles.units import COULOMB_CONSTANT

_LEAST_FRAMES = 64


def polarized(segments: Segments) -> dict[str, Float[np.ndarray, "segments points"]]:
    """Isotropic, anisotropic, VV and VH power from the nine components of a polarizability."""
    iso = segments.power[:, 0]
    aniso = 0.1 * segments.power[:, 1:].sum(axis=1)
    return {"iso": iso, "aniso": aniso, "VV": iso + 4.0 / 3.0 * aniso, "VH": aniso}


def invariants(
    polarizability: Float[np.ndarray, "frames 3 3"],
) -> Float[np.ndarray, "frames 10"]:
    """The mean polarizability, then the nine components of the symmetric traceless rest."""
    symmetric = 0.5 * (polarizability + polarizability.swapaxes(1, 2))
    mean = np.trace(symmetric, axis1=1, axis2=2) / 3.0
    rest = symmetric - mean[:, None, None] * np.eye(3)
    return np.concatenate([mean[:, None], rest.reshape(-1, 9)], axis=1)


def stokes_factor(
    wavenumber: Float[np.ndarray, " points"], temperature: float, laser: float | None = None
) -> Float[np.ndarray, " points"]:
    """From the reduced spectrum to that of Stokes scattering, fs^2; NaN at zero wavenumber.

    Args:
        wavenumber: cm^-1.
        temperature: K.
        laser: wavelength, nm; without one the fourth power is left out.
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


def raman_segments(run: Run, resolution: float) -> tuple[Record, Segments]:
    """Spectra of the derivative of the invariants, (angstrom^3/fs)^2 cm."""
    record = run.read("polarizability", least=_LEAST_FRAMES)
    length = segment_length(resolution, record.interval, len(record.values) - 1, str(run.path))
    series = COULOMB_CONSTANT * invariants(record.values)
    return record, derivative_periodograms(series, record.interval, length)


def raman(
    runs: Sequence[Run],
    resolution: float = 20.0,
    highest: float = 4500.0,
    stokes: bool = False,
    laser: float | None = None,
    scale: float = 1.0,
    temperature: float | None = None,
) -> Outcome:
    """Raman spectra of runs in equilibrium with the polarizability recorded.

    Args:
        runs: of a liquid, a glass or a powder of which the cell is a fair sample.
        resolution: width at half maximum that a sharp line gets, cm^-1.
        highest: last wavenumber shown, cm^-1.
        stokes: with the Bose factor of Stokes scattering.
        laser: wavelength, nm; with the fourth power of the scattered frequency (implies stokes).
        scale: what dipoles are multiplied with to be physical; polarizabilities by its square.
        temperature: K, for the Bose factor; the mean of the runs if absent.
    """
    if laser is not None and not laser > 0.0:
        raise InputError(f"--laser must be positive (nm), got {laser}")
    records, parts = zip(*(raman_segments(run, resolution) for run in runs), strict=True)
    interval = same_interval(records, runs)
    if temperature is None:
        temperature = float(np.mean([mean_temperature(run) for run in runs]))
    segments = pool(parts)
    spectra = {
        name: average(segments, power).scaled(scale**4).below(highest)
        for name, power in polarized(segments).items()
    }
    is_stokes = stokes or laser is not None
    if is_stokes:
        factor = stokes_factor(spectra["VV"].wavenumber, temperature, laser)
        # Divided by the squared frequency, what leaks from zero would stand next to the laser.
        seen = spectra["VV"].wavenumber > resolution
        spectra = {
            n: Spectrum(*(p[seen] for p in s.scaled(factor))) for n, s in spectra.items()
        }
    unit = "Å⁶ cm" if is_stokes else "Å⁶ fs⁻² cm"
    title = describe(runs, records, temperature)
    kind = "Stokes Raman" if is_stokes else "Reduced Raman"
    lines = [f"{kind} spectrum, {title}", sampling(segments, resolution, interval)]
    lines += [f"{name}: {bands_in_words(spectra[name])}" for name in ("VV", "VH")]
    columns = table_columns(spectra, "angstrom^6 cm" if is_stokes else "angstrom^6 fs^-2 cm")
    heading = f"{kind}: {title}, resolution {resolution:g} cm⁻¹"
    figure = draw_raman(spectra, columns["depolarization ratio"], heading, unit)
    return Outcome("raman", columns, lines, figure)


def table_columns(spectra: dict[str, Spectrum], unit: str) -> dict[str, np.ndarray]:
    """Wavenumber, the four spectra with errors, depolarization ratio."""
    columns = {"wavenumber (cm^-1)": spectra["VV"].wavenumber}
    for name, spectrum in spectra.items():
        columns[f"{name} ({unit})"] = spectrum.mean
        columns[f"{name} standard error ({unit})"] = spectrum.error
    return columns | {"depolarization ratio": depolarization(spectra)}


def draw_raman(spectra: dict[str, Spectrum], ratio, title: str, unit: str):
    """Parallel, isotropic and crossed spectra; beside them the depolarization ratio."""
    from jles.pictures import ACCENT, INK, SECOND, new_figure

    figure, axes = new_figure(5.6, 3.8, columns=2)
    wavenumber = spectra["VV"].wavenumber
    for name, color in (("VV", INK), ("iso", ACCENT), ("VH", SECOND)):
        draw_band(axes[0], *spectra[name], color, name)
    mark_bands(axes[0], spectra["VV"])
    fit_height(axes[0], spectra["VV"])
    axes[0].ticklabel_format(axis="y", scilimits=(-2, 3))
    axes[0].legend(frameon=False)
    axes[0].set_ylabel(f"intensity per cell ({unit})")
    axes[1].plot(wavenumber, ratio, color=INK, linewidth=1.0)
    axes[1].axhline(0.75, color=SECOND, linewidth=0.8, linestyle=":")
    axes[1].set(ylabel="depolarization ratio VH/VV", ylim=(0.0, 0.8))
    for axis in axes:
        axis.set(xlabel="wavenumber (cm⁻¹)", xlim=(0.0, wavenumber[-1]))
    figure.suptitle(title, fontsize=9)
    return figure
