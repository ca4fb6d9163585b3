"""Tetragonality of fluctuating cells."""

import numpy as np

from jles.analysis.estimators.order import tetragonality


def test_fluctuations_of_a_cubic_cell_are_no_tetragonality(rng):
    edges = 4.0 + 0.02 * rng.standard_normal((4000, 3))
    cells = edges[:, :, None] * np.eye(3)
    # The longest of three means is 0.85 of their spread above; no more than that is left.
    assert abs(np.mean(tetragonality(cells)) - 1.0) < 5.0 * 0.005 / np.sqrt(4000)
