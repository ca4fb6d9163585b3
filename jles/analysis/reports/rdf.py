"""Radial distributions of runs: what is read, printed, tabulated and drawn."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.analysis.conditions import check_alike, title_temperature
from jles.analysis.estimators.rdf import (
    Distribution,
    distributions,
    first_shell,
    half_height,
    ideal_counts,
    pair_counts,
)
from jles.analysis.reports.drawing import draw_band, rule
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import FEW_FRAMES, describe, few_frames, lower_bounds
from jles.analysis.run import Run
from jles.errors import InputError
from jles.follow import follow

_LEAST_FRAMES = 2

_MOST_BINS = 100_000
_MOST_PAIRS = 5e7
"""Of a frame; their list takes 2 GB."""
_MOST_COUNTS = 2**28
"""Of all frames, pairs of elements and bins; two arrays of them take 4 GB."""


def radial_distributions(
    runs: Sequence[Run],
    r_max: float | None = None,
    width: float = 0.05,
    every: int = 1,
    temperature: float | None = None,
) -> Outcome:
    """Distributions of all pairs of elements of runs with positions recorded.

    Args:
        runs: of the same atoms, periodic in three directions.
        r_max: angstrom; by default half the smallest height of the first cell.
        width: of a bin, angstrom.
        every: use only every n-th frame.
        temperature: K, for the title; by default the mean of the runs, if recorded.
    """
    from ase.data import chemical_symbols

    unlike = check_alike(runs)
    cell = _periodic(runs[0]).read("positions", "cell").values[0]
    r_max = half_height(cell) if r_max is None else r_max
    _check_pairs(len(runs[0].numbers), cell, r_max)
    edges = _edges(r_max, width)
    if every < 1:
        raise InputError(f"--every must be at least 1, got {every}")
    elements, kinds, populations = np.unique(
        runs[0].numbers, return_inverse=True, return_counts=True
    )
    records = [_periodic(run).read("positions", least=_LEAST_FRAMES) for run in runs]
    frames = sum(-(-len(record.steps) // every) for record in records)
    counts = frames * len(elements) ** 2 * (len(edges) - 1)
    if counts > _MOST_COUNTS:
        raise InputError(
            f"--width {width:g}: {frames} frames of {len(edges) - 1} bins and {len(elements)} "
            f"elements are {counts:.2g} numbers; take wider bins or a larger --every"
        )
    pairs = [
        _run_counts(run, record, kinds, populations, edges, every)
        for run, record in zip(runs, records, strict=True)
    ]
    found = distributions(*map(list, zip(*pairs, strict=True)), populations, edges)
    named = {
        f"{chemical_symbols[elements[a]]}-{chemical_symbols[elements[b]]}": value
        for (a, b), value in found.items()
    }
    title = describe(runs, records, title_temperature(runs, temperature)) + (
        f", every {every}th frame" if every > 1 else ""
    )
    lines = [f"radial distributions, {title}", *(_line(*item) for item in named.items())]
    if edges[-1] > half_height(cell) + 1e-9:
        lines.append(
            f"beyond {half_height(cell):.3f} angstrom images of one atom are correlated"
        )
    if frames < FEW_FRAMES:
        lines.append(few_frames(frames))
    lines += lower_bounds([pair.converged for pair in named.values()], "bins")
    lines += unlike
    columns = {"r (angstrom)": edges[1:] - 0.5 * width}
    for name, pair in named.items():
        columns[f"g {name} (1)"] = pair.mean
        columns[f"g {name} standard error (1)"] = pair.error
        columns[f"n {name} up to r + {0.5 * width:g} (1)"] = pair.coordination
    return Outcome("rdf", columns, lines, draw_pairs(named, half_height(cell), title))


def draw_pairs(named: dict[str, Distribution], limit: float, title: str):
    """Distribution functions and coordination numbers."""
    from jles.pictures import PALETTE, new_figure

    figure, axes = new_figure(4.8, 3.8, columns=2)
    for number, (name, pair) in enumerate(named.items()):
        color = PALETTE[number % len(PALETTE)]
        draw_band(axes[0], pair.radii, pair.mean, pair.error, color, name)
        axes[1].plot(pair.radii, pair.coordination, color=color, linewidth=1.2, label=name)
    rule(axes[0], 1.0, along="y")
    highest = max(pair.coordination[-1] for pair in named.values())
    axes[1].set_ylim(0.0, min(highest, 24.0) or 1.0)
    axes[0].set_ylim(bottom=0.0)
    for axis, label in zip(axes, ("g(r)", "neighbours within r"), strict=True):
        radii = next(iter(named.values())).radii
        axis.set(xlabel="r (Å)", ylabel=label, xlim=(0.0, radii[-1]))
        if radii[-1] > limit:
            axis.axvline(limit, color="#999999", linewidth=0.8, linestyle=":")
        axis.legend(frameon=False)
    figure.suptitle(f"Radial distributions: {title}", fontsize=9)
    return figure


def _periodic(run: Run) -> Run:
    if not run.pbc.all():
        flags = " ".join("FT"[int(periodic)] for periodic in run.pbc)
        raise InputError(
            f"{run.path}: pbc is {flags}; a density needs three periodic directions"
        )
    return run


def _edges(r_max: float, width: float) -> Float[np.ndarray, " edges"]:
    if not 0.0 < width <= r_max:
        raise InputError(f"--width {width:g}: must be positive and at most --r-max {r_max:g}")
    if r_max / width > _MOST_BINS:
        raise InputError(
            f"--width {width:g}: {r_max / width:.3g} bins up to {r_max:g} angstrom; take at "
            f"least {2.0 * r_max / _MOST_BINS:.1g}"
        )
    return width * np.arange(int(r_max / width + 1e-9) + 1)


def _check_pairs(atoms: int, cell, r_max: float) -> None:
    """Refuses a radius with more pairs of atoms than can be listed."""
    density = atoms / abs(np.linalg.det(cell))
    pairs = atoms * density * 4.0 / 3.0 * np.pi * r_max**3
    if pairs > _MOST_PAIRS:
        most = r_max * (_MOST_PAIRS / pairs) ** (1.0 / 3.0)
        raise InputError(
            f"--r-max {r_max:g}: a frame has {pairs:.2g} pairs of atoms within so many "
            f"angstrom; take at most {most:.3g}"
        )


def _run_counts(run: Run, record, kinds, populations, edges, every: int) -> tuple:
    cells = run.read("positions", "cell").values[::every]
    frames = list(zip(record.values[::every], cells, strict=True))
    counts = [pair_counts(p, cell, kinds, edges) for p, cell in follow(frames, "frame")]
    volumes = np.abs(np.linalg.det(cells))
    ideal = [ideal_counts(populations, float(volume), edges) for volume in volumes]
    return np.array(counts, float), np.array(ideal)


def _line(name: str, pair: Distribution) -> str:
    if not np.max(pair.mean) > 0.0:
        return f"{name}: none within {pair.radii[-1]:.2f} angstrom"
    top, bottom, count = first_shell(pair)
    return f"{name}: highest at {top:.3f} angstrom, {count:.2f} neighbours within {bottom:.2f}"
