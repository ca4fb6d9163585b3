"""The exceptions for mistakes in the input, and the warning about doubtful input."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A mistake in the input: a file, frame, key or value.

    The message is one line that names the thing, its value and a remedy. Commands print it and
    exit with status 2; in Python it can be caught as a `ValueError`.
    """


class ConfigError(InputError):
    """A mistake in one key of a configuration; the message begins with the dotted key.

    The file of the configuration comes before the key where it is known.
    """


class InputWarning(UserWarning):
    """Input that is valid but probably not meant; one line. Commands print it on stderr."""


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Puts a place, such as a file or a structure, before errors; an empty one adds nothing."""
    try:
        yield
    except InputError as error:
        if not place:
            raise
        raise InputError(f"{place}: {error}") from None
