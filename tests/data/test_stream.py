"""Frames from shards: the batches of frames in memory, bit for bit."""

import jax
import numpy as np
import pytest

from jles.data.frames import read_frames
from jles.data.loader import Loader, values_of
from jles.data.offsets import fit_element_energies, fit_stored_energies
from jles.data.packing import Budget, Share
from jles.data.shards.build import build_shards
from jles.data.shards.stored import StoredFrames
from jles.data.splits import split_frames, split_places
from jles.data.stream import StreamLoader, stored_values
from tests.support.messages import message_of
from tests.support.small_systems import labelled, mixed_frames, rattled, write_frames

OPTIONS = {"cutoff": 3.0, "k_max": 2.0, "sigma": 1.0, "offsets": {"H": -13.0, "O": -430.0}}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same frames in memory and in shards; one is a slab, one has no labels."""
    folder = tmp_path_factory.mktemp("stream")
    slab = labelled(rattled(40, count=5), ("energy", "forces"))
    slab.pbc = [True, False, True]
    atoms = [*mixed_frames(11), slab, rattled(41, count=4)]
    file = write_frames(folder / "a.xyz", atoms)
    build_shards([file], folder / "shards", cutoffs=(3.0,), shard_bytes=700)
    return read_frames(file), StoredFrames(folder / "shards")


def equal(first, second):
    assert first.frames.tolist() == second.frames.tolist()
    assert first.emphasis == second.emphasis
    trees = [(batch.structure, batch.labels) for batch in (first, second)]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    for one, other in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [4, Budget(24, 2000)])
def test_batches_are_those_of_frames_in_memory(sets, batch_size, dtype):
    frames, stored = sets
    options = OPTIONS | {"batch_size": batch_size, "dtype": dtype, "parts": 2}
    memory, stream = Loader(frames, **options), StreamLoader(stored, **options)
    assert stream.sizes == memory.sizes
    for order in (None, (3, 1)):
        both = zip(memory.epoch(order), stream.epoch(order), strict=True)
        assert [equal(*pair) for pair in both]
    rest = zip(memory.epoch((3, 1), start=2), stream.epoch((3, 1), start=2), strict=True)
    assert [equal(*pair) for pair in rest]
    for share in (Share(0, 1, 2), Share(1, 2, 2)):
        both = (loader.epoch((0, 0), share=share) for loader in (memory, stream))
        assert [equal(*pair) for pair in zip(*both, strict=True)]
    assert stream.average_neighbors() == pytest.approx(memory.average_neighbors())


def test_a_process_reads_only_its_share(sets, monkeypatch):
    _, stored = sets
    loader = StreamLoader(stored, **OPTIONS, batch_size=4, parts=2)
    seen = []
    read = StoredFrames.read
    monkeypatch.setattr(StoredFrames, "read", lambda self, n: seen.append(n) or read(self, n))
    own = []
    for share in (Share(0, 1, 2), Share(1, 2, 2)):
        seen.clear()
        list(loader.epoch((1, 2), share=share))
        own.append(sorted(seen))
    assert sorted(own[0] + own[1]) == list(range(len(stored)))
    assert own[0]
    assert own[1]


@pytest.mark.long
def test_processes_prepare_the_same_batches(sets):
    frames, stored = sets
    options = OPTIONS | {"batch_size": 4}
    stream = StreamLoader(stored, workers=2, **options)
    pairs = zip(Loader(frames, **options).epoch((0, 3)), stream.epoch((0, 3)), strict=True)
    assert [equal(*pair) for pair in pairs]


def test_element_energies_splits_and_counts_are_those_of_frames_in_memory(sets):
    frames, stored = sets
    numbers = (1, 6, 8)
    expected = fit_element_energies(frames, numbers)
    assert fit_stored_energies(stored, numbers) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for one, other in zip(
        split_frames(frames, 0.3, 5), split_places(len(stored), 0.3, 5), strict=True
    ):
        assert [frame.source for frame in one] == [stored[int(n)].source for n in other]
    for name, values in values_of(frames).items():
        np.testing.assert_array_equal(stored_values(stored)[name], values)
    kinds = stored.distinct()
    assert {frame.total_charge for frame in kinds} == {f.total_charge for f in frames}
    assert {z for frame in kinds for z in frame.numbers} == {1, 8}


def test_a_cutoff_beyond_the_shards_names_the_remedy(sets):
    options = OPTIONS | {"cutoff": 5.0, "batch_size": 4}
    assert "--cutoff 5" in message_of(lambda: StreamLoader(sets[1], **options))
