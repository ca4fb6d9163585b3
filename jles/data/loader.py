"""Batches of constant shape from frames of any size."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jles.data.assemble import RESPONSES as RESPONSES
from jles.data.assemble import Assembly
from jles.data.assemble import Labels as Labels
from jles.data.frames import Frame
from jles.data.packing import WHOLE as WHOLE
from jles.data.packing import Budget, Packing, emphasis, pack
from jles.data.packing import Share as Share
from jles.errors import InputError
from jles.quantities.catalogue import trained_labels
from jles.structures.batch import size_of
from jles.structures.distances import DistanceRange, distance_range
from jles.structures.structure import Structure


class Batch(NamedTuple):
    """Structures and labels with a leading axis.

    Attributes:
        structure: the structures.
        labels: of them.
        frames: numbers of the frames, -1 for empty structures.
        emphasis: factors of the weights in the loss, by label, see `emphasis`; None if all are
            one.
    """

    structure: Structure
    labels: Labels
    frames: np.ndarray
    emphasis: dict[str, float] | None = None


class _Bucket(NamedTuple):
    """Structures and labels of one size; the last row of every array is an empty structure."""

    structures: Structure
    labels: Labels


class Loader:
    """Batches of frames, which are built and padded once and drawn in any order.

    All batches of a bucket have the same shape, so functions are compiled once per bucket. The
    last batch of a bucket is filled with empty structures.

    Args:
        frames: any sizes, crystals and clusters mixed.
        cutoff: cutoff of the neighbours, angstrom.
        batch_size: structures per batch, or a budget of atoms and neighbour slots.
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
        packing: which frames make up which batch.
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
        batch_size: int | Budget,
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
        assembly = Assembly(
            cutoff, sums, offsets or {}, tuple(responses), labelled, dtype, cache_dir
        )
        structures = {n: assembly.structure(frame) for n, frame in enumerate(track(frames))}
        own = [size_of(built) for built in structures.values()]
        self.packing = pack(own, batch_size, max_buckets, parts)
        self.sizes, self.n_batches = self.packing.sizes, self.packing.n_batches
        self._emphasis = emphasis_of(self.packing, batch_size, values_of(frames))
        self._buckets = []
        for size, members in zip(self.sizes, self.packing.members, strict=True):
            rows = assembly.rows(size, len(members) + 1)
            for row, n in enumerate(members):
                # Popped, so that a large set is not held twice.
                assembly.write(rows, row, frames[n], structures.pop(n), size)
            self._buckets.append(_Bucket(*rows))

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
        for number, rows in self.packing.epoch(order)[start:]:
            bucket, own = self._buckets[number], share.of(rows)
            structure, labels = jax.tree.map(
                lambda leaf, own=own: leaf[own], (bucket.structures, bucket.labels)
            )
            frames = self.packing.numbers(number, rows)
            yield Batch(structure, labels, frames, self._emphasis(frames))

    def structures(self) -> Iterator[Structure]:
        """The padded structures one by one, bucket by bucket; NumPy arrays."""
        for bucket, members in zip(self._buckets, self.packing.members, strict=True):
            for row in range(len(members)):
                yield jax.tree.map(
                    lambda leaf, row=row: np.asarray(leaf[row]), bucket.structures
                )

    def distance_range(self) -> DistanceRange:
        """The shortest distances of the frames."""
        return distance_range(self.structures())

    def average_neighbors(self) -> float:
        """Average number of neighbours of an atom."""
        counts = [(one.neighbor_mask.sum(), one.mask.sum()) for one in self.structures()]
        edges, atoms = np.sum(counts, axis=0)
        return float(edges / atoms)


def values_of(frames: Sequence[Frame]) -> dict[str, np.ndarray]:
    """The number of labelled values of every frame, by label; per-atom labels count atoms."""
    found = {}
    for name, quantity in trained_labels().items():
        found[name] = np.array(
            [
                (len(frame.numbers) if quantity.per_atom else 1)
                * (name in frame.labels and (name != "stress" or bool(frame.pbc.all())))
                for frame in frames
            ],
            np.int64,
        )
    return found


def emphasis_of(packing: Packing, batch_size: int | Budget, values: dict) -> Callable:
    """The factors of a batch, see `emphasis`; none for a constant number of structures."""
    if isinstance(batch_size, Budget):
        return emphasis(packing, values)
    return lambda numbers: None
