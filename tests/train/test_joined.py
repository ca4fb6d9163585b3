"""Parameters joined into few arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jles.train.config import OptimizerConfig
from jles.train.joined import join, split
from jles.train.optimizer import build_optimizer

SHAPES = {
    "layer": {"kernel": (8, 16), "bias": (16,)},
    "other": {"kernel": (8, 16), "maps": (8, 3, 2, 16), "transposed": (16, 8)},
    "readout": (16, 1),
    "scale": (),
    "embedding": (9, 16),
    "product_0": (9, 4, 16),
}


def tree_of(rng, dtype):
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), dtype),
        SHAPES,
        is_leaf=lambda shape: isinstance(shape, tuple),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_joined_parameters_are_split_into_the_same_tree(dtype, rng):
    tree = tree_of(rng, dtype)
    joined = jax.jit(join)(tree)
    assert {name: leaf.shape for name, leaf in joined.items()} == {
        "8x16": (8, 1 + 1 + 3 * 2, 16),
        "16x8": (16, 1, 8),
        "rest": (16 + 16 + 1 + 9 * 16 + 9 * 4 * 16,),
    }
    again = jax.jit(split)(joined, tree)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    for before, after in zip(jax.tree.leaves(tree), jax.tree.leaves(again), strict=True):
        assert after.dtype == dtype
        np.testing.assert_array_equal(after, before)


def test_a_tree_without_matrices_is_one_vector():
    tree = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
    joined = join(tree)
    np.testing.assert_array_equal(joined.pop("rest"), [0, 1, 2, 1, 1, 1, 1])
    assert joined == {}


def test_muon_moves_a_matrix_as_if_it_were_alone(rng):
    """Joining changes no update, against optax on every array of its own."""
    gradient = tree_of(rng, np.float64)
    optimizer = build_optimizer(OptimizerConfig(name="muon", clip_norm=None))
    found, _ = jax.jit(optimizer.update)(gradient, optimizer.init(gradient), gradient)
    for name in ("kernel", "maps", "transposed"):
        leaf = gradient["other"][name]
        axes = optax.contrib.MuonDimensionNumbers(0, leaf.ndim - 1)
        alone = optax.contrib.muon(
            -1.0, consistent_rms=0.2, muon_weight_dimension_numbers={"leaf": axes}
        )
        state = alone.init({"leaf": leaf})
        expected, _ = jax.jit(alone.update)({"leaf": leaf}, state, {"leaf": leaf})
        np.testing.assert_allclose(found["other"][name], expected["leaf"], atol=1e-6)
