"""The linear solver of the response, on matrices."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics.response.linear_solve import solve

seeds = st.integers(min_value=0, max_value=10**6)


@jax.jit
def solved(matrix, answers, b):
    return solve(lambda x: matrix @ x, lambda x: answers @ x, b, 1e-12, 50)


@given(seeds, st.integers(min_value=0, max_value=6))
def test_the_solver_inverts_whatever_part_of_the_answer_is_zero(seed, rank):
    rng = np.random.default_rng(seed)
    factor, root = rng.normal(size=(6, 6)), rng.normal(size=(6, rank))
    # R has no inverse, and K need not be positive: 1 + K R is.
    answers, matrix = root @ root.T, factor + factor.T
    matrix *= 0.5 / max(np.linalg.norm(answers, 2) * np.linalg.norm(matrix, 2), 1.0)
    b = rng.normal(size=6)
    found, steps = solved(*(jnp.asarray(a) for a in (matrix, answers, b)))
    expected = np.linalg.solve(np.eye(6) + matrix @ answers, b)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)
    assert int(steps) <= rank + 8
