"""Compilations are explained, and their time counts for no rate."""

import time

import jax.numpy as jnp
import pytest

from jles import cache_folder, compiling, follow
from jles.compiling import FIRST_GUESS, QUICK, announced, quick_options
from jles.follow import ProgressBar
from jles.step_sizes import ACCELERATOR, use_step_sizes


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, tmp_path):
    monkeypatch.setattr(compiling, "PATIENCE", 0.02)
    monkeypatch.setattr(compiling, "_measured", {})
    monkeypatch.setattr(cache_folder, "_enabled", [tmp_path])


def slow(x):
    time.sleep(0.2)
    return x


def test_the_first_call_of_every_shape_is_announced_with_its_last_time(capsys, monkeypatch):
    function = announced(slow, "prediction")
    with ProgressBar("frame", 3):
        for length in (2, 2, 3):
            function(jnp.ones(length))
    lines = capsys.readouterr().err.splitlines()
    first = f"compiling: prediction (about {FIRST_GUESS['prediction']:.0f} s)"
    assert lines == [first, "compiling: prediction (about 0 s)"]
    # Another process on this machine knows the time.
    monkeypatch.setattr(compiling, "_measured", {})
    assert 0.1 < compiling._expected("prediction") < FIRST_GUESS["prediction"]


def test_short_compilations_and_functions_of_a_library_are_silent(capsys):
    with ProgressBar("frame", 3), compiling.compiling("prediction"):
        pass
    announced(slow, "prediction")(jnp.ones(2))
    assert capsys.readouterr().err == ""


def test_nested_events_are_left_out_once_and_others_not_at_all(monkeypatch):
    now, left_out = [100.0], []
    monkeypatch.setattr(compiling.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(compiling, "leave_out", left_out.append)
    heard = compiling._Compilations()
    for end, event, duration in (
        (101.0, "/jax/core/compile/jaxpr_trace_duration", 1.0),
        (103.0, "/jax/core/compile/jaxpr_trace_duration", 4.0),
        (105.0, "/jax/core/compile/backend_compile_duration", 2.0),
        (109.0, "/jax/checkpoint/write/async/blocking_duration", 3.0),
    ):
        now[0] = end
        heard(event, duration)
    assert sum(left_out) == pytest.approx(6.0)


def test_the_time_left_is_that_without_compilations(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(follow.time, "monotonic", lambda: now[0])
    with ProgressBar("epoch", 10) as bar:
        now[0] += 64.0
        follow.leave_out(60.0)
        bar.update(1)
    assert capsys.readouterr().err == "epoch 1/10  36 s left\n"
    follow.leave_out(-60.0)


def test_lines_go_to_the_innermost_bar():
    assert follow.innermost_say() is None
    with ProgressBar("outer", 2), ProgressBar("inner", 2) as inner:
        assert follow.innermost_say() == inner.say
    assert follow.innermost_say() is None


def test_quick_options_are_those_that_xla_knows_and_the_user_has_not_set(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    assert quick_options() == QUICK
    with use_step_sizes(ACCELERATOR):
        assert quick_options() == {}
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert quick_options() == {"xla_cpu_use_fusion_emitters": False}
    monkeypatch.setitem(compiling.QUICK, "xla_of_the_future", True)
    assert quick_options() == {}
