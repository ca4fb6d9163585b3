"""Batches: constant shapes, every frame once, reproducible order, repaired caches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.data.cache import cached_neighbors, fingerprint
from jles.data.frames import Frame
from jles.data.loader import Loader
from jles.electrostatics.plan import SumPlan
from jles.errors import InputError

OPTIONS = {"cutoff": 3.0, "k_max": 2.0, "batch_size": 4, "dtype": np.float64}


def frame(rng, n_atoms, periodic, labels=("energy", "forces", "stress"), source="s"):
    """Random atoms with identifiable labels."""
    edge = 2.2 * n_atoms ** (1 / 3)
    cell = edge * (np.eye(3) + rng.uniform(-0.1, 0.1, (3, 3)))
    values = {
        "energy": np.array(rng.normal() - 100.0 * n_atoms),
        "forces": rng.normal(size=(n_atoms, 3)),
        "stress": rng.normal(size=(3, 3)),
    }
    return Frame(
        rng.integers(1, 3, n_atoms).astype(np.int32),
        rng.random((n_atoms, 3)) @ cell,
        cell if periodic else np.zeros((3, 3)),
        np.full(3, periodic),
        {name: values[name] for name in labels},
        float(rng.integers(-1, 2)),
        source,
    )


@pytest.fixture(scope="module")
def mixed():
    """Crystals and clusters of many sizes, with different labels."""
    rng = np.random.default_rng(7)
    subsets = [("energy", "forces", "stress"), ("energy",), ("forces",), ()]
    return [
        frame(
            rng, int(rng.integers(1, 30)), bool(n % 3), subsets[n % 4], f"data.xyz, frame {n}"
        )
        for n in range(37)
    ]


@pytest.fixture(scope="module")
def loader(mixed):
    return Loader(mixed, offsets={"H": -3.0, "He": -5.0}, **OPTIONS)


def leaves_equal(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("most", [1, 2, 4])
def test_an_epoch_compiles_at_most_once_per_bucket(mixed, most):
    loader = Loader(mixed, max_buckets=most, **OPTIONS)
    traces = []

    @jax.jit
    def step(structure, labels):
        traces.append(structure.plan)
        count = structure.mask.sum() + structure.neighbor_mask.sum()
        return count + jnp.sum(labels.values["forces"])

    for epoch in range(2):
        for batch in loader.epoch((0, epoch)):
            step(batch.structure, batch.labels)
    assert len(traces) == len(loader.sizes) <= most
    if most > 1:
        for size in loader.sizes:
            assert size.plan.cluster != size.plan.periodic


@given(seed=st.integers(0, 1000), epoch=st.integers(0, 50))
def test_every_frame_comes_once_with_its_own_values(mixed, loader, seed, epoch):
    seen = []
    for batch in loader.epoch((seed, epoch)):
        assert len(batch.frames) == 4
        for row, n in enumerate(batch.frames):
            mask = batch.structure.mask[row]
            if n < 0:
                assert not mask.any()
                assert not batch.structure.neighbor_mask[row].any()
                continue
            seen.append(int(n))
            np.testing.assert_array_equal(batch.structure.numbers[row][mask], mixed[n].numbers)
            assert batch.structure.total_charge[row] == mixed[n].total_charge
            assert batch.structure.periodic[row] == mixed[n].pbc.any()
    assert sorted(seen) == list(range(len(mixed)))


def test_labels_are_zero_where_they_are_missing_and_offsets_are_taken_off(mixed, loader):
    for batch in loader.epoch():
        labels = batch.labels
        for row, n in enumerate(batch.frames):
            own = {} if n < 0 else mixed[n].labels
            periodic = n >= 0 and mixed[n].pbc.all()
            assert labels.has["energy"][row] == ("energy" in own)
            assert labels.has["forces"][row] == ("forces" in own)
            assert labels.has["stress"][row] == ("stress" in own and periodic)
            energy = 0.0
            if "energy" in own:
                energy = own["energy"] + sum({1: 3.0, 2: 5.0}[z] for z in mixed[n].numbers)
            assert labels.values["energy"][row] == pytest.approx(energy, abs=1e-9)
            forces = own.get("forces", np.zeros((0, 3)))
            np.testing.assert_array_equal(labels.values["forces"][row][: len(forces)], forces)
            assert not labels.values["forces"][row][len(forces) :].any()
            stress = own.get("stress", np.zeros((3, 3))) if periodic else np.zeros((3, 3))
            np.testing.assert_array_equal(labels.values["stress"][row], stress)


def test_small_differences_of_large_energies_survive_float32():
    rng = np.random.default_rng(3)
    frames = [frame(rng, 8, True) for _ in range(2)]
    for n, one in enumerate(frames):
        one.numbers[:] = 1
        one.labels["energy"][...] = -1476722.25 * 8 + 1e-3 * n
    loader = Loader(frames, offsets={"H": -1476722.25}, **{**OPTIONS, "dtype": np.float32})
    (batch,) = loader.epoch()
    assert batch.labels.values["energy"].dtype == np.float32
    np.testing.assert_allclose(batch.labels.values["energy"], [0.0, 1e-3], atol=1e-8)


def test_an_order_is_the_same_every_time_and_others_differ(loader):
    def order(key):
        return np.concatenate([batch.frames for batch in loader.epoch(key)]).tolist()

    assert order((1, 5)) == order((1, 5))
    assert order(None) == order(None)
    assert len({tuple(order(key)) for key in [(1, 5), (1, 6), (2, 5), None]}) == 4


@pytest.mark.parametrize("order", [None, (3, 2)])
def test_an_epoch_resumes_in_the_middle(loader, order):
    whole = list(loader.epoch(order))
    assert len(whole) == loader.n_batches
    for start in (0, 1, loader.n_batches - 1, loader.n_batches):
        rest = list(loader.epoch(order, start=start))
        assert len(rest) == loader.n_batches - start
        for first, second in zip(whole[start:], rest, strict=True):
            leaves_equal(first, second)


def test_a_batch_size_above_the_number_of_frames_is_not_filled_for_nothing(mixed):
    loader = Loader(mixed[1:3], **{**OPTIONS, "batch_size": 50})
    (batch,) = loader.epoch()
    assert sorted(batch.frames) == [0, 1]


def test_without_a_long_range_part_there_is_no_plan_and_no_second_kind(mixed):
    loader = Loader(mixed, **{**OPTIONS, "k_max": None})
    assert all(size.plan == SumPlan() for size in loader.sizes)


def test_arrays_are_compact(loader):
    structure = next(loader.epoch()).structure
    assert structure.neighbor_index.dtype == np.int32
    assert structure.neighbor_shift.dtype == np.int16
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(structure))


def test_a_frame_that_cannot_be_built_is_named(mixed):
    bad = frame(np.random.default_rng(0), 5, True, source="bad.xyz, frame 8")
    bad.positions[3] = bad.positions[1]
    with pytest.raises(InputError, match=r"bad.xyz, frame 8: atom 1 and atom 3"):
        Loader([*mixed[:3], bad], **OPTIONS)


def test_no_frames_and_no_batch_size_are_refused(mixed):
    with pytest.raises(InputError, match="no frames"):
        Loader([], **OPTIONS)
    with pytest.raises(InputError, match="batch_size"):
        Loader(mixed, **{**OPTIONS, "batch_size": 0})


def test_the_frames_pass_through_the_progress_bar(mixed):
    passed = []
    Loader(mixed[:5], track=lambda frames: (passed.append(f) or f for f in frames), **OPTIONS)
    assert passed == mixed[:5]


# The cache of neighbour tables -------------------------------------------------------------


def test_a_cached_loader_gives_the_same_batches(mixed, loader, tmp_path):
    for _ in range(2):
        cached = Loader(
            mixed, offsets={"H": -3.0, "He": -5.0}, cache_dir=tmp_path / "cache", **OPTIONS
        )
        for first, second in zip(loader.epoch((0, 0)), cached.epoch((0, 0)), strict=True):
            leaves_equal(first, second)
    assert len(list((tmp_path / "cache").iterdir())) == len(mixed)


def test_the_cache_is_used(mixed, tmp_path, monkeypatch):
    first = cached_neighbors(mixed[1], 3.0, tmp_path)

    def fails(*_):
        raise AssertionError("searched again")

    monkeypatch.setattr("jles.data.cache.find_neighbors", fails)
    leaves_equal(cached_neighbors(mixed[1], 3.0, tmp_path), first)


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "flipped", "other", "pickle"])
def test_a_damaged_cache_file_is_computed_again_and_replaced(mixed, tmp_path, damage):
    good = cached_neighbors(mixed[1], 3.0, tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    middle = len(data) // 2
    if damage == "other":
        np.savez(path, **cached_neighbors(mixed[2], 3.0)._asdict())
    elif damage == "pickle":
        np.savez(path, index=np.array([{}], dtype=object), shift=0, mask=0)
    else:
        path.write_bytes(
            {
                "cut": data[:middle],
                "empty": b"",
                "garbage": b"not an archive at all",
                "flipped": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
            }[damage]
        )
    leaves_equal(cached_neighbors(mixed[1], 3.0, tmp_path), good)
    assert path.read_bytes()[:2] == b"PK"
    with np.load(path) as file:
        leaves_equal(file["index"], good.index)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_fingerprint_follows_everything_that_matters(mixed):
    base = mixed[1]
    moved = base.positions.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], 99.0)
    others = [
        Frame(base.numbers, moved, base.cell, base.pbc),
        Frame(base.numbers, base.positions, base.cell * 1.1, base.pbc),
        Frame(base.numbers, base.positions, base.cell, np.array([True, True, False])),
    ]
    prints = {fingerprint(other, 3.0) for other in others} | {fingerprint(base, 3.1)}
    assert len(prints | {fingerprint(base, 3.0)}) == 5
    relabelled = Frame(base.numbers, base.positions, base.cell, base.pbc, {}, 1.0, "elsewhere")
    assert fingerprint(relabelled, 3.0) == fingerprint(base, 3.0)
