"""Raman spectra of runs: what is read, printed, tabulated and drawn."""

from collections.abc import Sequence

import numpy as np

from jles.analysis.conditions import (
    check_alike,
    same_interval,
    temperature_of,
    title_temperature,
)
from jles.analysis.estimators.raman import depolarization, invariants, polarized, stokes_factor
from jles.analysis.estimators.spectra import (
    Segments,
    Spectrum,
    average,
    derivative_periodograms,
    pool,
    segment_length,
)
from jles.analysis.reports.drawing import draw_band, fit_height, mark_bands
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import bands_in_words, describe, few_segments, sampling
from jles.analysis.run import Record, Run
from jles.errors import InputError
from jles.units import COULOMB_CONSTANT

_LEAST_FRAMES = 64


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
        runs: of an isotropic sample (a liquid, glass or powder).
        resolution: full width at half maximum of a sharp line, cm^-1.
        highest: last wavenumber shown, cm^-1.
        stokes: multiply by the Bose factor of Stokes scattering.
        laser: wavelength, nm; multiplies by the fourth power of the scattered frequency
            (implies stokes).
        scale: factor of the dipoles; polarizabilities are multiplied by its square.
        temperature: K, for the Bose factor and the title; by default the mean of the runs.
    """
    if laser is not None and not laser > 0.0:
        raise InputError(f"--laser must be positive (nm), got {laser}")
    unlike = check_alike(runs)
    records, parts = zip(*(raman_segments(run, resolution) for run in runs), strict=True)
    interval = same_interval(records, runs)
    segments = pool(parts)
    spectra = {
        name: average(segments, power).scaled(scale**4).below(highest)
        for name, power in polarized(segments).items()
    }
    is_stokes = stokes or laser is not None
    known = temperature_of if is_stokes else title_temperature
    temperature = known(runs, temperature)
    if is_stokes:
        factor = stokes_factor(spectra["VV"].wavenumber, temperature, laser)
        # The factor diverges at zero frequency and would amplify the leakage of the window.
        seen = spectra["VV"].wavenumber > resolution
        spectra = {
            n: Spectrum(*(p[seen] for p in s.scaled(factor))) for n, s in spectra.items()
        }
    unit = "Å⁶ cm" if is_stokes else "Å⁶ fs⁻² cm"
    title = describe(runs, records, temperature)
    kind = "Stokes Raman" if is_stokes else "Reduced Raman"
    lines = [f"{kind} spectrum, {title}", sampling(segments, resolution, interval)]
    lines += [*few_segments(segments, resolution), *unlike]
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
    """Parallel, isotropic and crossed spectra, and the depolarization ratio."""
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
