"""The neighbour table against ASE's list, on every kind of cell."""

import re

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from jles.errors import InputError
from jles.structures import neighbors as module
from jles.structures.neighbors import (
    complete_cell,
    find_neighbors,
    rewrap_shifts,
    wrap,
)


def random_crystal(seed, n_atoms, edge, handedness=1):
    """Atoms at least 0.05 apart in a skewed cell; seeds make hypothesis examples repeatable."""
    rng = np.random.default_rng(seed)
    cell = edge * (np.diag(rng.uniform(0.6, 1.4, 3)) + rng.uniform(-0.4, 0.4, (3, 3)))
    cell[2] *= handedness * np.sign(np.linalg.det(cell))
    return rng.random((n_atoms, 3)) @ cell, cell


def pairs(table):
    """The table as a set of (i, j, shift)."""
    i, n = np.nonzero(table.mask)
    shifts = map(tuple, table.shift[i, n].tolist())
    return set(zip(i.tolist(), table.index[i, n].tolist(), shifts, strict=True))


def ase_pairs(positions, cell, pbc, cutoff):
    """Oracle: ASE's neighbour list on the same input."""
    i, j, shift = primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)
    return set(zip(i.tolist(), j.tolist(), map(tuple, shift.tolist()), strict=True))


def vectors(table, positions, cell):
    """Vectors by the convention of `NeighborTable`."""
    return positions[table.index] + table.shift @ cell - positions[:, None, :]


geometry = {
    "seed": st.integers(0, 2**32 - 1),
    "n_atoms": st.integers(1, 12),
    "edge": st.floats(1.5, 9.0),
    "handedness": st.sampled_from([1, -1]),
    "pbc": st.tuples(st.booleans(), st.booleans(), st.booleans()),
    "cutoff": st.floats(1.0, 5.0),
}


@given(**geometry)
def test_pairs_are_those_of_ase(seed, n_atoms, edge, handedness, pbc, cutoff):
    positions, cell = random_crystal(seed, n_atoms, edge, handedness)
    table = find_neighbors(positions, cell, pbc, cutoff)
    assert pairs(table) == ase_pairs(positions, cell, pbc, cutoff)


@given(**geometry)
def test_a_tree_finds_the_pairs_of_ase(seed, n_atoms, edge, handedness, pbc, cutoff):
    positions, cell = random_crystal(seed, n_atoms, edge, handedness)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "wants_tree", lambda *_: True)
        table = find_neighbors(positions, cell, pbc, cutoff)
    assert pairs(table) == ase_pairs(positions, cell, pbc, cutoff)


def all_pairs(positions, cell, pbc, cutoff):
    """Oracle: every atom against every image up to three cells away."""
    steps = np.stack(np.meshgrid(*[range(-3, 4) if p else [0] for p in pbc]), -1)
    steps = steps.reshape(-1, 3)
    there = positions[None, :, None] + (steps @ cell)[None, None]
    apart = np.linalg.norm(there - positions[:, None, None], axis=-1)
    i, j, n = np.nonzero((apart < cutoff) & (apart > 0.0))
    return set(zip(i.tolist(), j.tolist(), map(tuple, steps[n].tolist()), strict=True))


WATER = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.3], [-0.76, 0.59, 1.0]])
WIDE = {
    "molecules far apart": (np.vstack([WATER, WATER + [2e3, 2e3, 0]]), np.zeros(3), "FFF"),
    "flat molecules": (np.vstack([WATER[:2], WATER[:2] + [3e4, 1e4, 0]]), np.zeros(3), "FFF"),
    "flat cell": (WATER + 1.0, [2000.0, 2000.0, 3.0], "TTT"),
    "wide slab": (WATER - 1.0, [1500.0, 1500.0, 0.0], "TTF"),
    "rod": (WATER, [3.0, 3.0, 1e6], "TTT"),
    "atom far from a slab": (np.vstack([WATER, [1.0, 1.0, 1e5]]), [8.0, 8.0, 0.0], "TTF"),
}


@pytest.mark.parametrize("case", WIDE)
def test_wide_and_flat_structures(case):
    positions, edges, pbc = WIDE[case]
    cell, pbc = np.diag(edges), [letter == "T" for letter in pbc]
    expected = all_pairs(positions, cell, pbc, 4.0)
    assert expected
    assert pairs(find_neighbors(positions, cell, pbc, 4.0)) == expected


def test_a_flat_crystal_of_many_atoms():
    """More than 10^5 cells of vesin, and more atoms than cells."""
    edge, step = 850, 2.5
    grid = step * np.stack(np.meshgrid(*[np.arange(edge / step)] * 2, [0.0]), -1).reshape(-1, 3)
    table = find_neighbors(grid, np.zeros((3, 3)), False, 2.6)
    inner = np.all((grid[:, :2] > 0.0) & (grid[:, :2] < edge - step), axis=1)
    assert np.all(table.mask.sum(axis=1)[inner] == 4)


@given(**geometry, far=st.integers(1, 5000))
def test_shifts_belong_to_the_unwrapped_positions(
    seed, n_atoms, edge, handedness, pbc, cutoff, far
):
    positions, cell = random_crystal(seed, n_atoms, edge, handedness)
    near = find_neighbors(positions, cell, pbc, cutoff)
    jumps = np.random.default_rng(seed).integers(-far, far + 1, (n_atoms, 3)) * np.array(pbc)
    away = positions + jumps @ cell
    table = find_neighbors(away, cell, pbc, cutoff)
    assert table.mask.sum() == near.mask.sum()
    length = np.linalg.norm(vectors(table, away, cell), axis=-1)[table.mask]
    expected = np.linalg.norm(vectors(near, positions, cell), axis=-1)[near.mask]
    np.testing.assert_allclose(np.sort(length), np.sort(expected), atol=1e-8)
    assert length.max(initial=0.0) < cutoff + 1e-8


@given(**geometry)
def test_wrapping_moves_by_whole_cells_and_keeps_the_vectors(
    seed, n_atoms, edge, handedness, pbc, cutoff
):
    positions, cell = random_crystal(seed, n_atoms, edge, handedness)
    positions = positions + np.array([40.0, -70.0, 11.0])
    wrapped, images = wrap(positions, cell, np.array(pbc))
    np.testing.assert_allclose(wrapped + images @ cell, positions, atol=1e-11)
    fractions = (wrapped @ np.linalg.inv(complete_cell(cell, pbc)))[:, list(pbc)]
    assert np.all((fractions > -1e-9) & (fractions < 1 + 1e-9))
    table = find_neighbors(positions, cell, pbc, cutoff)
    moved = table._replace(shift=rewrap_shifts(table, images))
    np.testing.assert_allclose(
        vectors(moved, wrapped, cell)[table.mask],
        vectors(table, positions, cell)[table.mask],
        atol=1e-10,
    )
    assert pairs(moved) == pairs(find_neighbors(wrapped, cell, pbc, cutoff))


@given(**geometry)
def test_every_pair_is_there_in_both_directions(seed, n_atoms, edge, handedness, pbc, cutoff):
    positions, cell = random_crystal(seed, n_atoms, edge, handedness)
    found = pairs(find_neighbors(positions, cell, pbc, cutoff))
    assert found == {(j, i, tuple(-s for s in shift)) for i, j, shift in found}


def test_rows_are_sorted_and_padding_points_home(rng):
    positions, cell = random_crystal(3, 10, 6.0)
    table = find_neighbors(positions, cell, (True, True, False), 3.0)
    for i, (index, shift, mask) in enumerate(zip(*table, strict=True)):
        rows = [
            (j, *s) for j, s in zip(index[mask].tolist(), shift[mask].tolist(), strict=True)
        ]
        assert rows == sorted(rows)
        assert np.all(mask[: mask.sum()])
        assert np.all(index[~mask] == i)
        assert not shift[~mask].any()
    assert table.mask.sum(axis=1).max() == table.mask.shape[1]


def test_distance_equal_to_the_cutoff_is_outside():
    positions = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    assert find_neighbors(positions, np.zeros((3, 3)), False, 2.0).mask.sum() == 0
    assert (
        find_neighbors(positions, np.zeros((3, 3)), False, np.nextafter(2, 3)).mask.sum() == 2
    )


def test_an_atom_sees_its_own_images_in_a_cell_much_smaller_than_the_cutoff():
    table = find_neighbors(np.zeros((1, 3)), np.eye(3), True, 3.001)
    shells = {0: 1, 1: 6, 2: 12, 3: 8, 4: 6, 5: 24, 6: 24, 8: 12, 9: 30}
    squares = (table.shift[0][table.mask[0]] ** 2).sum(axis=1)
    assert len(squares) == sum(shells.values()) - shells[0]
    assert {s: int((squares == s).sum()) for s in set(squares)} == {
        s: n for s, n in shells.items() if s
    }


@pytest.mark.parametrize(
    "pbc", [(False, False, False), (True, True, False), (False, True, False)]
)
def test_rows_of_open_directions_play_no_part(rng, pbc):
    positions, cell = random_crystal(5, 9, 5.0)
    bare = np.where(np.array(pbc)[:, None], cell, 0.0)
    degenerate = np.where(np.array(pbc)[:, None], cell, cell[1])
    expected = pairs(find_neighbors(positions, cell, pbc, 4.0))
    assert pairs(find_neighbors(positions, bare, pbc, 4.0)) == expected
    assert pairs(find_neighbors(positions, degenerate, pbc, 4.0)) == expected


def test_no_atoms_and_lonely_atoms_have_empty_rows():
    assert find_neighbors(np.zeros((0, 3)), np.eye(3), True, 2.0).index.shape == (0, 0)
    assert find_neighbors(np.zeros((1, 3)), np.eye(3), False, 2.0).index.shape == (1, 0)


@pytest.mark.parametrize(
    ("positions", "pbc", "words"),
    [
        ([[0, 0, 0], [1, 1, 1], [1, 1, 1.0005]], False, ("atom 1", "atom 2")),
        ([[0, 0, 0], [4, 8, -4.0]], True, ("atom 0", "atom 1", "image")),
        ([[0, 0, 0], [np.nan, 0, 0]], True, ("atom 1", "nan", "finite")),
        ([[0, np.inf, 0]], False, ("atom 0", "inf")),
        ([[0, 0, 0], [0, -1e300, 0]], False, ("atom 1", "1e+300", "below 1e+09 angstrom")),
        ([[0, 0, 0], [2e9, 0, 0]], True, ("atom 1", "below 1e+09 angstrom")),
        ([[0.0, 0.0]], False, ("(1, 2)", "(atoms, 3)")),
    ],
)
def test_bad_positions_are_refused_in_words(positions, pbc, words):
    with pytest.raises(InputError) as caught:
        find_neighbors(np.array(positions, float), 4 * np.eye(3), pbc, 3.0)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "pbc", "word"),
    [
        (np.zeros((3, 3)), True, "volume"),
        (np.diag([5.0, 5.0, 0.0]), True, "volume"),
        (np.array([[1.0, 2, 3], [2, 4, 6], [0, 0, 1]]), (True, True, False), "volume"),
        (np.full((3, 3), np.nan), False, "finite"),
        (np.eye(2), True, "(2, 2)"),
        (1e-2 * np.eye(3), True, "in angstrom?"),
    ],
)
def test_bad_cells_are_refused_in_words(cell, pbc, word):
    with pytest.raises(InputError, match=re.escape(word)):
        find_neighbors(np.zeros((1, 3)), cell, pbc, 3.0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.nan, np.inf])
def test_a_cutoff_must_be_positive(cutoff):
    with pytest.raises(InputError, match="cutoff"):
        find_neighbors(np.zeros((1, 3)), np.eye(3), False, cutoff)


def test_periodic_directions_without_a_vector_are_refused_with_the_right_pbc(rng):
    positions, cell = random_crystal(5, 9, 5.0)
    for missing, remedy in (([2], "T T F"), ([0], "F T T"), ([0, 2], "F F F")):
        flat = cell.copy()
        flat[missing] = 0.0
        with pytest.raises(InputError, match=f"but pbc is T T T; .* set pbc to {remedy}"):
            find_neighbors(positions, flat, True, 4.0)
