"""Reduction of cells: another basis of the same lattice, compact, only where it helps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jles.lattice import SKEWED, inverse, reduction

seeds = st.integers(min_value=0, max_value=10**6)


def skewed(seed, axes=(0, 1, 2)):
    """A random cell and other vectors of its lattice."""
    rng = np.random.default_rng(seed)
    turn = np.eye(3, dtype=int)
    for _ in range(4):
        i, j = rng.permutation(axes)[:2]
        turn[i] += rng.integers(-6, 7) * turn[j]
    return turn @ (5.0 * np.eye(3) + rng.uniform(-1.0, 1.0, (3, 3)))


def ratio(vectors):
    volume = np.prod(np.linalg.svd(vectors, compute_uv=False))
    return np.prod(np.linalg.norm(vectors, axis=1)) / volume


@given(seeds)
def test_a_reduced_cell_spans_the_same_lattice_and_is_compact(seed):
    cell = skewed(seed)
    turn = reduction(cell, (True, True, True))
    assert abs(round(np.linalg.det(turn))) == 1
    np.testing.assert_array_equal(inverse(turn) @ turn, np.eye(3))
    if np.any(turn != np.eye(3)):
        assert ratio(turn @ cell) < 1.4143
        assert ratio(cell) > SKEWED
    np.testing.assert_array_equal(reduction(turn @ cell, (True, True, True)), np.eye(3))


@given(seeds)
def test_the_open_vector_of_a_slab_keeps_its_place(seed):
    cell = skewed(seed, (0, 2))
    cell[1] = 0.0
    turn = reduction(cell, (True, False, True))
    np.testing.assert_array_equal(turn[1], [0, 1, 0])
    np.testing.assert_array_equal(turn[[0, 2], 1], 0)
    assert ratio((turn @ cell)[[0, 2]]) <= SKEWED


def test_what_cannot_be_reduced_is_left_alone():
    flat = np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]])
    for pbc in ((True, True, True), (False, True, False), (False, False, False)):
        np.testing.assert_array_equal(reduction(flat, pbc), np.eye(3))
