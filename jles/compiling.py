"""Compilation, explained: a line when it takes long, and its time left out of rates."""

import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache

import jax

from jles.cache_folder import times_file
from jles.errors import InputError
from jles.files import write_atomically
from jles.follow import innermost_say, leave_out
from jles.step_sizes import step_sizes

PATIENCE: float | None = 1.0
"""Seconds before a line says what is compiled; None for never."""

FIRST_GUESS = {"features": 4.0, "training step": 15.0, "validation": 6.0, "prediction": 6.0}
FIRST_GUESS |= {"start": 5.0, "time steps": 15.0, "energies": 4.0}
"""Typical seconds, on one core, until they have been measured on this machine."""

QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}
"""Options of XLA for CPUs: other code for fused operations, which LLVM optimizes less."""

_COMPILE_EVENTS = "/jax/core/compile/"

_measured: dict[str, float] = {}


@contextlib.contextmanager
def compiling(what: str, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Says "compiling `what` (about N s)" if the body takes longer than `PATIENCE`.

    N is the time that it took last, on this machine if the compilation cache is in use.

    Args:
        what: a key of `FIRST_GUESS`.
        say: prints a line; by default that of the innermost progress bar. Nothing is printed
            without one.
    """
    say = say or innermost_say()
    if say is None or PATIENCE is None:
        yield
        return
    line = f"compiling: {what} (about {_expected(what):.0f} s)"
    timer = threading.Timer(PATIENCE, say, [line])
    timer.daemon = True
    started = time.monotonic()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    took = time.monotonic() - started
    if took > PATIENCE:
        _remember(what, took)


def quick_options() -> dict[str, bool | int]:
    """`compiler_options` of `jax.jit` for programs whose compilation takes long.

    They are those of `QUICK` that `XLA_FLAGS` does not set. On an accelerator there are none,
    nor where XLA does not know them. Their effect was measured for steps of trainings
    (experiments/README.md, Compile times).
    """
    if not step_sizes().compile_apart:
        return {}
    set_by_user = os.environ.get("XLA_FLAGS", "")
    options = {name: value for name, value in QUICK.items() if name not in set_by_user}
    return options if _are_known(tuple(options.items())) else {}


@cache
def _are_known(options: tuple) -> bool:
    """Whether XLA accepts these options; they may change with its version."""
    try:
        jax.jit(lambda x: x, compiler_options=dict(options)).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def announced(function: Callable, what: str) -> Callable:
    """A compiled function whose calls with new shapes run inside `compiling`."""
    seen = set()

    def call(*arguments):
        leaves, tree = jax.tree.flatten(arguments)
        key = tree, tuple(map(_static, leaves))
        if key in seen:
            return function(*arguments)
        with compiling(what):
            result = jax.block_until_ready(function(*arguments))
        seen.add(key)
        return result

    return call


def _static(leaf):
    """The key of a compilation: shapes and types of arrays, values of other arguments."""
    if isinstance(leaf, bool | int | float):
        return type(leaf)
    return getattr(leaf, "shape", leaf)


def _expected(what: str) -> float:
    if what not in _measured:
        with contextlib.suppress(OSError, ValueError):
            stored = json.loads(times_file().read_text("utf-8"))
            _measured.update({key: float(value) for key, value in stored.items()} | _measured)
    return _measured.get(what, FIRST_GUESS[what])


def _remember(what: str, seconds: float) -> None:
    _measured[what] = round(seconds, 1)
    with contextlib.suppress(OSError, InputError):
        write_atomically(times_file(), json.dumps(_measured) + "\n")


class _Compilations:
    """Adds up the time that JAX traces and compiles, nested events once."""

    def __init__(self):
        self._intervals = deque(maxlen=1000)

    def __call__(self, event: str, duration: float, **_) -> None:
        if not event.startswith(_COMPILE_EVENTS):
            return
        end = time.monotonic()
        start = end - duration
        while self._intervals and self._intervals[-1][0] >= start:
            first, last = self._intervals.pop()
            leave_out(first - last)
        if self._intervals:
            start = max(start, self._intervals[-1][1])
        self._intervals.append((start, end))
        leave_out(end - start)


jax.monitoring.register_event_duration_secs_listener(_Compilations())
