"""Quantum corrections and continuous branches of the polarization."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.analysis.estimators.infrared import (
    continuous_branch,
    quantum_correction,
)
from jles.analysis.estimators.units import (
    BOLTZMANN,
    PLANCK,
    WAVENUMBER,
)


@given(seed=st.integers(0, 1000), handed=st.sampled_from([1.0, -1.0]))
def test_jumps_by_quanta_are_taken_off(seed, handed):
    rng = np.random.default_rng(seed)
    cell = handed * (6.0 * np.eye(3) + rng.uniform(-1.0, 1.0, (3, 3)))
    smooth = np.cumsum(rng.uniform(-0.5, 0.5, (50, 3)), axis=0)
    jumps = rng.integers(-2, 3, (50, 3))
    jumps[0] = 0
    cells = np.tile(cell, (50, 1, 1))
    found = continuous_branch(smooth + jumps @ cell, cells, (True, True, True))
    np.testing.assert_allclose(found, smooth, atol=1e-10)
    jumps[:, 2] = 0
    slab = continuous_branch(smooth + jumps @ cell, cells, (True, True, False))
    np.testing.assert_allclose(slab, smooth, atol=1e-10)


def test_quantum_corrections_have_detailed_balance_in_common():
    wavenumber, temperature = np.array([0.0, 10.0, 500.0, 3400.0]), 300.0
    x = PLANCK * wavenumber / (WAVENUMBER * BOLTZMANN * temperature)
    assert x[3] == pytest.approx(1.438777 * 3400.0 / 300.0, rel=1e-6)
    for kind, closed in (
        ("harmonic", np.ones(3)),
        ("standard", 2.0 * (1.0 - np.exp(-x[1:])) / (1.0 + np.exp(-x[1:])) / x[1:]),
        ("schofield", (1.0 - np.exp(-x[1:])) * np.exp(x[1:] / 2.0) / x[1:]),
    ):
        found = quantum_correction(kind, wavenumber, temperature)
        assert found[0] == 1.0
        np.testing.assert_allclose(found[1:], closed, rtol=1e-10)
