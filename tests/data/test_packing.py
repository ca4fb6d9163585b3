"""Batches within a budget: every structure once, little padding, the same weight for all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jles.data.packing import Budget, emphasis, pack, waste
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.structures.batch import merge_sizes
from jles.structures.partition import split_sizes
from jles.structures.sizes import Size, cost_of
from tests.support.messages import message_of

CRYSTAL, CLUSTER = SumPlan(KGrid(3, 3, 3)), SumPlan(cluster=True)


def random_sizes(seed, count=60):
    rng = np.random.default_rng(seed)
    atoms = rng.integers(1, 90, count)
    return [
        Size(int(n), int(rng.integers(1, 40)), CRYSTAL if n % 3 else CLUSTER) for n in atoms
    ]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    atoms=st.integers(90, 900),
    edges=st.integers(3600, 20000),
    buckets=st.integers(2, 12),
    parts=st.sampled_from([1, 2]),
)
def test_every_structure_comes_once_and_budgets_are_kept(seed, atoms, edges, buckets, parts):
    sizes = random_sizes(seed)
    packing = pack(sizes, Budget(atoms, edges), buckets, parts)
    assert len(packing.sizes) <= buckets
    seen = []
    for bucket, rows in packing.epoch((seed, 1)):
        size, numbers = packing.sizes[bucket], packing.numbers(bucket, rows)
        assert len(rows) % parts == 0
        if len(rows) > parts:  # one structure for each part is the least
            assert len(rows) * size.atoms <= atoms
            assert len(rows) * size.atoms * size.neighbors <= edges
        own = [int(n) for n in numbers if n >= 0]
        assert all(merge_sizes([size, sizes[n]]) == size for n in own)
        seen += own
    assert sorted(seen) == list(range(len(sizes)))


def test_more_buckets_never_cost_more():
    sizes = random_sizes(3, 200)

    def work(buckets):
        found, assignment = split_sizes(sizes, buckets)
        return sum(cost_of(found[n]) for n in assignment)

    costs = [work(n) for n in (1, 2, 4, 8, 16)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.7 * costs[0]
    assert "max_buckets" in message_of(split_sizes, sizes, 0)


def test_a_large_set_of_molecules_wastes_few_atoms():
    """Sizes of 3 to 91 atoms, as in SPICE: at most a tenth of the atoms with sixteen shapes."""
    rng = np.random.default_rng(0)
    atoms = np.concatenate([rng.integers(3, 35, 2000), rng.normal(48, 14, 3000).astype(int)])
    atoms = np.clip(atoms, 3, 91)
    sizes = [Size(int(n), int(min(n - 1, 30 + rng.integers(0, 8)))) for n in atoms]
    edges = np.array([n.atoms * n.neighbors for n in sizes])
    old, new = (pack(sizes, how, n) for how, n in ((4, 4), (Budget(1024), 16)))
    assert waste(new, sizes, edges).atoms < 0.10
    assert waste(old, sizes, edges).atoms > 0.15


def test_waste_counts_every_slot():
    sizes = [Size(2, 2), Size(4, 2), Size(4, 2)]
    packing = pack(sizes, 2, 1)  # four structures of four atoms, one of them empty
    found = waste(packing, sizes, np.array([3, 8, 5]))
    assert found == pytest.approx((1 - 10 / 16, 1 - 16 / 32, 1 - 16 / 20))


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_every_value_of_an_epoch_has_the_same_weight(seed):
    """The mean over batches of the emphasized means is the mean over all values."""
    sizes = random_sizes(seed)
    rng = np.random.default_rng(seed)
    has = rng.random(len(sizes)) < 0.8
    values = {"forces": has * np.array([size.atoms for size in sizes])}
    squares = values["forces"] * rng.random(len(sizes))
    packing = pack(sizes, Budget(300), 5)
    factors = emphasis(packing, values)
    losses = []
    for bucket, rows in packing.epoch((seed, 0)):
        numbers = packing.numbers(bucket, rows)
        own = numbers[numbers >= 0]
        mean = squares[own].sum() / max(values["forces"][own].sum(), 1)
        losses.append(factors(numbers)["forces"] * mean)
    expected = squares.sum() / values["forces"].sum()
    assert np.mean(losses) == pytest.approx(expected)
    assert emphasis(packing, {"stress": 0 * squares})(np.array([0]))["stress"] == 1.0
