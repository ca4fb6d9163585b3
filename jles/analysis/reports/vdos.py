"""Vibrational density of states of runs: what is read, printed, tabulated and drawn."""

from collections.abc import Sequence

import numpy as np

from jles.analysis.conditions import check_alike, same_interval, temperature_of
from jles.analysis.estimators.spectra import (
    Segments,
    average,
    integral,
    pool,
    segment_length,
)
from jles.analysis.estimators.units import BOLTZMANN
from jles.analysis.estimators.vdos import kinetic_periodograms
from jles.analysis.reports.drawing import draw_band, fit_height
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import describe, few_segments
from jles.analysis.run import Record, Run

_LEAST_FRAMES = 64


def density_segments(run: Run, resolution: float, elements) -> tuple[Record, Segments]:
    """Kinetic spectra of all atoms."""
    head = run.read("velocities", least=_LEAST_FRAMES, atoms=slice(0, 1))
    length = segment_length(resolution, head.interval, len(head.values), str(run.path))
    total = None
    for atoms, record in run.in_parts("velocities"):
        found = kinetic_periodograms(
            record.values,
            head.interval,
            length,
            run.masses[atoms],
            run.numbers[atoms],
            elements,
        )
        total = found if total is None else total._replace(power=total.power + found.power)
    return head, total


def vibrational_density(
    runs: Sequence[Run],
    resolution: float = 20.0,
    highest: float = 4500.0,
    temperature: float | None = None,
) -> Outcome:
    """Density of states of every element and of all atoms; options as for `infrared`."""
    from ase.data import chemical_symbols

    unlike = check_alike(runs)
    elements = np.unique(runs[0].numbers)
    records, parts = zip(
        *(density_segments(run, resolution, elements) for run in runs), strict=True
    )
    same_interval(records, runs)
    temperature = temperature_of(runs, temperature)
    segments = pool(parts)
    power = segments.power / (BOLTZMANN * temperature)
    spectra = {
        chemical_symbols[z]: average(segments, power[:, n]) for n, z in enumerate(elements)
    }
    spectra["all"] = average(segments, power.sum(axis=1))
    atoms = {chemical_symbols[z]: int(np.sum(runs[0].numbers == z)) for z in elements}
    title = describe(runs, records, temperature)
    lines = [
        f"vibrational density of states, {title}, {len(power)} segments",
        *few_segments(segments, resolution),
        *unlike,
        (
            f"all: {integral(spectra['all']):.2f} degrees of freedom, "
            f"3N = {3 * sum(atoms.values())}"
        ),
    ]
    lines += [
        f"{name}: {integral(spectra[name]) / count:.4f} degrees of freedom per atom, 3 expected"
        for name, count in atoms.items()
    ]
    shown = {name: spectrum.below(highest) for name, spectrum in spectra.items()}
    columns = {"wavenumber (cm^-1)": shown["all"].wavenumber}
    for name, spectrum in shown.items():
        columns[f"{name} (cm)"] = spectrum.mean
        columns[f"{name} standard error (cm)"] = spectrum.error
    return Outcome(
        "vdos", columns, lines, draw_density(shown, f"{title}, resolution {resolution:g} cm⁻¹")
    )


def draw_density(spectra, title: str):
    """Densities of states of the elements and their sum."""
    from jles.pictures import INK, PALETTE, new_figure

    figure, (axis,) = new_figure(6.4, 3.8)
    elements = {name: spectrum for name, spectrum in spectra.items() if name != "all"}
    if len(elements) > 1:
        draw_band(axis, *spectra["all"], INK, "all")
    for number, (name, spectrum) in enumerate(elements.items()):
        draw_band(axis, *spectrum, PALETTE[number % len(PALETTE)], name)
    x = spectra["all"].wavenumber
    axis.set(xlabel="wavenumber (cm⁻¹)", ylabel="states per cm⁻¹ (cm)", xlim=(0, x[-1]))
    fit_height(axis, spectra["all"])
    axis.set_title(f"Vibrational density of states: {title}", fontsize=9)
    axis.legend(frameon=False)
    return figure
