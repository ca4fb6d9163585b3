"""Polarization and tetragonality of runs against temperature: tables and pictures."""

from collections.abc import Sequence

import numpy as np

from jles.analysis.conditions import cells
from jles.analysis.estimators.order import Stretch, stretches
from jles.analysis.estimators.units import POLARIZATION
from jles.analysis.moment import agreement, at_steps, polarization_path, relative_to, volumes
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import describe, lower_bounds
from jles.analysis.run import Record, Run
from jles.errors import InputError


def order_parameter(
    runs: Sequence[Run],
    count: int = 20,
    scale: float = 1.0,
    zero: Sequence = (0.0, 0.0, 0.0),
    source: str = "current",
) -> Outcome:
    """Order parameters of each run in every stretch.

    Args:
        runs: heating or cooling, or one per temperature; polarization and thermo recorded.
        count: stretches per run.
        scale: factor of the recorded polarization.
        zero: recorded polarization of the symmetric structure in the cell of the first frame,
            e angstrom, (3,) or (runs, 3), which is subtracted and moves with the cell.
        source: of the polarization, as for `moment.polarization_path`.
    """
    if count < 1:
        raise InputError(f"--stretches must be at least 1, got {count}")
    rows, records = [], []
    zeros = np.broadcast_to(np.asarray(zero, float), (len(runs), 3))
    for number, run in enumerate(runs):
        record, found = _run_stretches(run, count, scale, zeros[number], source)
        records.append(record)
        rows += [(str(number), stretch) for stretch in found]
    title = describe(runs, records, None)
    lines = [f"order parameters, {title}"] + [
        f"run {n}: {s.temperature:.1f} K, |P| {s.polarization[0]:.4g} ± "
        f"{s.polarization_error[0]:.2g} microC/cm^2, c/a {s.tetragonality:.5g} ± "
        f"{s.tetragonality_error:.1g}"
        for n, s in rows
    ]
    converged = np.array([stretch.converged for _, stretch in rows])
    lines += lower_bounds([converged], "stretches", ", or take fewer --stretches")
    lines += [line for run in runs for line in agreement(run)]
    return Outcome("order", _columns(rows), lines, draw_order(runs, rows, title))


def draw_order(runs: Sequence[Run], rows, title: str):
    """Polarization and tetragonality against temperature, one colour per run."""
    from jles.pictures import PALETTE, new_figure

    figure, axes = new_figure(4.6, 3.6, columns=2)
    for number, run in enumerate(runs):
        part = [stretch for name, stretch in rows if name == str(number)]
        temperatures = [s.temperature for s in part]
        style = {"color": PALETTE[number % len(PALETTE)], "markersize": 4, "linewidth": 0.8}
        polarization = (
            [s.polarization[0] for s in part],
            [s.polarization_error[0] for s in part],
        )
        ratio = [s.tetragonality for s in part], [s.tetragonality_error for s in part]
        for axis, (values, errors) in zip(axes, (polarization, ratio), strict=True):
            axis.errorbar(temperatures, values, errors, fmt="o-", label=run.path.name, **style)
        if temperatures[0] != temperatures[-1]:
            _arrow(axes[0], temperatures, polarization[0], style["color"])
    for axis, label in zip(axes, ("⟨|P|⟩ (µC/cm²)", "c/a"), strict=True):
        axis.set(xlabel="temperature (K)", ylabel=label)
    axes[0].set_ylim(bottom=0.0)
    axes[0].legend(frameon=False)
    figure.suptitle(f"Order parameters: {title}", fontsize=9)
    return figure


def _arrow(axis, x, y, color) -> None:
    """An arrow in the direction of time, in the middle of the line."""
    at = len(x) // 2
    if at + 1 < len(x):
        options = {"arrowstyle": "-|>", "color": color, "mutation_scale": 14}
        axis.annotate("", (x[at + 1], y[at + 1]), (x[at], y[at]), arrowprops=options)


def _run_stretches(
    run: Run, count: int, scale: float, zero, source: str
) -> tuple[Record, list[Stretch]]:
    # The integral of the current needs a recorded polarization as its constant.
    run.read("polarization", least=1)
    record = relative_to(run, polarization_path(run, source).record, zero)
    density = record.values / volumes(run, record)[:, None]
    if len(density) < 4 * count:
        raise InputError(
            f"{run.path}: {len(density)} frames of polarization are too few for {count} "
            f"stretches; take --stretches {max(len(density) // 4, 1)}"
        )
    boxes = at_steps(cells(run), record.steps)
    temperature = at_steps(run.read("thermo", "temperature"), record.steps, "temperature")
    return record, stretches(temperature, scale * POLARIZATION * density, boxes, count)


def _columns(rows) -> dict[str, np.ndarray]:
    found = [stretch for _, stretch in rows]
    columns = {
        "run": np.array([name for name, _ in rows]),
        "temperature (K)": np.array([s.temperature for s in found]),
    }
    for index, name in enumerate(("|P|", "Px", "Py", "Pz")):
        columns[f"{name} (microC/cm^2)"] = np.array([s.polarization[index] for s in found])
        errors = np.array([s.polarization_error[index] for s in found])
        columns[f"{name} standard error (microC/cm^2)"] = errors
    columns["c/a"] = np.array([s.tetragonality for s in found])
    columns["c/a standard error"] = np.array([s.tetragonality_error for s in found])
    return columns
