"""Several processes that run one training: their start, what they must agree on, their end.

The processes find one another through `jax.distributed`. Process 0 alone writes files. JAX ends
a process that has lost another one: it calls `abort` after `HEARTBEAT` seconds at the latest.
"""

import atexit
import contextlib
import ctypes
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jles.config import first_difference
from jles.errors import ConfigError, InputError
from jles.local_devices import LocalDevices
from jles.train.parallel_config import ClusterProcesses, ParallelConfig

HEARTBEAT = 30
"""Seconds without a sign of life after which a process counts as dead."""

_START, _END = 300, 3600
"""Seconds that a process waits for the others to start, and to end."""

_LONGEST = 2000
"""Bytes of an error that are passed on to other processes."""


def several() -> bool:
    """True in one of several processes."""
    return jax.process_count() > 1


def is_first() -> bool:
    """True in process 0, which may be the only one."""
    return jax.process_index() == 0


@contextlib.contextmanager
def processes(config: ParallelConfig | None) -> Iterator[None]:
    """The training of all processes that the configuration names.

    Processes other than 0 print nothing, except the line of an error. After an error a process
    ends without waiting for the others.

    Raises:
        InputError: no cluster is found, or the processes do not find one another.
    """
    if config is None or isinstance(config, LocalDevices):
        yield
        return
    if not jax.distributed.is_initialized():
        _connect(config)
    with _runtime_messages() as messages, contextlib.ExitStack() as output:
        if not is_first():
            nowhere = output.enter_context(Path(os.devnull).open("w"))
            output.enter_context(contextlib.redirect_stderr(nowhere))
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            messages.write(str(error).encode())
            _leave_at_exit(2)
            raise InputError(_lost(messages.name)) from None
        except BaseException as error:
            _leave_at_exit(2 if isinstance(error, InputError | SystemExit) else 1)
            raise


def _connect(config) -> None:
    """Starts `jax.distributed`."""
    # Otherwise SIGTERM, which ends a job, would be taken as a wish to write a checkpoint.
    jax.config.update("jax_enable_preemption_service", False)
    if isinstance(config, ClusterProcesses):
        named = {"cluster_detection_method": config.launcher}
        given = {} if config.launcher == "auto" else named
    else:
        given = {
            "coordinator_address": config.coordinator,
            "num_processes": config.processes,
            "process_id": config.process,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=_START,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=_END,
        )
    except ValueError:
        raise ConfigError(
            "parallel: no processes of SLURM, Open MPI, Kubernetes or Cloud TPU found; start "
            "them so, or take launcher: mpi4py, or kind: manual"
        ) from None
    except (RuntimeError, OSError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"parallel: the processes did not find one another ({reason})"
        ) from None


@contextlib.contextmanager
def _runtime_messages() -> Iterator:
    """The runtime's pages of text go into a file, and its `abort` becomes one line.

    This lasts as long as the process, since JAX may call `abort` until the very end. Python
    still prints to the original stderr.
    """
    number = jax.process_index()
    messages = tempfile.NamedTemporaryFile(  # noqa: SIM115 (outlives this block)
        prefix=f"jles-process-{number}-", suffix=".log", delete=False, buffering=0
    )
    sys.stderr.flush()
    original = os.dup(2)
    sys.stderr = os.fdopen(original, "w", buffering=1)
    os.dup2(messages.fileno(), 2)

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def aborted(_):
        if not _leaving:
            os.write(original, f"jles: error: {_lost(messages.name)}\n".encode())
        os._exit(2)

    # Python's own handlers run between instructions of Python, which `abort` never returns to.
    if os.name == "posix":
        ctypes.CDLL(None).signal(signal.SIGABRT, aborted)
        _handlers.append(aborted)
    yield messages
    # Without an error nobody needs them.
    Path(messages.name).unlink()


_handlers: list = []
"""Handlers of signals must outlive their installation."""

_leaving: list = []
"""Not empty once this process ends because of an error that has been or will be printed."""


def _lost(log: str) -> str:
    return (
        f"process {jax.process_index()} has lost another process of this training; the other's "
        f"output says why (JAX's messages: {log}); --resume continues from the last checkpoint"
    )


def _leave_at_exit(status: int) -> None:
    """Makes the interpreter end at once when it exits; JAX would wait for all processes."""

    def leave():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    _leaving.append(status)
    atexit.register(leave)  # the last one registered runs first


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A block that all processes leave, or none: a mistake found by one of them ends all.

    The processes must not communicate inside of it.

    Raises:
        InputError: in process 0; the others end silently (SystemExit).
    """
    own = None
    try:
        yield
    except InputError as error:
        if not several():
            raise
        own = error
    if not several():
        return
    problems = _gather("" if own is None else str(own))
    if any(problems):
        _leaving.append(2)
        multihost_utils.sync_global_devices("a mistake")
        raise (own or _first_of_others(problems)) if is_first() else SystemExit(2)


def check_same(what: dict) -> None:
    """Compares plain values with those of process 0.

    Not to be called inside of `together`: a process that has left that block because of a
    mistake would wait for the others there, and they would wait for it here.

    Raises:
        InputError: the first value that differs; as `together`.
    """
    if not several():
        return
    expected = json.loads(_text_of_first(json.dumps(what)))
    found = first_difference(expected, json.loads(json.dumps(what)))
    with together():
        if found:
            name, there, here = found
            raise InputError(
                f"{name} is {here!r}, in process 0 it is {there!r}; start all processes with "
                "the same files and the same program"
            )


def from_first(tree):
    """A tree of arrays and numbers of process 0, in every process, bit for bit.

    Elsewhere `tree` gives shapes and types. Results are NumPy arrays if there are several
    processes.
    """
    if not several():
        return tree
    arrays = jax.tree.map(np.asarray, tree)
    found = multihost_utils.broadcast_one_to_all(jax.tree.map(_bytes_of, arrays))
    return jax.tree.map(
        lambda array, raw: np.asarray(raw).view(array.dtype).reshape(array.shape), arrays, found
    )


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _text_of_first(text: str) -> str:
    data = np.frombuffer(text.encode(), np.uint8)
    room = np.zeros(int(from_first(np.int64(len(data)))), np.uint8)
    return bytes(from_first(data if is_first() else room)).decode()


def _gather(text: str) -> list[str]:
    """The texts of all processes, which may be cut."""
    data = np.frombuffer(text.encode()[:_LONGEST], np.uint8)
    padded = np.zeros(_LONGEST, np.uint8)
    padded[: len(data)] = data
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [bytes(row).rstrip(b"\0").decode("utf-8", "replace") for row in rows]


def _first_of_others(problems: list[str]) -> InputError:
    number, text = next((n, text) for n, text in enumerate(problems) if text)
    return InputError(f"process {number}: {text}")
