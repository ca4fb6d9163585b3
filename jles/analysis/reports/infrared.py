"""Infrared absorption of runs: what is read, printed, tabulated and drawn."""

from collections.abc import Sequence

from jles.analysis.conditions import check_alike, conditions, same_interval
from jles.analysis.estimators.infrared import (
    absorption_factor,
    continuous_branch,
    quantum_correction,
)
from jles.analysis.estimators.spectra import (
    Segments,
    Spectrum,
    average,
    derivative_periodograms,
    periodograms,
    pool,
    segment_length,
)
from jles.analysis.moment import no_current, shared_source
from jles.analysis.reports.drawing import draw_band, fit_height, mark_bands
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import bands_in_words, describe, few_segments, sampling
from jles.analysis.run import Record, Run

_LEAST_FRAMES = 64


def infrared_segments(
    run: Run, resolution: float, kind: str = "current"
) -> tuple[Record, Segments]:
    """Segment spectra of the "current", or of differences of the "polarization"."""
    record = run.read(kind, least=_LEAST_FRAMES)
    frames = len(record.values) - (kind == "polarization")
    length = segment_length(resolution, record.interval, frames, str(run.path))
    if kind == "current":
        return record, periodograms(record.values, record.interval, length)
    cells = run.read("polarization", "cell").values
    smooth = continuous_branch(record.values, cells, run.pbc)
    return record, derivative_periodograms(smooth, record.interval, length)


def infrared(
    runs: Sequence[Run],
    resolution: float = 20.0,
    highest: float = 4500.0,
    correction: str = "harmonic",
    scale: float = 1.0,
    temperature: float | None = None,
) -> Outcome:
    """Absorption of runs in equilibrium, averaged over segments.

    Args:
        runs: with the current recorded, or the polarization.
        resolution: full width at half maximum of a sharp line, cm^-1.
        highest: last wavenumber shown, cm^-1.
        correction: one of `CORRECTIONS`.
        scale: factor of the recorded current; sqrt(eps_inf) for latent charges.
        temperature: K; by default the mean of the runs.
    """
    unlike = check_alike(runs)
    kind = shared_source(runs) or "current"
    records, parts = zip(
        *(infrared_segments(run, resolution, kind) for run in runs), strict=True
    )
    interval = same_interval(records, runs)
    state = conditions(runs, temperature)
    segments = pool(parts)
    current = average(segments, segments.power.sum(axis=1))
    factor = scale**2 * absorption_factor(*state)
    correct = quantum_correction(correction, current.wavenumber, state.temperature)
    spectrum = current.scaled(factor * correct).below(highest)
    source = "current dP/dt" if kind == "current" else "differences of the polarization"
    lines = [
        f"infrared absorption from the {source}, {describe(runs, records, state.temperature)}",
        sampling(segments, resolution, interval),
        *few_segments(segments, resolution),
        *unlike,
        *(line for run in runs for line in no_current(run)),
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
