"""Representations of the rotation group: harmonics against those of e3nn-jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.models.backbones.irreps import by_degree, spherical_harmonics


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_harmonics_are_those_of_e3nn(dtype):
    """Of unit vectors, in order, sign and norm; and their derivatives."""
    import e3nn_jax as e3nn

    vectors = np.random.default_rng(0).normal(size=(5, 3))
    unit = jnp.asarray(vectors / np.linalg.norm(vectors, axis=1)[:, None], dtype)

    def expected(unit):
        irreps = "0e + 1o + 2e + 3o + 4e"
        normalization = {"normalize": False, "normalization": "component"}
        return e3nn.spherical_harmonics(irreps, unit, **normalization).array

    found = spherical_harmonics(unit, 4)
    assert found.dtype == dtype
    tolerance = {"atol": 1e-13 if dtype == "float64" else 1e-5}
    np.testing.assert_allclose(found, expected(unit), **tolerance)
    np.testing.assert_array_equal(spherical_harmonics(unit, 0), 1.0)
    assert [part.shape[1] for part in by_degree(found, 1)] == [1, 3, 5, 7, 9]
    if dtype == "float64":
        slopes, of_e3nn = (
            jax.vjp(function, unit)[1](found)[0]
            for function in (lambda unit: spherical_harmonics(unit, 4), expected)
        )
        np.testing.assert_allclose(slopes, of_e3nn, atol=1e-11)
