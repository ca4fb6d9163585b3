"""Whether `FILE` or `FILE@INDEX` means frames that another one means, too."""

import sys
from collections.abc import Sequence
from os.path import normpath

from jles.data.frames import file_and_index


def first_repeated(files: Sequence[str]) -> str | None:
    """The first name with frames that an earlier one has; None without such."""
    for n, file in enumerate(files):
        if any(have_common_frames(file, earlier) for earlier in files[:n]):
            return file
    return None


def have_common_frames(first: str, second: str) -> bool:
    """Whether two names mean common frames, as far as the names tell.

    Indices that count from the end, ranges with steps and queries of a database are common to
    equal ones and to the whole file.
    """
    (path, index), (other_path, other_index) = map(_place, (first, second))
    if path != other_path:
        return False
    if index == other_index:
        return True
    ranges = _range(index), _range(other_index)
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
