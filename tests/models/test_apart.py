"""Functions that are compiled apart from their surroundings."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.models.backbones.apart import apart
from jles.step_sizes import ACCELERATOR, CPU, use_step_sizes
from tests.support.marks import long


def products(pair):
    """Several results of two arrays."""
    first, second = pair
    return [first * second**2, jnp.sin(first), first - second]


def energy(how):
    """A scalar of a vector; a function of its results surrounds `products`."""

    def scalar(x):
        return sum(jnp.sum(jnp.cos(2.0 * one)) for one in how((x**3, 0.5 * x)))

    return scalar


@pytest.mark.parametrize("dtype", [long("float32"), "float64"])
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
def test_values_and_second_derivatives_are_those_of_the_function(rng, outer, inner, dtype):
    x = jnp.asarray(rng.normal(size=(2, 4)), dtype)

    def all_of(how):
        scalar = energy(how)

        def one(x):
            return scalar(x), inner(scalar)(x), outer(inner(scalar))(x)

        return jax.jit(jax.vmap(one))(x), jax.jit(one)(x[0])

    found, expected = all_of(lambda pair: apart(products, pair)), all_of(products)
    close = {"rtol": 3e-6, "atol": 3e-6} if dtype == "float32" else {"rtol": 1e-12}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), found, expected)


def calls(function) -> int:
    """Calls of functions in the compiled program of a function of a vector."""
    program = jax.jit(function).lower(jnp.ones(4)).compile().as_text()
    return len(re.findall(r" call\(", program))


@pytest.mark.parametrize("sizes", [CPU, ACCELERATOR])
def test_only_a_cpu_calls_it_and_its_gradient_as_functions_of_their_own(sizes):
    scalar = energy(lambda pair: apart(products, pair))
    with use_step_sizes(sizes):
        found = calls(scalar), calls(jax.grad(scalar))
    assert (found[0] > 0, found[1] > 0) == (sizes.compile_apart,) * 2


def test_a_function_is_traced_once_outside_of_jit():
    count = 0

    def squares(x):
        nonlocal count
        count += 1
        return [x**2]

    with use_step_sizes(CPU):
        for number in (1.0, 2.0, 3.0):
            assert float(apart(squares, jnp.asarray(number))[0]) == number**2
    assert count == 1
