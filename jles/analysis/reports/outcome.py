"""The result of an analysis: a table, a picture and lines of text."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jles.files import write_atomically
from jles.pictures import save_figure


class Outcome(NamedTuple):
    """The result of one analysis."""

    name: str
    """Stem of the files."""
    columns: dict[str, np.ndarray]
    """Columns of equal length; the name includes the unit, as in "wavenumber (cm^-1)"."""
    lines: list[str]
    """The printed text."""
    figure: Any


def write_outcome(outcome: Outcome, out: Path) -> list[Path]:
    """Writes `NAME.csv`, `NAME.txt` (the lines) and `NAME.png`; returns their paths."""
    table, text, picture = (
        out / f"{outcome.name}.{suffix}" for suffix in ("csv", "txt", "png")
    )
    write_atomically(table, table_text(outcome.columns))
    write_atomically(text, "\n".join(outcome.lines) + "\n")
    save_figure(outcome.figure, picture)
    return [table, text, picture]


def table_text(columns: dict[str, np.ndarray]) -> str:
    """Comma-separated values under a line of names: nine digits, NaN as an empty cell."""
    text = io.StringIO()
    text.write(",".join(columns) + "\n")
    for row in zip(*columns.values(), strict=True):
        text.write(",".join(_cell(value) for value in row) + "\n")
    return text.getvalue()


def _cell(value) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:.9g}"
