"""How far something long has come: a bar on a terminal, plain lines on stderr elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0
_FEW = 5


def follow(items: Sequence[Item], name: str) -> Iterator[Item]:
    """Goes through `items`, which are called `name` ("frame") on the screen."""
    if len(items) > _FEW and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=f"{name}s", console=Console(stderr=True))
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{name} {done} of {len(items)}", file=sys.stderr, flush=True)
        yield item
