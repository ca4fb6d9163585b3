"""Batches of constant shape from frames of any size."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jles.data.cache import cached_neighbors
from jles.data.frames import Frame
from jles.data.offsets import offset_energy
from jles.errors import InputError
from jles.quantities.catalogue import trained_labels
from jles.structures.batch import (
    Size,
    build_structure,
    empty_structure,
    pad_structure,
    plan_buckets,
    size_of,
)
from jles.structures.labels import whole_labels
from jles.structures.structure import HostOrDevice, Structure

_ALWAYS = ("energy", "forces", "stress")

RESPONSES = tuple(name for name in trained_labels() if name not in _ALWAYS)
"""Labels of the electrical response, of which a loader holds the requested ones."""


class Labels(NamedTuple):
    """Reference values of a batch, in the units and shapes of the catalogue.

    Attributes:
        values: by name, (structures, ...); zero where a structure lacks the label and on
            padding atoms. Element energies are subtracted from the energy in float64; the
            stress is there only of structures periodic in all directions.
        has: by name, (structures,): 1 if the structure has the label, else 0.
    """

    values: dict[str, Float[HostOrDevice, "..."]]
    has: dict[str, Float[HostOrDevice, "*structures"]]


class Batch(NamedTuple):
    """Structures and labels with a leading axis; `frames` are indices, -1 for filler."""

    structure: Structure
    labels: Labels
    frames: np.ndarray


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


class _Bucket(NamedTuple):
    """Structures and labels of one size; the last row of every array is an empty structure."""

    structures: Structure
    labels: Labels
    frames: np.ndarray


class Loader:
    """Batches of frames, which are built and padded once and drawn in any order.

    All batches of a bucket have the same shape, so functions are compiled once per bucket. The
    last batch of a bucket is filled with empty structures.

    Args:
        frames: any sizes, crystals and clusters mixed.
        cutoff: cutoff of the neighbours, angstrom.
        batch_size: structures per batch.
        offsets: element energies, eV by symbol, subtracted from the energies.
        responses: which of `RESPONSES` the labels hold beside energy, forces and stress.
        labelled: whether the model reads the `state` of every frame.
        dtype: of the real arrays.
        max_buckets: largest number of different shapes.
        parts: the length of a batch is a multiple of this, also if there are few frames.
        cache_dir: directory that keeps neighbour tables between runs.
        track: wraps the frames while they are built, e.g. `rich.progress.track`.
        **sums: `k_max`, `sigma`, `method`, `accuracy` and `rank` of `build_structure`.

    Attributes:
        sizes: of the buckets.
        n_batches: in every epoch.

    Raises:
        InputError: no frames, a batch size below 1, or a frame that cannot be built (named).
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        *,
        cutoff: float,
        batch_size: int,
        offsets: Mapping[str, float] | None = None,
        responses: Sequence[str] = (),
        labelled: bool = False,
        dtype=np.float32,
        max_buckets: int = 4,
        parts: int = 1,
        cache_dir=None,
        track: Callable[[Sequence[Frame]], Iterable[Frame]] = iter,
        **sums,
    ):
        if len(frames) == 0:
            raise InputError("no frames to batch; give at least one")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        structures = {
            n: _build(frame, cutoff, sums, cache_dir, dtype, labelled)
            for n, frame in enumerate(track(frames))
        }
        most = min(batch_size, len(frames))
        self.batch_size = -(-most // parts) * parts
        self.sizes, assignment = plan_buckets(
            [size_of(built) for built in structures.values()], max_buckets, most
        )
        self._buckets = []
        for number, size in enumerate(self.sizes):
            members = np.flatnonzero(assignment == number)
            nothing = empty_structure(size, dtype, labelled), _no_labels(size, dtype, responses)
            rows = _rows(nothing, len(members))
            for row, n in enumerate(members):
                # Popped, so that a large set is not held twice.
                padded = pad_structure(structures.pop(n), size)
                labels = _labels(frames[n], size, offsets or {}, dtype, responses)
                _write(rows, row, (padded, labels))
            self._buckets.append(_Bucket(*rows, np.append(members, -1)))
        self.n_batches = len(self._plan(None))

    def epoch(
        self, order: tuple[int, int] | None = None, start: int = 0, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """The batches of one epoch, which hold every frame once.

        Args:
            order: (seed, epoch) shuffles frames and batches, the same on every call; None keeps
                the order of the buckets and of the frames in them.
            start: number of batches to skip, to resume within an epoch.
            share: structures and labels are this part of every batch; `frames` are all.
        """
        for number, rows in self._plan(order)[start:]:
            bucket, own = self._buckets[number], share.of(rows)
            structure, labels = jax.tree.map(
                lambda leaf, own=own: leaf[own], (bucket.structures, bucket.labels)
            )
            yield Batch(structure, labels, bucket.frames[rows])

    def structures(self) -> Iterator[Structure]:
        """The padded structures one by one, bucket by bucket; NumPy arrays."""
        for bucket in self._buckets:
            for row in range(len(bucket.frames) - 1):
                yield jax.tree.map(
                    lambda leaf, row=row: np.asarray(leaf[row]), bucket.structures
                )

    def _plan(self, order) -> list[tuple[int, np.ndarray]]:
        """Bucket and rows of every batch; row -1 is the empty structure."""
        draw = None if order is None else np.random.default_rng(list(order))
        plan = []
        for number, bucket in enumerate(self._buckets):
            rows = np.arange(len(bucket.frames) - 1)
            if draw is not None:
                rows = draw.permutation(rows)
            fill = -len(rows) % self.batch_size
            rows = np.append(rows, np.full(fill, -1, rows.dtype))
            plan += [(number, chosen) for chosen in rows.reshape(-1, self.batch_size)]
        if draw is not None:
            plan = [plan[n] for n in draw.permutation(len(plan))]
        return plan


def _build(frame: Frame, cutoff, sums, cache_dir, dtype, labelled) -> Structure:
    try:
        return build_structure(
            frame.numbers,
            frame.positions,
            frame.cell,
            frame.pbc,
            cutoff=cutoff,
            total_charge=frame.total_charge,
            state=whole_labels(frame.state, len(frame.numbers), "state") if labelled else None,
            neighbors=cached_neighbors(frame, cutoff, cache_dir),
            dtype=dtype,
            **sums,
        )
    except InputError as error:
        raise InputError(f"{frame.source}: {error}") from None


def _labels(frame: Frame, size: Size, offsets, dtype, responses) -> Labels:
    given = dict(frame.labels)
    if "energy" in given:
        given["energy"] = given["energy"] - offset_energy(frame.numbers, offsets)
    if not frame.pbc.all():
        given.pop("stress", None)
    labels = _no_labels(size, np.float64, responses)
    for name in labels.values:
        if name in given:
            places = tuple(map(slice, np.shape(given[name])))
            labels.values[name][places] = given[name]
            labels.has[name][...] = 1.0
    return jax.tree.map(lambda leaf: leaf.astype(dtype), labels)


def _no_labels(size: Size, dtype, responses) -> Labels:
    values, has = {}, {}
    for name in (*_ALWAYS, *responses):
        shape = trained_labels()[name].shape
        shape = tuple(size.atoms if length == "atoms" else length for length in shape)
        values[name], has[name] = np.zeros(shape, dtype), np.zeros((), dtype)
    return Labels(values, has)


def _rows(empty, count: int):
    """Arrays for `count` structures, with an empty structure in the last row."""
    return jax.tree.map(lambda leaf: np.repeat(leaf[None], count + 1, axis=0), empty)


def _write(rows, row: int, values) -> None:
    for array, value in zip(jax.tree.leaves(rows), jax.tree.leaves(values), strict=True):
        array[row] = value
