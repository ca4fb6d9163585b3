"""Checkpoints of a run with orbax: the last state, to resume from, and the best parameters."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from jles.errors import InputError
from jles.files import NO_ROOM, check_room

_OVERHEAD = 2**20
"""Bytes that a checkpoint needs beside its arrays."""

# tensorstore gives the reason only as text.
_NO_ROOM_WORDS = ("No space", "ENOSPC", "quota exceeded", "EDQUOT", "File too large", "EFBIG")


class Checkpoints:
    """`last/` (all that a resumed run needs) and `best/` (parameters) in a run's directory.

    orbax writes to a temporary name and renames, so the previous checkpoint survives a save
    that fails or is killed. Use as a context manager, which closes what orbax holds open.
    """

    def __init__(self, directory: Path):
        self._directory = Path(directory).resolve()
        self._managers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for manager in self._managers.values():
            manager.close()
        self._managers.clear()

    def _manager(self, name: str):
        import orbax.checkpoint as ocp

        if name not in self._managers:
            place = self._directory / name
            place.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=1,
                enable_async_checkpointing=False,
                create=False,
                # The arrays are plain ones of this process; others do not take part.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=jax.process_index(), active_processes={jax.process_index()}
                ),
            )
            self._managers[name] = ocp.CheckpointManager(place, options=options)
        return self._managers[name]

    def save(self, name: str, step: int, tree, host: dict) -> None:
        """Writes the arrays `tree` and the plain values `host` as checkpoint `name` of `step`.

        The file does not depend on how the arrays are sharded. One process is enough.

        Raises:
            InputError: the disk is full or cannot be written; the previous checkpoint is kept.
        """
        import orbax.checkpoint as ocp

        tree = jax.tree.map(np.asarray, tree)
        arguments = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree), host=ocp.args.JsonSave(host)
        )
        try:
            # orbax and tensorstore report a full disk on stderr, in hundreds of lines.
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
            check_room(self._directory, size + _OVERHEAD)
            with _quiet(), _delaying_interrupts():
                self._manager(name).save(step, args=arguments, force=True)
        except Exception as error:  # orbax and tensorstore raise many kinds of errors
            remedy = (
                "free some space and --resume"
                if _is_full(error)
                else "--resume continues from it"
            )
            kept = "the previous one is intact: " if self.newest(name) is not None else ""
            raise InputError(
                f"{self._directory / name / str(step)}: checkpoint cannot be written "
                f"({_reason(error)}); {kept}{remedy}"
            ) from error

    def newest(self, name: str) -> int | None:
        """The step of the newest finished checkpoint `name`, or None.

        Raises:
            InputError: the directory cannot be read.
        """
        place = self._directory / name
        if not place.is_dir():
            return None
        try:
            with _quiet(), _delaying_interrupts():
                return self._manager(name).latest_step()
        except Exception as error:  # orbax and tensorstore raise many kinds of errors
            raise InputError(_damaged(place, error)) from error

    def restore(self, name: str, template, read_host: Callable = lambda host: host):
        """The newest (tree, host) called `name`; the tree has NumPy arrays.

        Args:
            name: "last" or "best".
            template: gives shapes and dtypes of the tree.
            read_host: converts the plain values; if it fails, they are damaged.

        Raises:
            InputError: there is no such checkpoint, it is damaged, or it is of another model.
        """
        import orbax.checkpoint as ocp

        place, step = self._directory / name, self.newest(name)
        if step is None:
            raise InputError(f"{place}: no finished checkpoint")
        try:
            shapes = jax.tree.map(np.asarray, template)
            arguments = ocp.args.Composite(
                tree=ocp.args.StandardRestore(shapes), host=ocp.args.JsonRestore()
            )
            with _quiet(), _delaying_interrupts():
                restored = self._manager(name).restore(step, args=arguments)
            return restored["tree"], read_host(restored["host"])
        except Exception as error:  # orbax and tensorstore raise many kinds of errors
            raise InputError(_damaged(place / str(step), error)) from error


@contextlib.contextmanager
def _quiet():
    """Keeps orbax from logging tracebacks of errors that are reported in one line here."""
    loggers = [logging.getLogger(name) for name in ("absl", "orbax")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _delaying_interrupts() -> Iterator[None]:
    """Delays Ctrl-C to the end of the block; a second one interrupts it at once.

    Threads of orbax that are interrupted print tracebacks when the program ends.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not callable(before):
        yield
        return
    delayed = []

    def delay(*arguments):
        if delayed:
            before(*arguments)
        delayed.append(arguments)

    signal.signal(signal.SIGINT, delay)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if delayed:
        before(*delayed[0])


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


def _damaged(place: Path, error: Exception) -> str:
    return (
        f"{place}: damaged, or of another model ({_reason(error)}); "
        "start again in another --out"
    )


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    return any(words in str(error) for words in _NO_ROOM_WORDS)
