"""Whether `FILE` or `FILE@INDEX` means frames that another one means, too.

Only the names are compared. Indices that count from the end, ranges with steps and queries of a
database are taken to have no common frames, except with the same index or the whole file.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable
from os.path import normpath

from jles.data.frames import file_and_index


def first_repeated(files: Iterable[str]) -> str | None:
    """The first name with frames that an earlier one has; None without such."""
    return _first_named(files, defaultdict(list), remember=True)


def first_common(files: Iterable[str], others: Iterable[str]) -> str | None:
    """The first of `files` with frames that one of the others has; None without such."""
    named = defaultdict(list)
    for path, index in map(_place, others):
        named[path].append(index)
    return _first_named(files, named, remember=False)


def _first_named(files, named: dict[str, list[str]], remember: bool) -> str | None:
    # Data sets may have thousands of files: compare only names of the same one.
    for file in files:
        path, index = _place(file)
        if any(_overlap(index, other) for other in named[path]):
            return file
        if remember:
            named[path].append(index)
    return None


def _overlap(index: str, other: str) -> bool:
    if index == other:
        return True
    ranges = _range(index), _range(other)
    if (0, sys.maxsize) in ranges:
        return True
    if None in ranges:
        return False
    return max(start for start, _ in ranges) < min(stop for _, stop in ranges)


def _place(file: str) -> tuple[str, str]:
    path, index = file_and_index(file)
    return normpath(path), index


def _range(index: str) -> tuple[int, int] | None:
    """First frame and the one after the last; None if the file must be read to know them."""
    parts = index.split(":")
    if len(parts) > 2 or not all(part.isdecimal() or not part for part in parts):
        return None
    if len(parts) == 1:
        return (int(index), int(index) + 1) if index else None
    start, stop = parts
    return int(start or 0), int(stop) if stop else sys.maxsize
