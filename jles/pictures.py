"""Pictures of runs and predictions; matplotlib is imported when one is drawn."""

from pathlib import Path

import numpy as np

from jles.files import atomic_path

INK, ACCENT, SECOND, GRID = "#222222", "#1f5fa8", "#c2571a", "#dddddd"
GUIDE = "#8a8a8a"
"""Colour of lines that guide the eye; data are drawn above them."""

PALETTE = (ACCENT, SECOND, "#2e7d46", "#7a4fa3", "#b0902c", "#3a8f9e", INK)
"""Colours of kinds that stand beside one another."""

_MARKERS = "o^sDvP"


def kind_style(number: int) -> tuple[str, str]:
    """Colour and marker of a kind; the first 42 are distinct."""
    marker = _MARKERS[number // len(PALETTE) % len(_MARKERS)]
    return PALETTE[number % len(PALETTE)], marker


def new_figure(width: float = 5.0, height: float = 4.0, columns: int = 1, rows: int = 1):
    """A figure without a window and its axes, row by row; `width` and `height` of a panel."""
    from matplotlib.figure import Figure

    size = (width * columns, height * rows)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.grid(color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes


def save_figure(figure, path) -> None:
    """Writes a picture, whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary)


def diagonal(axis, limits) -> None:
    """The line y = x between two limits, below the data."""
    axis.plot(limits, limits, color=GUIDE, linewidth=0.8, zorder=1)


def points(axis, x, y, color=ACCENT, size: float = 3.0, label=None, marker="o") -> None:
    """Many points, above the guide lines and translucent where they overlap.

    Args:
        axis: of matplotlib.
        x: any shape.
        y: the same shape.
        color: of the markers.
        size: diameter of a marker, points.
        label: for the legend.
        marker: of matplotlib.
    """
    axis.plot(
        np.ravel(x),
        np.ravel(y),
        marker,
        color=color,
        markersize=size,
        markeredgewidth=0,
        alpha=0.5,
        zorder=3,
        rasterized=True,
        label=label,
    )


def parity_axis(axis, reference, predicted, name: str, unit: str, color=ACCENT) -> None:
    """Predicted against reference values, with the diagonal and the errors as title.

    Args:
        axis: of matplotlib.
        reference: any shape.
        predicted: the same shape.
        name: of the quantity.
        unit: of the quantity.
        color: of the points; None draws the frame of the picture without them.
    """
    reference, predicted = np.ravel(reference), np.ravel(predicted)
    low = min(reference.min(), predicted.min())
    high = max(reference.max(), predicted.max())
    margin = 0.03 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    diagonal(axis, limits)
    if color is not None:
        points(axis, reference, predicted, color, size=4.0 if reference.size < 300 else 2.5)
    error = predicted - reference
    mae, rmse = np.mean(np.abs(error)), np.sqrt(np.mean(error**2))
    axis.set(xlim=limits, ylim=limits, box_aspect=1.0)
    axis.set_xlabel(f"{name}, reference ({unit})")
    axis.set_ylabel(f"{name}, predicted ({unit})")
    axis.set_title(f"MAE {mae:.3g}, RMSE {rmse:.3g} {unit}", fontsize=9)
    axis.locator_params(nbins=5)  # more would run into one another


def born_charge_picture(path, elements, reference, predicted) -> None:
    """Born charges (atoms, 3, 3) by element: diagonal components left, the others right."""
    from ase.data import chemical_symbols

    on_diagonal = np.eye(3, dtype=bool)
    figure, axes = new_figure(4.2, 4.5, columns=2)
    for axis, which, name in zip(
        axes, (on_diagonal, ~on_diagonal), ("diagonal", "off-diagonal"), strict=True
    ):
        parity_axis(
            axis, reference[:, which], predicted[:, which], f"Z*, {name}", "e", color=None
        )
        for number, z in enumerate(np.unique(elements)):
            chosen = [part[elements == z][:, which] for part in (reference, predicted)]
            color, marker = kind_style(number)
            points(axis, *chosen, color, label=chemical_symbols[z], marker=marker)
        axis.legend(frameon=False, markerscale=2, loc="upper left")
    save_figure(figure, path)


def parity_picture(path, name: str, unit: str, reference, predicted) -> None:
    """One parity plot in a file."""
    figure, (axis,) = new_figure(4.2, 4.2)
    parity_axis(axis, reference, predicted, name, unit)
    save_figure(figure, path)


def learning_curve(path, rows: list[dict], panels: dict[str, tuple[str, float]]) -> None:
    """Errors of training and validation against the epoch.

    Args:
        path: of the picture.
        rows: of the metrics, one for each epoch.
        panels: label of the axis and factor of the values, by the name of a column without
            `train_` or `valid_`. A column without values has no panel.
    """
    filled = {key: _curves(rows, key, factor) for key, (_, factor) in panels.items()}
    filled = {key: curves for key, curves in filled.items() if curves}
    if not filled:
        return
    figure, axes = new_figure(columns=len(filled), width=4.5, height=3.4)
    for axis, (key, curves) in zip(axes, filled.items(), strict=True):
        for part, curve in curves.items():
            color = ACCENT if part == "train" else SECOND
            axis.plot(*curve, color=color, linewidth=1.2, label=part)
        axis.set(xlabel="epoch", ylabel=panels[key][0])
        values = np.concatenate([errors for _, errors in curves.values()])
        if values.max() > 10.0 * values.min():
            axis.set_yscale("log")
        axis.legend(frameon=False)
    save_figure(figure, path)


def _curves(rows: list[dict], key: str, factor: float) -> dict[str, np.ndarray]:
    """Epochs and errors, (2, epochs), of training and validation where there are any."""
    curves = {}
    for part in ("train", "valid"):
        known = [row for row in rows if row.get(f"{part}_{key}") is not None]
        if known:
            curves[part] = np.transpose(
                [(row["epoch"] + 1, factor * row[f"{part}_{key}"]) for row in known]
            )
    return curves
