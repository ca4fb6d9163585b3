"""Conductivity and self-diffusion of runs: what is read, printed, tabulated and drawn."""

from collections.abc import Sequence

import numpy as np

from jles.analysis.charge_flow import BORN, FORMAL, formal_flow, recorded_flow
from jles.analysis.conditions import (
    Conditions,
    check_alike,
    check_no_field,
    conditions,
    same_interval,
)
from jles.analysis.estimators.conductivity import (
    ChargeFlow,
    Conductivity,
    Curves,
    conductivity_unit,
    curves,
    ionic_conductivity,
)
from jles.analysis.estimators.transport import Estimate, longest_lag
from jles.analysis.estimators.units import DIFFUSION
from jles.analysis.moment import LEAST_FRAMES, agreement
from jles.analysis.motion import self_diffusion
from jles.analysis.reports.drawing import draw_band, rule
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import describe
from jles.analysis.run import Run
from jles.errors import InputError


def conductivity(
    runs: Sequence[Run],
    formal: dict[str, float] | None = None,
    window: float | None = None,
    scale: float = 1.0,
    temperature: float | None = None,
) -> Outcome:
    """Conductivity from the recorded current, from formal charges, and self-diffusion.

    Args:
        runs: in equilibrium, with current, polarization, positions or velocities recorded.
        formal: charges by element, e; the cell must be neutral.
        window: upper end of the Green-Kubo integral, fs; found automatically by default.
        scale: factor of the recorded current and polarization.
        temperature: K; by default the mean of the runs.
    """
    check_no_field(runs, "fluctuations of the current give the conductivity")
    unlike = check_alike(runs)
    flows = [recorded_flow(runs, scale)]
    if formal:
        flows.append(formal_flow(runs, formal))
    flows = [flow for flow in flows if flow is not None]
    if not flows:
        raise InputError(
            f"{runs[0].path}: holds no current and no polarization; record them by "
            "`record: {current: 1}` in the md config, or give --formal charges"
        )
    if window is not None and not window > 0.0:
        raise InputError(f"--window must be positive (fs), got {window}")
    state = conditions(runs, temperature)
    unit = conductivity_unit(*state)
    found = [ionic_conductivity(flow, unit, window) for flow in flows]
    pairs = [(each, curves(each, unit)) for each in found]
    title = describe(runs, [_record(run, flows[0]) for run in runs], state.temperature)
    lines = [f"ionic conductivity, {title}", *(line for each in found for line in _words(each))]
    lines += unlike
    lines += [line for run in runs for line in agreement(run)]
    lines += _diffusion_words(runs, formal, state, found[0])
    return Outcome("conductivity", _columns(pairs), lines, draw(pairs, unit, title))


def _record(run: Run, flow: ChargeFlow):
    """What a flow was computed from; of positions and velocities those of one atom."""
    if flow.name == FORMAL:
        kind = "positions" if flow.current is None else "velocities"
        return run.read(kind, atoms=slice(0, 1))
    return run.read("current" if flow.name == BORN else "polarization")


def _words(found: Conductivity) -> list[str]:
    lines = [f"{found.flow.name}, window {found.window:g} fs:"]
    for name, value in (("Green-Kubo", found.green_kubo), ("Einstein", found.einstein)):
        if value is not None:
            lines.append(f"  {name}: {value} S/cm, {100.0 * float(value.value):.4g} S/m")
    if not found.is_silent:
        lines.append(
            "warning: the run is short: the current is still correlated at the end of this "
            "window; run longer"
        )
    return lines


def _diffusion_words(runs, formal, state: Conditions, first: Conductivity) -> list[str]:
    """Self-diffusion and the Nernst-Einstein conductivity, if positions were recorded."""
    from ase.data import chemical_symbols

    if not all(run.has("positions") for run in runs):
        return []
    heads = [run.read("positions", atoms=slice(0, 1)) for run in runs]
    fewest = min(len(head.steps) for head in heads)
    if fewest < LEAST_FRAMES:
        return [f"self-diffusion: needs {LEAST_FRAMES} frames of positions, there are {fewest}"]
    found = self_diffusion(runs, diffusion_lag(first, fewest, same_interval(heads, runs)))
    lines = [
        f"self-diffusion of {chemical_symbols[z]}: {value.scaled(DIFFUSION)} cm^2/s"
        for z, value in found.items()
    ]
    if formal:
        unit = 3.0 * conductivity_unit(*state)
        counts = {z: int(np.sum(runs[0].numbers == z)) for z in found}
        factors = {z: unit * counts[z] * formal[chemical_symbols[z]] ** 2 for z in found}
        value = sum(factors[z] * found[z].value for z in found)
        error = np.sqrt(sum((factors[z] * found[z].error) ** 2 for z in found))
        nernst = Estimate(value, error, all(e.converged for e in found.values()))
        lines.append(f"Nernst-Einstein, formal charges as independent ions: {nernst} S/cm")
    return lines


def diffusion_lag(first: Conductivity, frames: int, interval: float) -> int:
    """Frames after which displacements grow linearly.

    A twentieth of the run, but at least one window and at most ten, so that a longer run has
    more independent displacements. If the current stays correlated at the end of its window,
    the limit of ten does not apply.
    """
    window = max(round(first.window / interval), 1)
    lag = max(frames // 20, window)
    if first.is_silent:
        lag = min(lag, 10 * window)
    return min(lag, longest_lag(frames))


def _columns(pairs: list[tuple[Conductivity, Curves]]) -> dict[str, np.ndarray]:
    parts = {
        "charges": [
            np.full(len(c.times), found.flow.name.removesuffix(" charges"))
            for found, c in pairs
        ],
        "time (fs)": [c.times for _, c in pairs],
        "current correlation (1)": [_correlation(c) for _, c in pairs],
        "Green-Kubo integral (S/cm)": [c.running.value for _, c in pairs],
        "standard error (S/cm)": [c.running.error for _, c in pairs],
        "mean square dipole ((e angstrom)^2)": [c.squares for _, c in pairs],
    }
    return {name: np.concatenate(values) for name, values in parts.items()}


def _correlation(curve: Curves) -> np.ndarray:
    """The correlation at the times of the other columns."""
    fine = np.linspace(0.0, curve.times[-1], len(curve.correlation))
    return np.interp(curve.times, fine, curve.correlation)


def draw(pairs: list[tuple[Conductivity, Curves]], unit: float, title: str):
    """Correlation, running integral with its error, displaced dipole with the fitted slope."""
    from jles.pictures import ACCENT, INK, SECOND, new_figure

    figure, axes = new_figure(4.4, 3.6, columns=3)
    for (each, curve), color in zip(pairs, (ACCENT, SECOND), strict=False):
        name = each.flow.name
        fine = np.linspace(0.0, curve.times[-1], len(curve.correlation))
        axes[0].plot(fine, curve.correlation, color=color, linewidth=1.0, label=name)
        if each.green_kubo is not None:
            label = f"{name}: {each.green_kubo.value:.3g} ± {each.green_kubo.error:.2g}"
            draw_band(axes[1], curve.times, *curve.running[:2], color, label)
        # Half the slope is the integral of the correlation, 3 V kT times sigma.
        scaled = 0.5e-3 * unit * curve.squares
        label = f"{name}: {each.einstein.value:.3g} ± {each.einstein.error:.2g}"
        axes[2].plot(curve.times, scaled, color=color, linewidth=1.2, label=label)
        fitted = np.array([each.window, min(2.0 * each.window, curve.times[-1])])
        start = np.interp(each.window, curve.times, scaled)
        line = start + 1e-3 * each.einstein.value * (fitted - each.window)
        axes[2].plot(fitted, line, color=INK, linewidth=1.0, linestyle="--", zorder=3)
        for axis in axes[:2]:
            axis.axvline(each.window, color=color, linewidth=0.8, linestyle=":")
    for axis, label in zip(axes, _LABELS, strict=True):
        rule(axis, 0.0, along="y")
        axis.set(xlabel="time (fs)", ylabel=label, xlim=(0.0, None))
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, fontsize=8)
    figure.suptitle(f"Ionic conductivity: {title}; dotted: window, dashed: fit", fontsize=9)
    return figure


_LABELS = (
    "⟨J(0)·J(t)⟩ / ⟨J·J⟩",
    "Green–Kubo integral (S/cm)",
    "⟨|ΔP|²⟩ / 6VkT (S cm⁻¹ ps)",
)
