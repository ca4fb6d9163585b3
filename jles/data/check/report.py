"""A check as text and as a picture."""

from collections.abc import Iterator

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from jles.data.check.labels import by_element
from jles.data.check.run import Check
from jles.pictures import ACCENT, GUIDE, PALETTE, new_figure, save_figure

_CUTOFFS = (4.0, 5.0, 6.0)
_GRAMS = 1.66054
"""g/cm^3 of one atomic mass unit per cubic angstrom."""


def text(check: Check) -> Iterator[str]:
    """The lines of the report, without the remarks."""
    survey = check.survey
    if survey is None:
        return
    kinds = {3: "crystals", 2: "slabs", 1: "wires", 0: "molecules"}
    counts = {name: sum(f.pbc.sum() == n for f in check.frames) for n, name in kinds.items()}
    sizes = sorted({len(frame.numbers) for frame in check.frames})
    size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    yield f"frames       {survey.frames}, of {size} atoms"
    yield "boundaries   " + ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    charges = sorted({round(frame.total_charge, 3) + 0.0 for frame in check.frames})
    yield "total charge " + ", ".join(f"{charge:+g}" for charge in charges[:8]) + " e"
    yield "labels       " + (
        ", ".join(f"{name} ({n})" for name, n in survey.labels.items()) or "none"
    )
    yield from _densities(check)
    yield from _energies(check)
    yield from _elements(check)
    yield ""
    yield "pair   shortest  median below 3 angstrom (angstrom)"
    for name, apart in check.distances.pairs.items():
        if len(apart):
            yield f"{name:<6} {apart.min():8.3f}  {np.median(apart):8.3f}"
    neighbors = ", ".join(f"{survey.neighbors(r):.0f} ({r:g})" for r in _CUTOFFS)
    yield f"neighbours of an atom, within a cutoff (angstrom): {neighbors}"


def _densities(check: Check) -> Iterator[str]:
    values = [
        _GRAMS * atomic_masses[frame.numbers].sum() / abs(np.linalg.det(frame.cell))
        for frame in check.frames
        if frame.pbc.all()
    ]
    if values:
        low, high = (f"{value:.3g}" for value in (min(values), max(values)))
        yield f"density      {low if low == high else f'{low} to {high}'} g/cm^3"


def _energies(check: Check) -> Iterator[str]:
    known = check.remaining[np.isfinite(check.remaining)]
    if len(known):
        per_atom = [
            float(frame.labels["energy"]) / len(frame.numbers)
            for frame in check.frames
            if "energy" in frame.labels
        ]
        yield (
            f"energy       {min(per_atom):.4f} to {max(per_atom):.4f} eV/atom; without element "
            f"energies {1e3 * np.std(known):.2f} meV/atom (standard deviation)"
        )
    net = check.net[np.isfinite(check.net)]
    if len(net):
        yield (
            f"net forces   show errors of {np.sqrt(np.mean(net**2)):.2g} eV/angstrom per force "
            "component (root mean square)"
        )
    if check.work is not None:
        yield (
            f"consistency  energies change by {check.work.ratio:.3f} times the work of the "
            f"forces (correlation {check.work.correlation:.3f}, {check.work.steps} frames)"
        )


def _elements(check: Check) -> Iterator[str]:
    rows = by_element(check.frames)
    if not check.survey.labels:
        return
    born = any(np.isfinite(row["born"]) for row in rows)
    yield ""
    yield "element     atoms  force rms  largest (eV/angstrom)" + (
        "  Born charge (e)" if born else ""
    )
    for row in rows:
        line = f"{row['element']:<7} {row['atoms']:9d}  {row['force_rms']:9.3f}"
        line += f"  {row['force_max']:7.2f}"
        if born:
            line += f"                 {row['born']:+.2f} ± {row['born_std']:.2f}"
        yield line.replace("+nan ± nan", "nan").replace("nan", "  -")


def picture(path, check: Check) -> None:
    """Energies, forces, distances and net forces of the frames, in one picture."""
    figure, axes = new_figure(4.6, 3.4, columns=2, rows=2)
    _draw_energies(axes[0], check)
    _draw_forces(axes[1], check)
    _draw_distances(axes[2], check)
    _draw_net(axes[3], check)
    save_figure(figure, path)


def _draw_energies(axis, check: Check) -> None:
    axis.plot(1e3 * check.remaining, "o", color=ACCENT, markersize=3, markeredgewidth=0)
    axis.set(xlabel="frame", ylabel="energy without element\nenergies (meV/atom)")


def _draw_forces(axis, check: Check) -> None:
    for n, row in enumerate(by_element(check.frames)):
        parts = [
            frame.labels["forces"][frame.numbers == atomic_numbers[row["element"]]].ravel()
            for frame in check.frames
            if "forces" in frame.labels
        ]
        if parts:
            _histogram(axis, np.concatenate(parts), PALETTE[n % len(PALETTE)], row["element"])
    axis.set(xlabel="force component (eV/Å)", ylabel="share of components", yscale="log")
    _legend(axis)


def _draw_distances(axis, check: Check) -> None:
    for n, (name, apart) in enumerate(check.distances.pairs.items()):
        if len(apart):
            _histogram(axis, apart, PALETTE[n % len(PALETTE)], name, np.linspace(0.5, 3.0, 76))
    axis.set(xlabel="distance below 3 Å", ylabel="share of distances")
    _legend(axis)


def _draw_net(axis, check: Check) -> None:
    axis.plot(1e3 * check.net, "o", color=ACCENT, markersize=3, markeredgewidth=0)
    axis.axhline(0.0, color=GUIDE, linewidth=0.8)
    axis.set(xlabel="frame", ylabel="force error estimated\nfrom the net force (meV/Å)")


def _histogram(axis, values, color, label, bins=60) -> None:
    weights = np.full(len(values), 1.0 / max(1, len(values)))
    axis.hist(values, bins, weights=weights, histtype="step", color=color, label=label)


def _legend(axis) -> None:
    if axis.get_legend_handles_labels()[1]:
        axis.legend(frameon=False, fontsize=8)
