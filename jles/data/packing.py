"""Packing of structures into batches: a few sizes, and a number of structures for each."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jles.errors import InputError
from jles.structures.partition import split_sizes
from jles.structures.sizes import Size, plan_buckets


class Budget(NamedTuple):
    """Limits of a batch, padding included; None for no limit.

    Attributes:
        atoms: atoms of all its structures.
        edges: neighbour slots of all its structures.
    """

    atoms: int | None = None
    edges: int | None = None

    def structures(self, size: Size) -> int:
        """The number of structures of a size that fit; at least one."""
        most = [1_000_000]
        if self.atoms is not None:
            most.append(self.atoms // size.atoms)
        if self.edges is not None:
            most.append(self.edges // (size.atoms * size.neighbors))
        return max(1, min(most))


class Share(NamedTuple):
    """The part of every batch that belongs to parts `first` to `last` - 1 of `parts`."""

    first: int
    last: int
    parts: int

    def of(self, rows: np.ndarray) -> np.ndarray:
        """These rows of a batch, whose length is a multiple of `parts`."""
        each = len(rows) // self.parts
        return rows[self.first * each : self.last * each]


WHOLE = Share(0, 1, 1)


class Packing(NamedTuple):
    """The batches of every epoch. All batches of a bucket have the same shape.

    Attributes:
        sizes: of the buckets.
        members: numbers of the structures in every bucket.
        lengths: structures in a batch of every bucket.
    """

    sizes: tuple[Size, ...]
    members: tuple[np.ndarray, ...]
    lengths: tuple[int, ...]

    def epoch(self, order: tuple[int, int] | None = None) -> list[tuple[int, np.ndarray]]:
        """Bucket of every batch, and which of its members; -1 is an empty structure.

        Args:
            order: (seed, epoch) shuffles members and batches, the same on every call; None
                keeps the order of the buckets and of their members.
        """
        draw = None if order is None else np.random.default_rng(list(order))
        plan = []
        for number, (members, length) in enumerate(
            zip(self.members, self.lengths, strict=True)
        ):
            rows = np.arange(len(members))
            if draw is not None:
                rows = draw.permutation(rows)
            fill = -len(rows) % length
            rows = np.append(rows, np.full(fill, -1, rows.dtype))
            plan += [(number, chosen) for chosen in rows.reshape(-1, length)]
        if draw is not None:
            plan = [plan[n] for n in draw.permutation(len(plan))]
        return plan

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        pairs = zip(self.members, self.lengths, strict=True)
        return sum(-(-len(members) // length) for members, length in pairs)

    def numbers(self, bucket: int, rows: np.ndarray) -> np.ndarray:
        """Numbers of the structures in these rows of a bucket; -1 for empty ones."""
        return np.append(self.members[bucket], -1)[rows]


def pack(
    sizes: Sequence[Size],
    batch_size: int | Budget,
    max_buckets: int = 4,
    parts: int = 1,
) -> Packing:
    """Batches with little padding.

    With a budget, batches of small structures hold many of them, and the number is lowered
    where this leaves fewer empty structures in the last batch of a bucket.

    Args:
        sizes: of every structure.
        batch_size: structures in a batch, or what a batch may hold.
        max_buckets: largest number of different shapes.
        parts: the length of a batch is a multiple of this, also if there are few structures.

    Raises:
        InputError: as `plan_buckets`; no structures, or a batch size below 1.
    """
    if len(sizes) == 0:
        raise InputError("no frames to batch; give at least one")
    if isinstance(batch_size, Budget):
        found, assignment = split_sizes(sizes, max_buckets)
    else:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        length = min(batch_size, len(sizes))
        found, assignment = plan_buckets(sizes, max_buckets, length)
    members = tuple(np.flatnonzero(assignment == number) for number in range(len(found)))
    if isinstance(batch_size, Budget):
        lengths = tuple(
            _even(batch_size.structures(size), len(own), parts)
            for size, own in zip(found, members, strict=True)
        )
    else:
        lengths = (_multiple(length, parts),) * len(found)
    return Packing(found, members, lengths)


def _even(most: int, count: int, parts: int) -> int:
    """A length up to `most` (a multiple of `parts`) that `count` structures fill best."""
    most = max(parts, most - most % parts)
    batches = -(-count // most)
    return min(most, _multiple(-(-count // batches), parts))


def _multiple(n: int, parts: int) -> int:
    return -(-n // parts) * parts


class Waste(NamedTuple):
    """The part of an epoch that is padding.

    Attributes:
        atoms: of the atoms.
        edges: of the neighbour slots.
        rows: of the neighbour slots, if every structure were padded for itself; each atom then
            has as many slots as the atom with most neighbours of its structure.
    """

    atoms: float
    edges: float
    rows: float


def waste(packing: Packing, sizes: Sequence[Size], edges: np.ndarray) -> Waste:
    """The part of an epoch that is padding, empty structures included.

    Args:
        packing: of the structures.
        sizes: their own sizes.
        edges: their numbers of neighbours, summed over atoms.
    """
    batches = [
        length * -(-len(members) // length)
        for members, length in zip(packing.members, packing.lengths, strict=True)
    ]
    padded = list(zip(batches, packing.sizes, strict=True))
    atoms = sum(count * size.atoms for count, size in padded)
    slots = sum(count * size.atoms * size.neighbors for count, size in padded)
    own = sum(size.atoms * size.neighbors for size in sizes)
    total = float(np.sum(edges))
    return Waste(
        1.0 - sum(size.atoms for size in sizes) / atoms, 1.0 - total / slots, 1.0 - total / own
    )


def emphasis(packing: Packing, values: Mapping[str, np.ndarray]) -> Callable:
    """Weight of every batch of an epoch, label by label.

    The loss of a batch is a mean over its values. Multiplied by this factor, every value of an
    epoch has the same weight, however many its batch holds.

    Args:
        packing: of the structures.
        values: by label, the numbers of values of every structure.

    Returns:
        `(numbers of the structures of a batch, -1 for empty ones) -> factors by label`; their
        mean over the batches of an epoch is one.
    """
    mean = {name: found.sum() / packing.n_batches for name, found in values.items()}

    def factors(numbers: np.ndarray) -> dict[str, float]:
        own = numbers[numbers >= 0]
        return {
            name: float(found[own].sum() / mean[name]) if mean[name] else 1.0
            for name, found in values.items()
        }

    return factors
