"""What is said about a data set."""

from typing import NamedTuple


class Remark(NamedTuple):
    """One line about a data set.

    Attributes:
        text: what is wrong or doubtful, and what to do.
        serious: whether a training would fail or learn something wrong; otherwise doubtful.
    """

    text: str
    serious: bool = False


def some(sources, most: int = 3) -> str:
    """The first few of many frames, in words."""
    sources = list(sources)
    rest = f" and {len(sources) - most} more" if len(sources) > most else ""
    return ", ".join(sources[:most]) + rest
