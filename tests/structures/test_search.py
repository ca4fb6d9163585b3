"""The search on the device finds the table of the search on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.structures import search as module
from jles.structures.neighbors import find_neighbors, volume_cell
from jles.structures.search import plan_search, search, search_jit

SKEWED = np.array([[7.0, 0.0, 0.0], [5.0, 6.0, 0.0], [-4.0, 3.0, 6.5]])
TINY = np.array([[1.9, 0.1, 0.0], [0.4, 2.2, 0.1], [-0.3, 0.5, 2.6]])
TILTED = np.array([[7.0, 0.0, 0.0], [2.0, 6.0, 0.0], [60.0, -20.0, 9.0]])
CUBE = 16.0 * np.eye(3)
CASES = {
    "one atom and its images": (1, TINY, (True, True, True), 4.0),
    "small, left-handed": (3, TINY[[1, 0, 2]], (True, True, True), 3.0),
    "skewed": (12, SKEWED, (True, True, True), 4.0),
    "slab": (12, SKEWED, (True, False, True), 4.0),
    "slab with a tilted open vector": (12, TILTED, (True, True, False), 4.0),
    "bins in a slab with a tilted open vector": (400, 2.5 * TILTED, (True, True, False), 2.4),
    "cluster": (12, SKEWED, (False, False, False), 4.0),
    "one": (1, CUBE, (False, False, False), 4.0),
    "bins": (400, CUBE, (True, True, True), 2.5),
    "bins, skewed": (400, 2.5 * SKEWED, (True, True, True), 2.4),
    "bins in a slab": (400, CUBE, (True, True, False), 2.5),
    "bins in a cluster": (400, CUBE, (False, False, False), 2.5),
    "few wide bins": (300, np.diag([60.0, 4.0, 4.0]), (True, True, True), 2.5),
}


def atoms(count, cell, pbc, seed=0):
    """Random positions, some of them cells away from the cell."""
    rng = np.random.default_rng(seed)
    away = rng.integers(-2, 3, (count, 3)) * np.array(pbc)
    return (rng.random((count, 3)) + away) @ cell


def assert_same(found, table):
    assert not found.incomplete
    width = table.index.shape[1]
    assert not np.any(found.mask[:, width:])
    for name in ("index", "shift", "mask"):
        np.testing.assert_array_equal(getattr(found, name)[:, :width], getattr(table, name))


@pytest.mark.parametrize("case", CASES)
def test_the_table_is_that_of_the_host(case):
    count, cell, pbc, reach = CASES[case]
    positions = atoms(count, cell, pbc)
    table = find_neighbors(positions, cell, pbc, reach)
    plan = plan_search(
        positions, cell, pbc, reach, table.index.shape[1] + 9, binned="bins" in case
    )
    whole = volume_cell(cell, pbc)
    assert_same(search_jit(plan, jnp.asarray(positions), jnp.asarray(whole)), table)
    # The same compiled search serves other positions and a cell of slightly other shape.
    strain = np.eye(3) + 0.02 * np.array([[1.0, 0.4, 0.2], [0.4, 0.5, -0.3], [0.2, -0.3, 1.0]])
    cell, whole = cell @ strain, whole @ strain if any(pbc) else whole
    positions = atoms(count, cell, pbc, seed=1)
    found = search_jit(plan, jnp.asarray(positions), jnp.asarray(whole))
    if not found.incomplete:
        assert_same(found, find_neighbors(positions, cell, pbc, reach))


def test_many_atoms_are_searched_a_tile_at_a_time(monkeypatch):
    count, cell, pbc, reach = CASES["skewed"]
    positions = atoms(count, cell, pbc)
    plan = plan_search(positions, cell, pbc, reach, 60)
    monkeypatch.setattr(module, "CANDIDATES_AT_ONCE", 5 * count * np.prod(plan.images))
    found = jax.jit(lambda r: search(plan, r, jnp.asarray(cell)))(jnp.asarray(positions))
    assert_same(found, find_neighbors(positions, cell, pbc, reach))


@pytest.mark.parametrize("case", ["skewed", "bins"])
def test_a_plan_that_does_not_suffice_is_reported(case):
    count, cell, pbc, reach = CASES[case]
    positions = atoms(count, cell, pbc)
    most = find_neighbors(positions, cell, pbc, reach).index.shape[1]
    plan = plan_search(positions, cell, pbc, reach, most, binned=case == "bins")
    assert not search_jit(plan, jnp.asarray(positions), jnp.asarray(cell)).incomplete
    short = plan._replace(slots=most - 1)
    assert search_jit(short, jnp.asarray(positions), jnp.asarray(cell)).incomplete
    # In half the cell there are more images, or bins are too narrow; one slot is not the cause.
    roomy = plan._replace(slots=20 * most)
    for shrunk in (0.5, 0.75):
        found = search_jit(roomy, jnp.asarray(shrunk * positions), jnp.asarray(shrunk * cell))
        table = find_neighbors(shrunk * positions, shrunk * cell, pbc, reach)
        complete = np.sum(found.mask) == np.sum(table.mask)
        assert found.incomplete or complete
        assert found.incomplete or shrunk == 0.75


def test_bins_are_chosen_for_large_systems_only():
    for count, binned in ((500, False), (8000, True)):
        edge = (count / 0.1) ** (1 / 3)
        positions = edge * np.random.default_rng(0).random((count, 3))
        plan = plan_search(positions, edge * np.eye(3), (True,) * 3, 6.0, 150)
        assert (plan.bins is not None) == binned


def test_a_bin_that_is_too_full_is_reported():
    count, cell, pbc, reach = CASES["bins"]
    positions = atoms(count, cell, pbc)
    plan = plan_search(positions, cell, pbc, reach, 400, binned=True)
    crowded = jnp.asarray(0.2 * (positions % 16.0))
    assert search_jit(plan, crowded, jnp.asarray(cell)).incomplete
