"""Functions that are compiled apart from their surroundings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.models.backbones.apart import apart
from jles.step_sizes import ACCELERATOR, CPU, use_step_sizes


def products(pair):
    """Several results of two arrays."""
    first, second = pair
    return [first * second**2, jnp.sin(first), first - second]


def energy(how):
    """A scalar of a vector; a function of its results surrounds `products`."""

    def scalar(x):
        return sum(jnp.sum(jnp.cos(2.0 * one)) for one in how((x**3, 0.5 * x)))

    return scalar


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
def test_values_and_second_derivatives_are_those_of_the_function(rng, outer, inner):
    x = rng.normal(size=4)

    def all_of(how):
        scalar = energy(how)
        return jax.jit(lambda x: (scalar(x), inner(scalar)(x), outer(inner(scalar))(x)))(x)

    found, expected = all_of(lambda pair: apart(products, pair)), all_of(products)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


@pytest.mark.parametrize("sizes", [CPU, ACCELERATOR])
def test_only_a_cpu_calls_it_as_a_function_of_its_own(sizes):
    with use_step_sizes(sizes):
        lowered = jax.jit(energy(lambda pair: apart(products, pair))).lower(jnp.ones(4))
    program = lowered.compile().as_text()
    assert ("call(" in program) == sizes.compile_apart
