"""Profiles across an interface: densities by element, latent potential and field."""

from collections.abc import Sequence

import numpy as np

from jles.analysis.conditions import check_alike, title_temperature
from jles.analysis.estimators.blocks import block_average, pooled
from jles.analysis.estimators.planar import (
    Planes,
    planar_density,
    planar_potential,
    planes_of,
)
from jles.analysis.reports.drawing import draw_band, rule
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import FEW_FRAMES, describe, few_frames, lower_bounds
from jles.analysis.run import Run
from jles.errors import InputError

DENSITY, POTENTIAL, FIELD = (
    "density of {} (1/angstrom^3)",
    "potential (V)",
    "field (V/angstrom)",
)
"""Names of columns; "error of" before them names their standard errors."""

MOMENTS = ("charges", "dipoles", "quadrupoles")
"""Records that the potential is made of; without charges there is none."""

_MOST_LAYERS = 100_000
_SAME = 1e-6


def profiles(
    runs: Sequence[Run],
    axis: int = 2,
    width: float = 0.25,
    sigma: float = 1.0,
    temperature: float | None = None,
) -> Outcome:
    """Densities in layers and, where charges were recorded, the potential and field.

    Recorded dipoles and quadrupoles are part of the potential.

    Args:
        runs: of the same atoms in the same fixed cell, with positions recorded.
        axis: the cell vector along which the profiles run; the layers contain the other two.
        width: of a layer, angstrom; made to divide the height of the cell.
        sigma: smearing width of the model, angstrom.
        temperature: K, for the title; by default the mean of the runs, if recorded.

    Raises:
        InputError: different atoms or cells, a width out of range, or moments that were
            recorded at other steps than positions.
    """
    unlike = check_alike(runs)
    planes = _shared_planes(runs, axis)
    records = [run.read("positions") for run in runs]
    heights = [record.values @ planes.normal for record in records]
    period = planes.period if runs[0].pbc[axis] else None
    edges = _edges(heights, planes, width, period)
    middles = 0.5 * (edges[1:] + edges[:-1])
    series = _densities(runs[0].numbers, heights, edges, planes.area, period)
    charged = all(run.has("charges") for run in runs)
    if charged:
        series |= _electric(runs, records, planes, heights, middles, period, sigma)
    columns, converged = {"height (angstrom)": middles}, []
    for name, parts in series.items():
        found = pooled([block_average(part) for part in parts], [len(part) for part in parts])
        columns[name], columns[f"error of {name}"] = found.mean, found.error
        converged.append(found.converged)
    title = describe(runs, records, title_temperature(runs, temperature))
    lines = [f"profiles along {'abc'[axis]}, {title}", *_in_words(columns)]
    if not charged:
        lines.append("no potential: `record: {charges: N}`, N as for positions, gives it")
    frames = sum(len(record.steps) for record in records)
    if frames < FEW_FRAMES:
        lines.append(few_frames(frames))
    lines += lower_bounds(converged, "values in layers")
    lines += _moving_centres(runs, heights, edges[1] - edges[0])
    lines += unlike
    return Outcome("profile", columns, lines, _drawn(columns, title))


def _moving_centres(runs: Sequence[Run], heights, width: float) -> list[str]:
    """A warning for every run whose centre of mass moves by more than a layer."""
    warnings = []
    for run, part in zip(runs, heights, strict=True):
        reach = np.ptp(part @ run.masses) / run.masses.sum()
        if reach > width:
            warnings.append(
                f"warning: {run.path}: the centre of mass moves by {reach:.2g} angstrom along "
                f"the normal, more than a layer of {width:.2g}; this blurs the profiles"
            )
    return warnings


def _densities(numbers, heights, edges, area, period) -> dict[str, list]:
    """Densities of every element, by run, (frames, layers)."""
    from ase.data import chemical_symbols

    return {
        DENSITY.format(chemical_symbols[z]): [
            np.array(
                [planar_density(h[numbers == z], edges, area, period=period) for h in part]
            )
            for part in heights
        ]
        for z in np.unique(numbers)
    }


def _electric(runs, records, planes: Planes, heights, middles, period, sigma) -> dict:
    """Potential and field of the recorded moments, by run, (frames, layers)."""
    found = {POTENTIAL: [], FIELD: []}
    for run, record, part in zip(runs, records, heights, strict=True):
        moments = _moments_along(run, record.steps, planes.normal)
        frames = [
            planar_potential(
                middles,
                part[n],
                area=planes.area,
                period=period,
                sigma=sigma,
                **{name: values[n] for name, values in moments.items()},
            )
            for n in range(len(part))
        ]
        found[POTENTIAL].append(np.array([frame.potential for frame in frames]))
        found[FIELD].append(np.array([frame.field for frame in frames]))
    return found


def _moments_along(run: Run, steps, normal) -> dict[str, np.ndarray]:
    """Recorded moments, as components along the normal, by name, (frames, atoms).

    Raises:
        InputError: moments that were recorded at other steps than positions.
    """
    found = {}
    for name in MOMENTS:
        if not run.has(name):
            continue
        record = run.read(name)
        if not np.array_equal(record.steps, steps):
            raise InputError(
                f"{run.path}: {name} and positions were recorded at different steps; record "
                "both at the same interval"
            )
        found[name] = record.values
    found["charges"] = found["charges"].sum(axis=-1)
    for name in MOMENTS[1:]:
        while name in found and found[name].ndim > 2:
            found[name] = found[name] @ normal
    return found


def _shared_planes(runs: Sequence[Run], axis: int) -> Planes:
    """The planes of the cell, which all frames of all runs must share."""
    first = runs[0]
    cell = first.read("positions", "cell").values[0]
    for run in runs:
        if not (np.delete(run.pbc, axis).all() and run.pbc[axis] == first.pbc[axis]):
            flags = " ".join("FT"[int(periodic)] for periodic in run.pbc)
            raise InputError(
                f"{run.path}: pbc is {flags}; layers along {'abc'[axis]} need the other two "
                "directions to be periodic"
            )
        if np.abs(run.read("positions", "cell").values - cell).max() > _SAME:
            other = "" if run is first else f", or is not that of {first.path}"
            raise InputError(f"{run.path}: the cell changes{other}; layers need a fixed one")
    return planes_of(cell, axis)


def _edges(heights, planes: Planes, width: float, period: float | None):
    """Edges of the layers: from the origin over one period, or around all atoms of a slab."""
    low, high = 0.0, planes.period
    if period is None:
        low = min(part.min() for part in heights) - width
        high = max(part.max() for part in heights) + width
    if not 0.0 < width <= high - low or high - low > _MOST_LAYERS * width:
        raise InputError(
            f"--width {width:g}: must be positive, at most the height {high - low:.3g} "
            f"angstrom, and give at most {_MOST_LAYERS} layers"
        )
    return np.linspace(low, high, round((high - low) / width) + 1)


def _in_words(columns: dict[str, np.ndarray]) -> list[str]:
    """The highest density of each element and the range of the potential."""
    middles, lines = columns["height (angstrom)"], []
    for name, values in columns.items():
        if name.startswith("density of"):
            top = int(np.argmax(values))
            element = name.removeprefix("density of ").split()[0]
            lines.append(
                f"{element}: highest density {values[top]:.4g} 1/angstrom^3 at "
                f"{middles[top]:.2f} angstrom"
            )
    if POTENTIAL in columns:
        low, high = columns[POTENTIAL].min(), columns[POTENTIAL].max()
        lines.append(f"latent potential between {low:.3f} and {high:.3f} V")
    return lines


def _drawn(columns: dict[str, np.ndarray], title: str):
    """Densities above, potential and field below."""
    from jles.pictures import ACCENT, PALETTE, SECOND, new_figure

    electric = POTENTIAL in columns
    figure, axes = new_figure(7.0, 2.6, rows=3 if electric else 1)
    heights = columns["height (angstrom)"]
    names = [name for name in columns if name.startswith("density of")]
    for number, name in enumerate(names):
        color = PALETTE[number % len(PALETTE)]
        element = name.removeprefix("density of ").split()[0]
        draw_band(axes[0], heights, columns[name], columns[f"error of {name}"], color, element)
    axes[0].set(ylabel="atoms per Å³", ylim=(0.0, None))
    axes[0].legend(frameon=False, ncols=len(names))
    if electric:
        for axis, name, label, color in (
            (axes[1], POTENTIAL, "latent potential (V)", ACCENT),
            (axes[2], FIELD, "latent field (V/Å)", SECOND),
        ):
            draw_band(axis, heights, columns[name], columns[f"error of {name}"], color)
            rule(axis, 0.0, along="y")
            axis.set_ylabel(label)
    for axis in axes:
        axis.set_xlim(heights[0], heights[-1])
    axes[-1].set_xlabel("height (Å)")
    figure.suptitle(f"Profiles: {title}", fontsize=9)
    return figure
