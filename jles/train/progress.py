"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time

_SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows epochs, loss, errors and the time left; use as a context manager."""

    def __init__(self, epochs: int, first: int = 0):
        self._epochs, self._first = epochs, first
        self._bar = self._task = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self):
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("epoch {task.completed}/{task.total}"),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(
                "", total=self._epochs, completed=self._first, text=""
            )
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.stop()

    def show(self, row: dict) -> None:
        """After an epoch: its metrics."""
        done = row["epoch"] + 1
        text = describe(row)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=text)
            return
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and done not in (1, self._epochs):
            return
        self._last_line = now
        left = (now - self._started) / (done - self._first) * (self._epochs - done)
        print(
            f"epoch {done}/{self._epochs}  {text}  {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


def describe(row: dict) -> str:
    """Loss and errors of one row in the units people think in."""
    parts = [f"loss {row['train_loss']:.3g}"]
    for part in ("train", "valid"):
        energy = row.get(f"{part}_energy_per_atom_rmse")
        forces = row.get(f"{part}_forces_rmse")
        words = []
        if energy is not None:
            words.append(f"{1e3 * energy:.3g} meV/atom")
        if forces is not None:
            words.append(f"{1e3 * forces:.4g} meV/Å")
        if words:
            parts.append(f"{part} " + " ".join(words))
    return "  ".join(parts)
