"""Static sizes, on which compilations depend, and buckets of them for a data set."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jles.electrostatics.plan import SumPlan, check_memory, merge_plans, plan_cost
from jles.electrostatics.sums.kgrid import KGrid
from jles.errors import InputError

# A bucket costs a compilation; it must save this fraction of the work.
_WORTH_A_BUCKET = 0.05

# Measured with the imported water_v1, see experiments/README.md; the unit is that of plan_cost.
_COST_OF_AN_EDGE = 1.0e-5

# Merging pairs is cubic in the number of candidates; more than this are rounded first.
_MOST_CANDIDATES = 48


class Size(NamedTuple):
    """The shapes and plan that a compiled function of a structure depends on.

    Attributes:
        atoms: length of the axis of atoms.
        neighbors: length of the axis of neighbours.
        plan: plan of the electrostatic sums; an empty one if nothing is summed.
    """

    atoms: int
    neighbors: int
    plan: SumPlan = SumPlan()


def merge_sizes(sizes) -> Size:
    """The smallest size that holds structures of all these sizes."""
    sizes = list(sizes)
    return Size(
        atoms=max(size.atoms for size in sizes),
        neighbors=max(size.neighbors for size in sizes),
        plan=merge_plans(size.plan for size in sizes),
    )


def round_up_size(size: Size, factor: float = 1.2, multiple: int = 8) -> Size:
    """A size from a coarse ladder, so that similar structures share one compilation.

    Atoms and neighbours become multiples of `multiple`; each rung is about `factor` above the
    last. Reciprocal indices use a ladder of integers with the same ratio. The sizes of a
    particle mesh stay, because they are multiples of eight already.
    """
    grid = size.plan.grid
    if grid is not None:
        grid = KGrid(*(_next_rung(n, factor, 1) for n in grid))
    return Size(
        atoms=_next_rung(size.atoms, factor, multiple),
        neighbors=_next_rung(size.neighbors, factor, multiple),
        plan=size.plan._replace(grid=grid),
    )


def plan_buckets(
    sizes: Sequence[Size],
    max_buckets: int,
    batch_size: int = 1,
    worth: float | None = None,
) -> tuple[tuple[Size, ...], np.ndarray]:
    """A few sizes that hold all structures with little padding.

    Buckets are merged, cheapest pair first, until there are at most `max_buckets` and every
    further merge would add more work than a bucket must save. Crystals and clusters of a
    long-range model share a bucket only if `max_buckets` is 1.

    Args:
        sizes: of every structure.
        max_buckets: each bucket costs one compilation.
        batch_size: the last batch of a bucket is padded, which makes small buckets expensive.
        worth: work that a bucket must save, in the unit of `cost_of`; by default 5 % of an
            epoch.

    Returns:
        The sizes of the buckets and, for every structure, the number of its bucket.

    Raises:
        InputError: `max_buckets` below 1, or a merged plan that needs too much memory.
    """
    if max_buckets < 1:
        raise InputError(f"max_buckets must be at least 1, got {max_buckets}")
    if len(sizes) == 0:
        return (), np.zeros(0, int)
    if max_buckets == 1:
        only = merge_sizes(sizes)
        check_merged(only)
        return (only,), np.zeros(len(sizes), int)
    groups = [
        (merge_sizes([sizes[n] for n in members]), members) for members in candidates(sizes)
    ]
    while (best := _best_merge(groups, batch_size)) is not None:
        change, first, second = best
        total = sum(_cost(size, len(members), batch_size) for size, members in groups)
        least = _WORTH_A_BUCKET * total if worth is None else worth
        if len(groups) <= max_buckets and change > least:
            break
        size, members = groups[first]
        other, more = groups.pop(second)
        groups[first] = (merge_sizes([size, other]), members + more)
    assignment = np.zeros(len(sizes), int)
    for bucket, (size, members) in enumerate(groups):
        check_merged(size)
        assignment[members] = bucket
    return tuple(size for size, _ in groups), assignment


def check_merged(size: Size) -> None:
    """Refuses a size of different structures whose sum needs too much memory."""
    remedy = "allow more buckets, or sum all structures with one method, direct or mesh"
    check_memory(size.plan, "a batch of structures with different cells", remedy)


def candidates(sizes, most: int = _MOST_CANDIDATES) -> list[list[int]]:
    """Groups of structures of equal size, or of similar size if there are too many groups."""
    factor = 1.0
    while True:
        groups = {}
        for n, size in enumerate(sizes):
            key = size if factor == 1.0 else round_up_size(size, factor, multiple=1)
            groups.setdefault(key, []).append(n)
        if len(groups) <= most:
            return list(groups.values())
        factor *= 1.1


def _best_merge(groups, batch_size):
    """The pair of the same kind whose merging adds least to the cost of an epoch."""
    best = None
    for first, (a, members_a) in enumerate(groups):
        for second in range(first + 1, len(groups)):
            b, members_b = groups[second]
            if kind_of(a) != kind_of(b):
                continue
            change = (
                _cost(merge_sizes([a, b]), len(members_a) + len(members_b), batch_size)
                - _cost(a, len(members_a), batch_size)
                - _cost(b, len(members_b), batch_size)
            )
            if best is None or change < best[0]:
                best = (change, first, second)
    return best


def kind_of(size: Size) -> tuple[bool, bool]:
    """Two flags: True if the sum is that of a crystal, and if it is that of a cluster."""
    return size.plan.periodic, size.plan.cluster


def cost_of(size: Size) -> float:
    """Work of energy and forces of a structure: neighbour slots and sums of charges."""
    edges = size.atoms * (size.neighbors + 1.0)
    return _COST_OF_AN_EDGE * edges + plan_cost(size.plan, size.atoms)


def _cost(size: Size, count: int, batch_size: int) -> float:
    """Work of an epoch over `count` structures."""
    return cost_of(size) * batch_size * math.ceil(count / batch_size)


def _next_rung(n: int, factor: float, multiple: int) -> int:
    rung = multiple
    while rung < n:
        rung = max(rung + multiple, math.ceil(rung * factor / multiple) * multiple)
    return rung
