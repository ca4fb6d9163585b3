"""Strict numerics for every test: float64 is on, random cells are reproducible."""

import atexit
import gc
import os
import shutil
import tempfile

# Tests compile much and compute little: without optimisation, and without the emitters that
# generate code by way of MLIR, XLA compiles in half the time. `test_numerics_canary.py` and
# `test_goldens.py` use the emitters.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
# XLA writes long lines about code that it finds in the cache below.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Commands, runs that are resumed and other processes compile the same programs again. The
# workers of a session and the processes they start share them; the next session starts anew.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jles-compiled-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_enable_x64", True)

# Tracing makes many long-lived objects; frequent collections take a third of its time.
gc.set_threshold(100_000, 10, 10)
gc.freeze()

settings.register_profile(
    "jles",
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("jles")


@pytest.fixture(autouse=True, scope="session")
def _no_lines_about_compilations():
    """Whether a compilation takes longer than a second depends on the machine."""
    from jles import compiling

    compiling.PATIENCE = None


@pytest.fixture
def rng():
    """A seeded NumPy generator: the same numbers in every run."""
    import numpy as np

    return np.random.default_rng(20261120)
