"""The one exception that a user's mistake raises."""


class InputError(ValueError):
    """Something the user gave is wrong: file, frame, key or value.

    The message is one line that names the thing, the value it had and what would be right.
    Commands print it and exit with status 2; Python users catch it as a `ValueError`.
    """
