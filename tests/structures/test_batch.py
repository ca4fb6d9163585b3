"""Building, padding, stacking and sizing structures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics.plan import SumPlan, merge_plans, plan_is_too_small, plan_sum
from jles.electrostatics.sums.kgrid import KGrid, plan_kgrid
from jles.electrostatics.sums.mesh import MeshPlan
from jles.errors import InputError
from jles.structures.batch import (
    Size,
    build_structure,
    empty_structure,
    merge_sizes,
    on_device,
    pad_structure,
    plan_buckets,
    round_up_size,
    size_of,
    stack,
)
from jles.structures.neighbors import find_neighbors
from jles.structures.structure import check_structure, neighbor_vectors
from tests.support.messages import message_of

CUTOFF, K_MAX = 4.0, 2.0

CLUSTER = SumPlan(cluster=True)


def crystal(rng, n_atoms=6, edge=5.0):
    """Numbers, positions, cell of a skewed cell."""
    cell = edge * (np.eye(3) + rng.uniform(-0.2, 0.2, (3, 3)))
    return rng.integers(1, 9, n_atoms), rng.random((n_atoms, 3)) @ cell, cell


def build(rng, n_atoms=6, edge=5.0, pbc=True, **options):
    options = {"cutoff": CUTOFF, "k_max": K_MAX, "dtype": np.float64, **options}
    return build_structure(*crystal(rng, n_atoms, edge), pbc, **options)


def lengths(structure):
    """Sorted distances of every real neighbour."""
    vectors = np.asarray(neighbor_vectors(on_device(structure)))
    return np.sort(np.linalg.norm(vectors[np.asarray(structure.neighbor_mask)], axis=-1))


def pair_energy(structure, xp=jnp):
    """A pure function of a structure: a smooth sum over neighbours, weighted by number."""
    images = structure.neighbor_shift.astype(structure.cell.dtype) @ structure.cell
    vectors = structure.positions[structure.neighbor_index] + images
    squared = ((vectors - structure.positions[:, None, :]) ** 2).sum(axis=-1)
    weight = structure.numbers[:, None] * structure.numbers[structure.neighbor_index]
    return xp.where(structure.neighbor_mask, weight * xp.exp(-squared), 0.0).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_atoms_far_away_keep_their_digits(rng, dtype):
    numbers, positions, cell = crystal(rng)
    jumps = rng.integers(-4000, 4000, positions.shape)
    options = {"cutoff": CUTOFF, "k_max": K_MAX, "dtype": dtype}
    near = build_structure(numbers, positions, cell, True, **options)
    far = build_structure(numbers, positions + jumps @ cell, cell, True, **options)
    assert far.positions.dtype == far.cell.dtype == far.total_charge.dtype == dtype
    np.testing.assert_allclose(far.positions, near.positions, atol=1e-6)
    np.testing.assert_allclose(lengths(far), lengths(near), atol=3e-6)


def test_distances_are_those_of_the_table(rng):
    numbers, positions, cell = crystal(rng)
    positions = positions + rng.integers(-3, 3, positions.shape) @ cell
    table = find_neighbors(positions, cell, True, CUTOFF)
    vectors = positions[table.index] + table.shift @ cell - positions[:, None]
    expected = np.sort(np.linalg.norm(vectors, axis=-1)[table.mask])
    options = {"cutoff": CUTOFF, "k_max": None, "dtype": np.float64}
    for neighbors in (None, table):
        built = build_structure(numbers, positions, cell, True, neighbors=neighbors, **options)
        np.testing.assert_allclose(lengths(built), expected, atol=1e-12)


def test_a_cluster_has_the_identity_cell_and_lies_at_the_origin(rng):
    numbers, positions, cell = crystal(rng)
    cluster = build_structure(
        numbers, positions + 50, cell, False, cutoff=CUTOFF, k_max=K_MAX, dtype=np.float64
    )
    np.testing.assert_array_equal(cluster.cell, np.eye(3))
    np.testing.assert_allclose(
        cluster.positions, positions - positions.mean(axis=0), atol=1e-12
    )
    assert not cluster.periodic
    assert cluster.plan == SumPlan(cluster=True)
    assert not cluster.neighbor_shift.any()


def test_the_plan_of_the_sums_follows_pbc_and_k_max(rng):
    _, _, cell = crystal(np.random.default_rng(4))
    periodic = build(np.random.default_rng(4))
    assert periodic.plan == SumPlan(grid=plan_kgrid(cell, K_MAX))
    assert periodic.periodic
    for pbc in (True, False, (True, True, False)):
        short = build(rng, pbc=pbc, k_max=None)
        assert short.plan == SumPlan()
        assert bool(short.periodic) == bool(np.any(pbc))


def test_wires_are_refused_with_a_long_range_part(rng):
    with pytest.raises(InputError, match="one direction only"):
        build(rng, pbc=(False, False, True))


def test_a_slab_without_a_third_vector_gets_one(rng):
    numbers, positions, cell = crystal(rng)
    cell[2] = 0.0
    slab = build_structure(
        numbers, positions, cell, (True, True, False), cutoff=3.0, k_max=None
    )
    assert abs(np.linalg.det(slab.cell)) > 1.0
    np.testing.assert_allclose(slab.cell[:2], cell[:2], rtol=1e-6)


@pytest.mark.parametrize("pbc", [False, (True, True, False), (False, True, True)])
def test_the_place_along_open_directions_changes_nothing(rng, pbc):
    numbers, positions, cell = crystal(rng)
    open_ones = ~np.broadcast_to(pbc, 3)
    moved = positions + 1e4 * open_ones @ np.linalg.inv(cell).T
    here, there = (
        build_structure(numbers, places, cell, pbc, cutoff=3.0, k_max=2.0)
        for places in (positions, moved)
    )
    np.testing.assert_allclose(there.positions, here.positions, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(there.neighbor_shift, here.neighbor_shift)


def test_numbers_and_positions_must_agree():
    with pytest.raises(InputError, match="one atomic number per atom"):
        build_structure([1, 1], np.zeros((1, 3)), np.eye(3), False, cutoff=1.0, k_max=None)
    with pytest.raises(InputError, match="at least one atom"):
        build_structure([], np.zeros((0, 3)), np.eye(3), False, cutoff=1.0, k_max=None)


def test_a_lonely_atom_has_one_empty_slot():
    lonely = build_structure([1], np.zeros((1, 3)), np.eye(3), False, cutoff=1.0, k_max=None)
    assert lonely.neighbor_mask.shape == (1, 1)
    assert not lonely.neighbor_mask.any()


@given(
    seed=st.integers(0, 2**32 - 1),
    more=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    pbc=st.booleans(),
)
def test_padding_changes_no_value(seed, more, pbc):
    structure = build(np.random.default_rng(seed), pbc=pbc)
    own = size_of(structure)
    size = own._replace(atoms=own.atoms + more[0], neighbors=own.neighbors + more[1])
    padded = pad_structure(structure, size)
    assert size_of(padded) == size
    np.testing.assert_allclose(pair_energy(padded, np), pair_energy(structure, np), rtol=1e-12)
    for name in ("mask", "neighbor_mask"):
        assert getattr(padded, name).sum() == getattr(structure, name).sum()
    rows = np.broadcast_to(np.arange(size.atoms)[:, None], padded.neighbor_mask.shape)
    np.testing.assert_array_equal(
        padded.neighbor_index[~padded.neighbor_mask], rows[~padded.neighbor_mask]
    )
    assert not padded.numbers[~padded.mask].any()


def test_padding_a_batch_is_padding_each(rng):
    structures = [build(rng), build(rng)]
    size = merge_sizes(map(size_of, structures))
    size = size._replace(atoms=size.atoms + 2, neighbors=size.neighbors + 3)
    whole = pad_structure(stack(structures), size)
    each = stack([pad_structure(structure, size) for structure in structures])
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(each), strict=True):
        np.testing.assert_array_equal(a, b)
    assert size_of(whole) == size_of(each) == size


@pytest.mark.parametrize("change", [{"atoms": 5}, {"neighbors": 1}, {"plan": SumPlan()}])
def test_a_size_that_is_too_small_is_refused(rng, change):
    structure = build(rng)
    with pytest.raises(ValueError, match="does not fit"):
        pad_structure(structure, size_of(structure)._replace(**change))


def test_a_batch_gives_the_values_of_its_structures(rng):
    structures = [build(rng, 3), build(rng, 7, pbc=False), build(rng, 5, edge=9.0)]
    batch = stack(structures)
    values = jax.jit(jax.vmap(pair_energy))(batch)
    np.testing.assert_allclose(values, [pair_energy(s, np) for s in structures], rtol=1e-12)
    assert batch.plan.cluster
    assert all(
        wide >= own
        for s in structures
        if s.plan.grid
        for wide, own in zip(batch.plan.grid, s.plan.grid, strict=True)
    )


@pytest.mark.parametrize("grid", [None, KGrid(2, 3, 4)])
def test_an_empty_structure_stacks_with_others_and_counts_nothing(grid):
    size = Size(5, 7, SumPlan(grid, cluster=grid is None))
    empty = empty_structure(size, np.float64)
    assert size_of(empty) == size
    assert not empty.mask.any()
    assert pair_energy(empty, np) == 0.0
    assert np.isfinite(np.asarray(neighbor_vectors(on_device(empty)))).all()
    assert bool(empty.periodic) == (grid is not None)


def test_empty_structures_have_the_dtypes_of_built_ones(rng):
    for dtype in (np.float32, np.float64):
        built = build(rng, dtype=dtype)
        empty = empty_structure(size_of(built), dtype)
        for a, b in zip(jax.tree.leaves(built), jax.tree.leaves(empty), strict=True):
            assert a.dtype == b.dtype
            assert a.shape == b.shape


sizes = st.builds(
    Size,
    atoms=st.integers(1, 300),
    neighbors=st.integers(1, 150),
    plan=st.one_of(
        st.just(CLUSTER),
        st.tuples(*[st.integers(1, 12)] * 3).map(lambda n: SumPlan(KGrid(*n))),
        st.tuples(*[st.integers(2, 5)] * 3).map(
            lambda n: SumPlan(mesh=MeshPlan(*(8 * points for points in n), 6))
        ),
    ),
)


def holds(big, small):
    return merge_sizes([big, small]) == big


@given(size=sizes)
def test_rounding_up_holds_the_size_and_is_idempotent(size):
    rounded = round_up_size(size)
    assert holds(rounded, size)
    assert round_up_size(rounded) == rounded
    assert rounded.atoms % 8 == rounded.neighbors % 8 == 0
    assert rounded.atoms <= max(size.atoms + 8, 1.2 * size.atoms + 8)


def test_rounding_leaves_few_sizes():
    rounded = {round_up_size(Size(n, 60, CLUSTER)).atoms for n in range(1, 1000)}
    assert len(rounded) < 30


@given(sizes=st.lists(sizes, min_size=1, max_size=60), most=st.integers(2, 5))
def test_buckets_hold_their_members_and_never_mix_kinds(sizes, most):
    buckets, assignment = plan_buckets(sizes, most)
    assert len(buckets) <= most
    assert set(assignment) == set(range(len(buckets)))
    for size, number in zip(sizes, assignment, strict=True):
        assert holds(buckets[number], size)
        assert buckets[number].plan.cluster == size.plan.cluster
        assert buckets[number].plan.periodic == size.plan.periodic
    for number, bucket in enumerate(buckets):
        members = [size for size, own in zip(sizes, assignment, strict=True) if own == number]
        assert merge_sizes(members) == bucket


@given(edges=st.lists(st.floats(8.0, 40.0), min_size=2, max_size=5))
def test_a_merged_plan_serves_every_cell_it_was_made_of(edges):
    """Cells planned for the mesh and cells planned for the direct sum are summed directly."""
    cells = [np.diag([edge, 9.0, 1.2 * edge]) for edge in edges]
    plans = [
        plan_sum(cell, np.zeros((1, 3)), True, k_max=3.0, method=method)
        for cell, method in zip(
            cells, ("mesh", "direct", "mesh", "direct", "mesh"), strict=False
        )
    ]
    for chosen in (plans, plans[::2]):
        merged = merge_plans(chosen)
        assert merged.method == ("direct" if chosen is plans else "mesh")
        assert not any(
            plan_is_too_small(merged, cell, 3.0)
            for cell in cells[:: 1 if chosen is plans else 2]
        )


def test_a_mixed_batch_that_no_machine_holds_is_refused():
    """Each cell is long in another direction, so that the common index box is huge."""
    ends = [Size(1, 1, SumPlan(KGrid(*np.roll([1000, 1, 1], n).tolist()))) for n in range(3)]
    with pytest.raises(InputError, match=r"GiB for the direct sum.*; allow more buckets"):
        plan_buckets(ends, 1)
    assert len(plan_buckets(ends, 3)[0]) == 3


def test_buckets_of_the_mesh_stay_apart_from_direct_sums_that_would_cost_more():
    small = Size(100, 50, SumPlan(KGrid(3, 3, 3)))
    large = Size(20_000, 50, SumPlan(KGrid(30, 30, 30), MeshPlan(112, 112, 112, 8)))
    assert set(plan_buckets([small, large] * 10, 2)[0]) == {small, large}


def test_one_bucket_mixes_crystals_and_clusters():
    crystal_size, cluster_size = Size(9, 5, SumPlan(KGrid(1, 2, 3))), Size(4, 8, CLUSTER)
    buckets, assignment = plan_buckets([crystal_size, cluster_size], 1)
    assert buckets == (Size(9, 8, SumPlan(KGrid(1, 2, 3), cluster=True)),)
    assert assignment.tolist() == [0, 0]


def test_distinct_sizes_get_their_own_buckets_and_equal_ones_share():
    small, large = Size(8, 8, CLUSTER), Size(200, 60, CLUSTER)
    buckets, assignment = plan_buckets([small, large] * 10, 4)
    assert set(buckets) == {small, large}
    assert assignment.tolist() == [assignment[0], assignment[1]] * 10


def test_sizes_that_hardly_differ_are_not_worth_a_compilation():
    buckets, _ = plan_buckets([Size(192, n, CLUSTER) for n in (60, 61, 62, 63)], 4)
    assert buckets == (Size(192, 63, CLUSTER),)


def test_a_bucket_that_would_be_mostly_fill_is_merged():
    odd, usual = Size(90, 40, CLUSTER), Size(100, 50, CLUSTER)
    assert len(plan_buckets([odd] + [usual] * 31, 4, batch_size=1)[0]) == 1
    alone = Size(8, 8, CLUSTER)
    assert len(plan_buckets([alone] * 64 + [usual] * 64, 4, batch_size=32)[0]) == 2
    assert len(plan_buckets([usual] * 31 + [odd], 4, batch_size=32)[0]) == 1


def test_no_structures_need_no_buckets_and_no_buckets_are_refused():
    assert plan_buckets([], 3)[0] == ()
    with pytest.raises(InputError, match="max_buckets"):
        plan_buckets([Size(1, 1, CLUSTER)], 0)


def test_a_cluster_far_away_keeps_its_digits_in_float32(rng):
    numbers, positions, cell = crystal(rng)
    # Multiples of 2^-10, so that the shifted positions are exact in float64.
    positions = np.round(positions * 1024) / 1024
    options = {"cutoff": CUTOFF, "k_max": K_MAX, "dtype": np.float32}
    near, far = (
        build_structure(numbers, positions + shift, cell, False, **options)
        for shift in (0.0, 2**20)
    )
    np.testing.assert_allclose(far.positions, near.positions, atol=1e-6)


def test_atoms_in_place_of_a_structure_are_refused():
    message = message_of(check_structure, Atoms("H"))
    assert message.startswith("structure: is of type Atoms; pass potential.structure(atoms)")
