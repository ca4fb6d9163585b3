"""Progress of long loops: a bar on a terminal, plain lines on stderr elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0
_FEW = 5

# Progress bars that are shown, outermost first; seconds that count for no rate.
_open: list["ProgressBar"] = []
_left_out = [0.0]


def leave_out(seconds: float) -> None:
    """Leaves this time out of all rates, as that of compilations."""
    _left_out[0] += seconds


def working_time() -> float:
    """A clock, in seconds, that stands still for the time that is left out."""
    return time.monotonic() - _left_out[0]


def innermost_say() -> Callable[[str], None] | None:
    """Prints a line beside the innermost progress bar; None without one."""
    return _open[-1].say if _open else None


class ProgressBar:
    """Shows how much of a known amount of work is done; use as a context manager.

    On a terminal it is a bar. Elsewhere it is a line for the first and the last update and one
    every ten seconds in between. The time left is estimated from `working_time`.

    Args:
        name: what is counted, e.g. "epoch".
        total: how many there are.
        first: how many were done before.
        brief: for loops that are usually short: no bar for five or fewer, and no line before
            ten seconds have passed.
    """

    def __init__(self, name: str, total: int, first: int = 0, brief: bool = False):
        self._name, self._total, self._first, self._brief = name, total, first, brief
        self._bar = self._task = None
        self._started = self._last_line = None

    def __enter__(self):
        self._started = working_time()
        if self._brief:
            self._last_line = time.monotonic()
        _open.append(self)
        if sys.stderr.isatty() and not (self._brief and self._total <= _FEW):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn(f"{self._name} {{task.completed}}/{{task.total}}"),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                console=Console(stderr=True),
                get_time=working_time,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                "", total=self._total, completed=self._first, text=""
            )
        return self

    def __exit__(self, *_):
        _open.remove(self)
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, text: str = "") -> None:
        """Shows that `done` of all are done, with `text` behind."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=text)
            return
        now = time.monotonic()
        early = self._last_line is not None and now - self._last_line < _SECONDS_BETWEEN_LINES
        if early and (self._brief or done != self._total):
            return
        self._last_line = now
        left = (
            (working_time() - self._started) / max(done - self._first, 1) * (self._total - done)
        )
        parts = [f"{self._name} {done}/{self._total}", text, f"{left:.0f} s left"]
        self.say("  ".join(part for part in parts if part))

    def say(self, line: str) -> None:
        """Prints a line of its own."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def follow(items: Sequence[Item], name: str) -> Iterator[Item]:
    """Yields `items` and shows how many are done; `name` is that of one of them ("frame")."""
    with ProgressBar(name, len(items), brief=True) as bar:
        for done, item in enumerate(items, 1):
            yield item
            bar.update(done)
