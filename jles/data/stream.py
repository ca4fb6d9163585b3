"""Batches of a data set in shards, read while the training computes; grain reads ahead."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jles.data.assemble import Assembly
from jles.data.loader import Batch, emphasis_of
from jles.data.packing import WHOLE, Budget, Packing, Share, pack
from jles.data.shards.stored import StoredFrames
from jles.errors import InputError
from jles.quantities.catalogue import trained_labels
from jles.structures.distances import DistanceRange
from jles.structures.planned import planned_size
from jles.structures.sizes import Size

_AHEAD = 8
"""Batches that are read ahead, by the thread or by every process."""


class StreamLoader:
    """Batches of stored frames, in the same order and with the same values as `Loader`.

    Shapes and batches are planned from the index of the shards. Frames are read, their
    neighbours found and their arrays padded when a batch is due, ahead of its use: in a thread,
    or in `workers` processes.

    Args:
        frames: see `StoredFrames`.
        cutoff: of the neighbours, angstrom.
        batch_size: structures per batch, or a budget of atoms and neighbour slots.
        offsets: as of `Loader`, as are the following.
        responses: labels of the response.
        labelled: whether the model reads the `state` of every frame.
        dtype: of the real arrays.
        max_buckets: largest number of different shapes.
        parts: the length of a batch is a multiple of this.
        workers: processes that prepare batches; 0 for a thread.
        **sums: options of the electrostatic sums.

    Attributes:
        packing: which frames make up which batch.
        sizes: of the buckets.
        n_batches: in every epoch.

    Raises:
        InputError: no frames, a batch size below 1, a cutoff beyond those of the shards, or
            grain is missing.
    """

    def __init__(
        self,
        frames: StoredFrames,
        *,
        cutoff: float,
        batch_size: int | Budget,
        offsets: Mapping[str, float] | None = None,
        responses: Sequence[str] = (),
        labelled: bool = False,
        dtype=np.float32,
        max_buckets: int = 4,
        parts: int = 1,
        workers: int = 0,
        **sums,
    ):
        _grain(frames.folder)
        self._frames, self._workers, self._cutoff = frames, workers, cutoff
        self._assembly = Assembly(
            cutoff, sums, offsets or {}, tuple(responses), labelled, dtype, None
        )
        self.packing = pack(planned_sizes(frames, cutoff, sums), batch_size, max_buckets, parts)
        self.sizes, self.n_batches = self.packing.sizes, self.packing.n_batches
        self._emphasis = emphasis_of(self.packing, batch_size, stored_values(frames))

    def epoch(
        self, order: tuple[int, int] | None = None, start: int = 0, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """The batches of one epoch, as of `Loader`; only the frames of the share are read."""
        grain = _grain(self._frames.folder)
        plan = self.packing.epoch(order)[start:]
        source = _Source(self._frames.reopened(), self._assembly, self.packing, plan, share)
        ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=_AHEAD)
        batches = grain.MapDataset.source(source).to_iter_dataset(ahead)
        if self._workers:
            _parse_no_flags()
            options = grain.MultiprocessingOptions(
                num_workers=self._workers, per_worker_buffer_size=_AHEAD
            )
            batches = batches.mp_prefetch(options)
        for ready in batches:
            yield Batch(*ready.arrays, ready.numbers, self._emphasis(ready.numbers))

    def distance_range(self) -> DistanceRange:
        """The shortest distances of all frames in the shards."""
        return self._frames.distance_range(self._cutoff)

    def average_neighbors(self) -> float:
        """Average number of neighbours of an atom."""
        _, edges = self._frames.counts(self._cutoff)
        return float(edges.sum() / self._frames.column("atoms").sum())


@dataclass(frozen=True)
class _Ready:
    """Structures, labels and numbers of their frames, in a class that grain passes on whole."""

    arrays: tuple
    numbers: np.ndarray


class _Source:
    """The batches of one epoch by number, for grain."""

    def __init__(
        self,
        frames: StoredFrames,
        assembly: Assembly,
        packing: Packing,
        plan: list[tuple[int, np.ndarray]],
        share: Share,
    ):
        self._frames, self._assembly, self._packing = frames, assembly, packing
        self._plan, self._share = plan, share

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, n: int) -> _Ready:
        bucket, rows = self._plan[n]
        size = self._packing.sizes[bucket]
        numbers = self._packing.numbers(bucket, rows)
        own = self._share.of(numbers)
        arrays = self._assembly.rows(size, len(own))
        for row, number in enumerate(own):
            if number >= 0:
                frame = self._frames.read(int(number))
                built = self._assembly.structure(frame)
                self._assembly.write(arrays, row, frame, built, size)
        return _Ready(arrays, numbers)


def planned_sizes(frames: StoredFrames, cutoff: float, sums: Mapping) -> list[Size]:
    """The size of every frame, from the index alone.

    Args:
        frames: stored frames.
        cutoff: of the neighbours, angstrom.
        sums: options of the electrostatic sums.

    Raises:
        InputError: as `StoredFrames.counts`; a cell that cannot be summed (the frame is named).
    """
    neighbors, _ = frames.counts(cutoff)
    index, known, found = frames.index, {}, []
    columns = zip(
        frames.column("atoms").tolist(),
        neighbors.tolist(),
        frames.column("cell").tolist(),
        frames.column("extent").tolist(),
        strict=True,
    )
    for n, key in enumerate(columns):
        if key not in known:
            atoms, most, cell, extent = key
            try:
                known[key] = planned_size(
                    atoms, most, index.cells[cell], index.pbc[cell], extent, **sums
                )
            except InputError as error:
                raise InputError(f"{frames[n].source}: {error}") from None
        found.append(known[key])
    return found


def stored_values(frames: StoredFrames) -> dict[str, np.ndarray]:
    """The number of labelled values of every frame, by label, as `values_of`."""
    index, labels, atoms = frames.index, frames.column("labels"), frames.column("atoms")
    crystal = index.pbc[frames.column("cell")].all(axis=1)
    found = {}
    for name, quantity in trained_labels().items():
        has = labels >> index.labels.index(name) & 1
        if name == "stress":
            has = has * crystal
        found[name] = has.astype(np.int64) * (atoms if quantity.per_atom else 1)
    return found


def _parse_no_flags() -> None:
    """Grain's processes read flags of absl, which expects a program that parses them."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@functools.cache
def _grain(folder):
    try:
        import grain
    except ImportError:
        raise InputError(
            f"{folder}: reading shards needs the package grain; install it with "
            "pip install 'jles[shards]'"
        ) from None
    return grain
