"""Screening: the overall sign of the latent charges."""

import jax.numpy as jnp
import pytest

from jles.observables.screening import gauge_sign


@pytest.mark.parametrize("chosen", [[True, True], [False, False]])
def test_one_kind_of_atom_tells_no_sign(chosen):
    mask = jnp.ones(2, bool)
    assert float(gauge_sign(jnp.array([-0.3, -0.1]), jnp.array(chosen), mask)) == 1.0
