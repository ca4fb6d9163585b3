"""Hysteresis of runs in a cycled field: what is read, printed, tabulated and drawn."""

from collections.abc import Sequence

import numpy as np

from jles.analysis.conditions import check_alike, title_temperature
from jles.analysis.estimators.hysteresis import Loop, field_axis, hysteresis_loop
from jles.analysis.estimators.units import POLARIZATION
from jles.analysis.moment import agreement, at_steps, in_mean_cell, polarization_path, volumes
from jles.analysis.reports.drawing import draw_band, rule
from jles.analysis.reports.outcome import Outcome
from jles.analysis.reports.wording import describe
from jles.analysis.run import Run
from jles.errors import InputError
from jles.units import FIELD_UNITS

_KV_PER_CM = 1.0 / FIELD_UNITS["kV/cm"]
_PARALLEL = 1.0 - 1e-5
"""Smallest cosine between directions of fields that are the same: 0.3 degrees."""


def hysteresis(
    runs: Sequence[Run],
    scale: float = 1.0,
    temperature: float | None = None,
    source: str = "current",
) -> Outcome:
    """Loop of one or more runs with field (thermo) and polarization or current recorded.

    Args:
        runs: of the same atoms in the same cycled field; all their half loops are averaged.
        scale: factor of the recorded polarization.
        temperature: K, for the title; by default the mean of the runs, if recorded.
        source: of the polarization, as for `moment.polarization_path`.
    """
    unlike = check_alike(runs)
    axis, loops, records, fields, densities = None, [], [], [], []
    for run in runs:
        record = in_mean_cell(run, polarization_path(run, source).record)
        density = record.values / volumes(run, record).mean()
        vectors = at_steps(run.read("thermo", "field"), record.steps, "field")
        try:
            axis = _shared_axis(axis, field_axis(vectors))
            loops.append(hysteresis_loop(vectors @ axis, scale * density @ axis))
        except InputError as error:
            raise InputError(f"{run.path}: {error}") from None
        records.append(record)
        densities.append(density)
        fields.append(vectors @ axis)
    if not all(np.allclose(loop.field, loops[0].field, rtol=1e-3) for loop in loops):
        raise InputError("runs in fields of different amplitudes; analyse them separately")
    loop = Loop(loops[0].field, *map(np.concatenate, list(zip(*loops, strict=True))[1:]))
    title = describe(runs, records, title_temperature(runs, temperature))
    raw = (fields[0], scale * _centred(densities[0] @ axis))
    rate = np.median(np.abs(np.diff(fields[0]))) / records[0].interval * _KV_PER_CM * 1e3
    halves = f"{len(loop.falling)} falling and {len(loop.rising)} rising halves"
    note = f"{halves}, {rate:.3g} kV/cm per ps"
    lines = [f"hysteresis along {np.round(axis, 3).tolist()}, {title}, {note}", *_words(loop)]
    if min(len(loop.falling), len(loop.rising)) < 2:
        lines.append(
            "warning: the run is short: one half loop in a direction has no error; run two "
            "cycles or more"
        )
    lines += [*unlike, *(line for run in runs for line in agreement(run))]
    columns = {
        "field (V/angstrom)": loop.field,
        "field (kV/cm)": loop.field * _KV_PER_CM,
    }
    for name, halves in (("falling", loop.falling), ("rising", loop.rising)):
        columns[f"polarization {name} (microC/cm^2)"] = np.mean(halves, axis=0)
        columns[f"standard error {name} (microC/cm^2)"] = _error(halves)
    return Outcome("hysteresis", columns, lines, draw_loop(loop, raw, f"{title}, {note}"))


def _shared_axis(first, axis):
    """The direction of the first field, if there is one, which `axis` must be parallel to."""
    if first is None:
        return axis
    if abs(first @ axis) < _PARALLEL:
        raise InputError(
            f"the field is along {np.round(axis, 3).tolist()}, that of the first run along "
            f"{np.round(first, 3).tolist()}; analyse them separately"
        )
    return first


def draw_loop(loop: Loop, raw, title: str):
    """Average loop with its error, over the frames of the first run."""
    from jles.pictures import ACCENT, GRID, SECOND, new_figure

    figure, (axis,) = new_figure(5.8, 4.2)
    axis.plot(raw[0], raw[1], color="#bbbbbb", linewidth=0.5, zorder=0.5, rasterized=True)
    for halves, color, name in (
        (loop.falling, ACCENT, "field falling"),
        (loop.rising, SECOND, "field rising"),
    ):
        draw_band(axis, loop.field, np.mean(halves, axis=0), _error(halves), color, name)
    for along in "xy":
        rule(axis, 0.0, along)
    axis.set(xlabel="field (V/Å)", ylabel="polarization (µC/cm²)")
    above = axis.secondary_xaxis("top", functions=(_to_kv_per_cm, _from_kv_per_cm))
    above.set_xlabel("field (kV/cm)")
    above.spines["top"].set_color(GRID)
    axis.legend(frameon=False, loc="lower right")
    axis.set_title(f"Hysteresis: {title}", fontsize=8)
    return figure


def _to_kv_per_cm(field):
    return field * _KV_PER_CM


def _from_kv_per_cm(field):
    return field / _KV_PER_CM


def _centred(density):
    """In microC/cm^2, with the mean of the extremes subtracted."""
    values = POLARIZATION * density
    return values - 0.5 * (np.max(values) + np.min(values))


def _error(halves):
    """Standard error over half loops; NaN for a single one."""
    if len(halves) < 2:
        return np.full(halves.shape[1:], np.nan)
    return np.std(halves, axis=0, ddof=1) / np.sqrt(len(halves))


def _words(loop: Loop) -> list[str]:
    rows = (
        ("coercive field, falling", loop.coercive_falling, "V/angstrom", _KV_PER_CM, "kV/cm"),
        ("coercive field, rising", loop.coercive_rising, "V/angstrom", _KV_PER_CM, "kV/cm"),
        ("remanent polarization, falling", loop.remanent_falling, "microC/cm^2", None, ""),
        ("remanent polarization, rising", loop.remanent_rising, "microC/cm^2", None, ""),
        ("area of a cycle", loop.areas, "J/cm^3", None, ""),
    )
    return [_line(*row) for row in rows]


def _line(name, values, unit, factor, other) -> str:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return f"{name}: not reached"
    error = _error(known)
    spread = f" ± {error:.2g}" if np.isfinite(error) else ""
    also = f" ({factor * np.mean(known):.4g} {other})" if factor else ""
    missed = f", not reached in {len(values) - len(known)}" if len(known) < len(values) else ""
    return f"{name}: {np.mean(known):.4g}{spread} {unit}{also}{missed}"
