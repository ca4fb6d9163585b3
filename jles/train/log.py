"""Metrics of a run, one row per epoch, as CSV and JSON lines.

The rows hold no wall times, so that the files of equal runs are equal.
"""

import csv
import io
import json
from pathlib import Path

from jles.errors import InputError
from jles.files import write_atomically
from jles.quantities.catalogue import trained_labels
from jles.train.losses import LABELS, rmse_name
from jles.units import pretty

COLUMNS = ("epoch", "step", "learning_rate") + tuple(
    f"{part}_{name}"
    for part in ("train", "valid")
    for name in ("loss", *map(rmse_name, LABELS))
)


class MetricsLog:
    """`metrics.csv` and `metrics.jsonl` in a directory; every row is flushed at once."""

    def __init__(self, directory: Path):
        self._csv = Path(directory) / "metrics.csv"
        self._jsonl = Path(directory) / "metrics.jsonl"

    def exists(self) -> bool:
        """Whether a run has written here before."""
        return self._jsonl.exists()

    def rows(self) -> list[dict]:
        """All complete rows; a line cut short by a kill or a full disk is dropped."""
        rows = []
        if self._jsonl.exists():
            for line in self._jsonl.read_text(encoding="utf-8").splitlines():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return rows

    def start(self, first_epoch: int) -> None:
        """Keeps the rows before `first_epoch`; the rest will be computed again."""
        kept = [row for row in self.rows() if row["epoch"] < first_epoch]
        write_atomically(self._csv, _csv_line(COLUMNS) + "".join(map(_csv_row, kept)))
        write_atomically(self._jsonl, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict) -> None:
        """Adds one epoch. A key outside `COLUMNS` is a bug (KeyError).

        Raises:
            InputError: the disk is full or the file cannot be written.
        """
        unknown = set(row) - set(COLUMNS)
        if unknown:
            raise KeyError(f"metrics without a column: {sorted(unknown)}")
        for path, line in ((self._csv, _csv_row(row)), (self._jsonl, json.dumps(row) + "\n")):
            try:
                with path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise InputError(
                    f"{path}: cannot be written ({error.strerror}); free some space and "
                    "--resume"
                ) from None


def describe(row: dict) -> str:
    """Loss and errors of one row: energy and forces in meV, other labels that are trained."""
    parts = [f"loss {row['train_loss']:.3g}"]
    for part in ("train", "valid"):
        energy = row.get(f"{part}_energy_per_atom_rmse")
        forces = row.get(f"{part}_forces_rmse")
        words = []
        if energy is not None:
            words.append(f"{1e3 * energy:.3g} meV/atom")
        if forces is not None:
            words.append(f"{1e3 * forces:.4g} meV/Å")
        for name in LABELS:
            error = row.get(f"{part}_{rmse_name(name)}")
            if error is not None and name not in {"energy", "forces"}:
                unit = pretty(trained_labels()[name].unit)
                words.append(f"{name.replace('_', ' ')} {error:.3g} {unit}")
        if words:
            parts.append(f"{part} " + " ".join(words))
    return "  ".join(parts)


def panels() -> dict[str, tuple[str, float]]:
    """Label of the axis and factor of every column of errors, for `learning_curve`."""
    found = {
        "forces_rmse": ("force RMSE (meV/Å)", 1e3),
        "energy_per_atom_rmse": ("energy RMSE (meV/atom)", 1e3),
    }
    for name, quantity in trained_labels().items():
        title = f"{quantity.label.title} RMSE ({pretty(quantity.unit)})"
        found.setdefault(rmse_name(name), (title, 1.0))
    return found


def _csv_line(values) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _csv_row(row: dict) -> str:
    return _csv_line([row.get(name, "") for name in COLUMNS])
