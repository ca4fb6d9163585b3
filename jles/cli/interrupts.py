"""What a command says after Ctrl-C: what has been written, and whether it can be resumed."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def remark_after_interrupt(remark: Callable[[], str]) -> Iterator[None]:
    """Adds a remark to a `KeyboardInterrupt`, for `jles.cli.main` to print."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("".join(map(str, error.args)) + remark()) from None


def continue_if(exists: bool) -> str:
    """The remark of a command whose checkpoint exists or not."""
    return "; continue with --resume" if exists else ""
