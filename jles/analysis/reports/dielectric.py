"""Static dielectric constant of runs: what is read, printed, tabulated and drawn."""

from collections.abc import Sequence

import numpy as np

from jles.analysis.conditions import (
    check_alike,
    check_no_field,
    conditions,
    same_interval,
)
from jles.analysis.estimators.dielectric import (
    fluctuation,
    running_fluctuation,
    susceptibility_unit,
)
from jles.analysis.estimators.transport import Estimate
from jles.analysis.moment import agreement, in_mean_cell, polarization_path
from jles.analysis.reports.drawing import draw_band
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import describe, few_samples
from jles.analysis.run import Run
from jles.errors import InputError

_POINTS = 400


def dielectric(
    runs: Sequence[Run],
    epsilon_infinity: float = 1.0,
    scale: float = 1.0,
    temperature: float | None = None,
    source: str = "current",
) -> Outcome:
    """Static dielectric constant of runs in equilibrium without a field.

    Args:
        runs: with the current recorded, which is integrated, or the polarization.
        epsilon_infinity: electronic dielectric constant, added to the fluctuation.
        scale: factor of the recorded dipole; sqrt(eps_inf) for latent charges.
        temperature: K; by default the mean of the runs.
        source: of the dipole, as for `moment.polarization_path`.
    """
    if not epsilon_infinity >= 1.0:
        raise InputError(f"--epsilon-infinity must be at least 1, got {epsilon_infinity}")
    check_no_field(runs, "the fluctuation gives epsilon")
    unlike = check_alike(runs)
    records = [in_mean_cell(run, polarization_path(run, source).record) for run in runs]
    interval = same_interval(records, runs)
    state = conditions(runs, temperature)
    dipoles = [scale * record.values for record in records]
    unit = susceptibility_unit(*state)
    found = fluctuation(dipoles, unit)
    value = found.mean._replace(value=found.mean.value + epsilon_infinity)
    title = describe(runs, records, state.temperature)
    lines = [
        f"static dielectric constant, {title}",
        f"epsilon = {value}, of which {epsilon_infinity:g} from the electrons",
        *few_samples("the dipole", dipoles, interval),
        *unlike,
        *(line for run in runs for line in agreement(run)),
        *(_axis_line(found.tensor, axis, epsilon_infinity) for axis in range(3)),
    ]
    curves = [
        _thinned(running_fluctuation(d, unit) + epsilon_infinity, interval) for d in dipoles
    ]
    columns = {
        "run": np.concatenate([np.full(len(t), str(n)) for n, (t, _) in enumerate(curves)]),
        "time (ps)": np.concatenate([times for times, _ in curves]),
        "running epsilon (1)": np.concatenate([values for _, values in curves]),
    }
    return Outcome("dielectric", columns, lines, draw_running(curves, value, title))


def draw_running(curves, value: Estimate, title: str):
    """Running estimates of the runs and the final value with its error."""
    from jles.pictures import ACCENT, INK, PALETTE, new_figure

    figure, (axis,) = new_figure(5.6, 3.8)
    for number, (times, values) in enumerate(curves):
        name = None if len(curves) == 1 else f"run {number}"
        axis.plot(
            times, values, color=PALETTE[number % len(PALETTE)], linewidth=1.2, label=name
        )
    ends = np.array([0.0, max(times[-1] for times, _ in curves)])
    mean, error = np.full(2, value.value), np.full(2, value.error)
    color = ACCENT if len(curves) == 1 else INK
    draw_band(axis, ends, mean, error, color, f"ε = {value.value:.4g} ± {value.error:.2g}")
    axis.set(xlabel="time averaged over (ps)", ylabel="dielectric constant", xlim=tuple(ends))
    axis.set_ylim(bottom=0.0)
    axis.legend(frameon=False, loc="lower right")
    axis.set_title(f"Static dielectric constant: {title}", fontsize=9)
    return figure


def _axis_line(tensor: Estimate, axis: int, epsilon_infinity: float) -> str:
    value = Estimate(
        tensor.value[axis, axis] + epsilon_infinity, tensor.error[axis, axis], tensor.converged
    )
    return f"  {'xyz'[axis] * 2}: {value}"


def _thinned(values, interval: float) -> tuple:
    """Times in ps and values, thinned to fit a table; the last one is kept."""
    kept = np.unique(np.linspace(0, len(values) - 1, _POINTS).round().astype(int))
    return 1e-3 * interval * kept, values[kept]
