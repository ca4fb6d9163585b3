"""Types of a model's arrays: float32 or float64, nothing less."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.messages import message_of
from tests.support.small_systems import rattled, small_config, small_model, structure_of

HALF = pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])


def as_type(tree, dtype):
    """A tree whose real arrays have another type."""

    def convert(leaf):
        is_real = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, dtype) if is_real else leaf

    return jax.tree.map(convert, tree)


@HALF
def test_half_precision_is_refused(dtype):
    potential, params = small_model(small_config())
    atoms = rattled(0)
    structure = structure_of(atoms, potential)
    wrong = {
        "structure": lambda: potential.structure(atoms, dtype),
        "built": lambda: structure_of(atoms, potential, dtype=dtype),
        "parameters": lambda: jax.eval_shape(
            lambda key: potential.init(key, dtype), jax.random.key(0)
        ),
        "positions": lambda: jax.eval_shape(
            potential.energy_fn, params, as_type(structure, dtype)
        ),
        "both": lambda: jax.eval_shape(
            potential.dipole_fn, as_type(params, dtype), as_type(structure, dtype)
        ),
        "parameters alone": lambda: jax.eval_shape(
            potential.energy_fn, as_type(params, dtype), structure
        ),
    }
    for function in wrong.values():
        message = message_of(function)
        assert np.dtype(dtype).name in message
        assert "float32 or float64" in message
