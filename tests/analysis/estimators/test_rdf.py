"""Pair counts against sums over images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.analysis.estimators.rdf import half_height, ideal_counts, pair_counts


@given(seed=st.integers(0, 500), r_max=st.floats(2.0, 15.0))
def test_counts_are_those_of_a_sum_over_images(seed, r_max):
    rng = np.random.default_rng(seed)
    cell = 5.0 * np.eye(3) + rng.uniform(-1.5, 1.5, (3, 3))
    positions, kinds = rng.uniform(-9.0, 9.0, (4, 3)), np.array([0, 1, 1, 0])
    edges = np.linspace(0.0, r_max, 7)
    reach = int(np.ceil(r_max / (2.0 * half_height(cell)))) + 4
    images = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3), axis=-1).reshape(-1, 3)
    reduced = np.mod(positions @ np.linalg.inv(cell), 1.0)
    expected = np.zeros((2, 2, 6))
    for i in range(4):
        for j in range(4):
            if i != j:
                lengths = np.linalg.norm((reduced[j] - reduced[i] + images) @ cell, axis=1)
                expected[kinds[i], kinds[j]] += np.histogram(lengths, edges)[0]
    np.testing.assert_array_equal(pair_counts(positions, cell, kinds, edges), expected)


def test_a_supercell_sees_the_same_crystal_beyond_half_the_cell():
    cell, kinds, edges = 3.0 * np.eye(3), np.zeros(2, int), np.linspace(0.0, 2.9, 30)
    # Two atoms body-centred: eight neighbours within 2.7 angstrom, though half the cell is 1.5.
    counts = pair_counts(np.array([[0.0] * 3, [1.5] * 3]), cell, kinds, edges)
    assert counts.sum() == 2 * 8
    assert ideal_counts([2], 27.0, edges).sum() == pytest.approx(
        2 * 4 / 3 * np.pi * 2.9**3 / 27.0
    )
