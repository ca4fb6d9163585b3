"""Strict numerics for every test: float64 is on, random cells are reproducible."""

import os

# Tests compile much and compute little: without optimisation they take a quarter less time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_enable_x64", True)

settings.register_profile(
    "jles",
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("jles")


@pytest.fixture
def rng():
    """A seeded NumPy generator: the same numbers in every run."""
    import numpy as np

    return np.random.default_rng(20261120)
