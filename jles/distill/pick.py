"""Choosing frames: far from one another, and where a committee disagrees."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.errors import InputError


def split_pool(sizes: Sequence[int], held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of training and test frames in the joined runs.

    The last part of every run is for tests, so that no test frame is a few steps from a
    training frame.

    Args:
        sizes: frames of every run.
        held_out: fraction of a run that is for tests; at least one frame of each.
    """
    ends = np.cumsum(sizes)
    tests = [
        np.arange(end - min(size, max(1, round(held_out * size))), end)
        for size, end in zip(sizes, ends, strict=True)
    ]
    test = np.concatenate(tests).astype(int)
    return np.setdiff1d(np.arange(ends[-1]), test), test


def spaced(places: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of these places, evenly spaced."""
    if count >= len(places):
        return places
    return places[np.round(np.linspace(0, len(places) - 1, count)).astype(int)]


def farthest_points(
    vectors: Float[np.ndarray, "points dims"], count: int, chosen: Sequence[int] = ()
) -> list[int]:
    """Farthest point sampling: each pick is as far as possible from all earlier ones.

    The first one is next to the mean. The first n picks are thus the picks for n.

    Args:
        vectors: the points.
        count: how many to pick.
        chosen: points that were picked before; they are not among the result.
    """
    if count > len(vectors) - len(chosen):
        raise ValueError(f"{count} of {len(vectors) - len(chosen)} points cannot be picked")
    distance = np.full(len(vectors), np.inf)
    for place in chosen:
        distance = _nearer(distance, vectors, place)
    picks: list[int] = []
    while len(picks) < count:
        if picks or len(chosen):
            place = int(np.argmax(distance))
        else:
            place = int(np.argmin(np.sum((vectors - vectors.mean(axis=0)) ** 2, axis=1)))
        picks.append(place)
        distance = _nearer(distance, vectors, place)
    return picks


def _nearer(distance, vectors, place):
    """Squared distances to the picks, with one more; that of a pick is below all others."""
    squared = np.sum((vectors - vectors[place]) ** 2, axis=1)
    nearer = np.minimum(distance, squared)
    nearer[place] = -1.0
    return nearer


def uncertain_and_far(
    vectors: Float[np.ndarray, "points dims"],
    spread: Float[np.ndarray, " points"],
    count: int,
    chosen: Sequence[int],
) -> list[int]:
    """Picks that are far from one another among the points of greatest spread.

    Args:
        vectors: the points.
        spread: of the predictions of a committee at every point.
        count: how many to pick, out of twice as many.
        chosen: points that were picked before.
    """
    order = [n for n in np.argsort(-spread, kind="stable") if n not in set(chosen)]
    known = [*chosen, *order[: 2 * count]]
    picks = farthest_points(vectors[known], count, range(len(chosen)))
    return [int(known[place]) for place in picks]


def check_enough(wanted: int, available: int, key: str) -> None:
    """Raises an error if the pool has too few frames."""
    if wanted > available:
        raise InputError(
            f"{key}: {wanted} frames are wanted, and {available} are sampled for this; raise "
            f"sample.steps, lower sample.interval, or lower {key}"
        )
