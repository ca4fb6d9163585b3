"""A few sizes for many structures, found by splitting: less padding than by merging."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from jles.errors import InputError
from jles.structures.sizes import Size, candidates, check_merged, cost_of, kind_of, merge_sizes

_MOST = 300
"""Different sizes that are looked at; more are rounded first."""


class _Group(NamedTuple):
    """Different sizes and how many structures have each."""

    sizes: list[Size]
    counts: list[int]

    @property
    def work(self) -> float:
        """Cost of all structures, padded to the size that holds them."""
        return cost_of(merge_sizes(self.sizes)) * sum(self.counts)


class _Split(NamedTuple):
    """A group in two parts, and the work that this saves."""

    saved: float
    parts: tuple[_Group, _Group] | None


def split_sizes(sizes: Sequence[Size], max_buckets: int) -> tuple[tuple[Size, ...], np.ndarray]:
    """The sizes of at most `max_buckets` buckets, and the bucket of every structure.

    All structures start in one bucket, or in two if there are crystals and clusters of a
    long-range model and `max_buckets` allows it. Buckets are then split until there are
    enough. Each split is the one that saves most work; a bucket is cut in the order of the
    atoms, of the neighbours or of the cost.

    Raises:
        InputError: `max_buckets` below 1, or a merged plan that needs too much memory.
    """
    if max_buckets < 1:
        raise InputError(f"max_buckets must be at least 1, got {max_buckets}")
    similar = candidates(sizes, _MOST)
    kinds: dict[object, _Group] = {}
    merged = [merge_sizes([sizes[n] for n in members]) for members in similar]
    for size, members in zip(merged, similar, strict=True):
        kind = kind_of(size) if max_buckets > 1 else None
        group = kinds.setdefault(kind, _Group([], []))
        group.sizes.append(size)
        group.counts.append(len(members))
    groups = list(kinds.values())
    splits = [_best_split(group) for group in groups]
    while len(groups) < max_buckets:
        best = int(np.argmax([split.saved for split in splits]))
        parts = splits[best].parts
        if parts is None:
            break
        groups[best : best + 1] = parts
        splits[best : best + 1] = [_best_split(part) for part in parts]
    bucket_of = {size: n for n, group in enumerate(groups) for size in group.sizes}
    found = tuple(merge_sizes(group.sizes) for group in groups)
    for size in found:
        check_merged(size)
    assignment = np.zeros(len(sizes), int)
    for size, members in zip(merged, similar, strict=True):
        assignment[members] = bucket_of[size]
    return found, assignment


_ORDERS: tuple[Callable[[Size], tuple], ...] = (
    lambda size: (size.atoms, size.neighbors),
    lambda size: (size.neighbors, size.atoms),
    lambda size: (cost_of(size),),
)


def _best_split(group: _Group) -> _Split:
    best = _Split(0.0, None)
    for order in _ORDERS:
        places = sorted(range(len(group.sizes)), key=lambda n: order(group.sizes[n]))
        sizes, counts = ([part[n] for n in places] for part in group)
        below = list(accumulate(sizes, lambda one, other: merge_sizes([one, other])))
        above = list(accumulate(sizes[::-1], lambda one, other: merge_sizes([one, other])))
        above.reverse()
        number = np.cumsum(counts)
        work = [
            cost_of(below[n]) * number[n] + cost_of(above[n + 1]) * (number[-1] - number[n])
            for n in range(len(sizes) - 1)
        ]
        if not work:
            continue
        at = int(np.argmin(work)) + 1
        saved = group.work - min(work)
        if saved > best.saved:
            parts = _Group(sizes[:at], counts[:at]), _Group(sizes[at:], counts[at:])
            best = _Split(saved, parts)
    return best
