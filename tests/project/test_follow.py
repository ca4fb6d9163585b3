"""Progress of long loops, on a terminal and elsewhere."""

import io
import sys

import pytest

from jles import follow
from jles.follow import ProgressBar


@pytest.fixture
def clock(monkeypatch):
    """A clock that the tests advance."""
    now = [100.0]
    monkeypatch.setattr(follow.time, "monotonic", lambda: now[0])
    return now


def test_first_and_last_updates_have_lines_and_others_every_ten_seconds(clock, capsys):
    with ProgressBar("epoch", 5) as bar:
        for done, seconds in ((1, 4.0), (2, 4.0), (3, 8.0), (4, 1.0), (5, 1.0)):
            clock[0] += seconds
            bar.update(done, f"loss {done}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "epoch 1/5  loss 1  16 s left",
        "epoch 3/5  loss 3  11 s left",
        "epoch 5/5  loss 5  0 s left",
    ]


def test_a_resumed_run_counts_what_was_done_before(clock, capsys):
    with ProgressBar("step", 100, first=90) as bar:
        clock[0] += 6.0
        bar.update(93)
    assert capsys.readouterr().err == "step 93/100  14 s left\n"


def test_short_loops_are_silent_and_long_ones_are_not(clock, capsys):
    assert list(follow.follow("abc", "frame")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
    for _ in follow.follow(range(4), "frame"):
        clock[0] += 6.0
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["frame 2/4  12 s left", "frame 4/4  0 s left"]


def test_a_loop_that_is_left_early_closes_the_bar(capsys):
    items = follow.follow(range(100), "frame")
    next(items)
    items.close()
    assert capsys.readouterr().err == ""


def test_brackets_on_a_terminal_are_text(monkeypatch):
    """They are neither markup nor highlighted."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar("step", 10) as bar:
        bar.say("kept [2, 3] of [bold]x[/y]")
        bar.update(5, "shape [4]")
    written = sys.stderr.getvalue()
    assert "kept [2, 3] of [bold]x[/y]" in written
    assert "shape [4]" in written
