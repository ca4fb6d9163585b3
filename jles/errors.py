"""The exception for mistakes in the input, and the warning about doubtful input."""


class InputError(ValueError):
    """A mistake in the input: a file, frame, key or value.

    The message is one line that names the thing, its value and a remedy. Commands print it and
    exit with status 2; in Python it can be caught as a `ValueError`.
    """


class InputWarning(UserWarning):
    """Input that is valid but probably not meant; one line. Commands print it on stderr."""
