"""Constants that normalize features, from their means and deviations."""

import numpy as np

from jles.train.feature_statistics import normalizing_constants


def test_features_that_vary_get_unit_length_whatever_their_sizes(rng):
    """Rattled rock salt: deviations down to 1e-9, lengths to 1e-5 of the largest feature."""
    deviation, lengths = 10.0 ** rng.uniform([[-9.0], [-5.0]], 0.0, (2, 50))
    mean = deviation * rng.normal(size=50)
    found = normalizing_constants(mean, deviation, {"vectors": lengths})
    np.testing.assert_array_equal(found["mean"], mean)
    np.testing.assert_allclose(found["scale"], 1.0 / deviation / np.sqrt(50), rtol=1e-14)
    np.testing.assert_allclose(found["vectors_scale"], 1.0 / lengths / np.sqrt(50), rtol=1e-14)


def test_rounding_errors_of_a_symmetric_crystal_are_not_amplified():
    """When an atom moves, features that vanished are not above the largest feature."""
    mean = np.array([20.0, 1.0, 3e-17, -2e-15, 0.0])
    deviation = np.array([3.0, 1e-8, 1e-18, 4e-15, 0.0])
    lengths = {"vectors": np.array([1e-7, 3e-9]), "tensors": np.array([0.1, 1e-9])}
    found = normalizing_constants(mean, deviation, lengths)
    unit = 1.0 / (20.0 * np.sqrt([5.0, 2.0]))
    np.testing.assert_allclose(found["scale"], [1.0 / (3.0 * np.sqrt(5.0)), *[unit[0]] * 4])
    np.testing.assert_allclose(found["vectors_scale"], unit[1])
    np.testing.assert_allclose(found["tensors_scale"], [1.0 / (0.1 * np.sqrt(2.0)), unit[1]])


def test_features_of_lone_atoms_are_not_scaled():
    nothing = np.zeros(4)
    found = normalizing_constants(nothing, nothing, {"vectors": np.zeros(0)})
    np.testing.assert_array_equal(found["scale"], 0.5)
    assert found["vectors_scale"].shape == (0,)
