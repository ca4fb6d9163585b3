"""Compares jax with NumPy and SciPy; some releases are reported to miscompile."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from tests.support.marks import long

# Odd and even lengths, below and above the vector widths and thread splits of the CPU compiler.
SIZES = (7, 50, 129, 1024, 5000)
TOLERANCE = {"float32": 4e-6, "float64": 2e-13}

# name: (jax function, oracle, lowest argument, highest argument)
FUNCTIONS = {
    "sin": (jnp.sin, np.sin, -30.0, 30.0),
    "cos": (jnp.cos, np.cos, -30.0, 30.0),
    "tan": (jnp.tan, np.tan, -1.4, 1.4),
    "arctan": (jnp.arctan, np.arctan, -20.0, 20.0),
    "arcsin": (jnp.arcsin, np.arcsin, -0.99, 0.99),
    "exp": (jnp.exp, np.exp, -20.0, 5.0),
    "expm1": (jnp.expm1, np.expm1, -3.0, 3.0),
    "log": (jnp.log, np.log, 1e-3, 50.0),
    "log1p": (jnp.log1p, np.log1p, -0.5, 5.0),
    "sqrt": (jnp.sqrt, np.sqrt, 0.0, 50.0),
    "rsqrt": (jax.lax.rsqrt, lambda x: 1.0 / np.sqrt(x), 1e-2, 50.0),
    "tanh": (jnp.tanh, np.tanh, -5.0, 5.0),
    "sigmoid": (jax.nn.sigmoid, scipy.special.expit, -10.0, 10.0),
    "silu": (jax.nn.silu, lambda x: x * scipy.special.expit(x), -10.0, 10.0),
    "erf": (jax.scipy.special.erf, scipy.special.erf, -4.0, 4.0),
    "erfc": (jax.scipy.special.erfc, scipy.special.erfc, -4.0, 3.0),
    "i0e": (jax.scipy.special.i0e, scipy.special.i0e, 0.0, 20.0),
    "power": (lambda x: x**6.5, lambda x: x**6.5, 0.0, 3.0),
}


# Other tests leave out the emitters that generate the code of a user (tests/conftest.py).
as_users_do = partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True})


def evaluate_all(arguments):
    return {name: FUNCTIONS[name][0](x) for name, x in arguments.items()}


@pytest.mark.parametrize("compiled", [long(False), True], ids=["eager", "jit"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_functions_agree_with_scipy(dtype, compiled, rng):
    evaluate = as_users_do(evaluate_all) if compiled else evaluate_all
    for size in SIZES:
        arguments = {
            name: rng.uniform(low, high, size).astype(dtype)
            for name, (_, _, low, high) in FUNCTIONS.items()
        }
        values = evaluate(arguments)
        for name, x in arguments.items():
            expected = FUNCTIONS[name][1](x.astype(np.float64))
            # Near a far zero of sin and cos only the absolute error means something.
            assert values[name].dtype == dtype
            np.testing.assert_allclose(
                values[name],
                expected,
                rtol=TOLERANCE[dtype],
                atol=TOLERANCE[dtype] if name in ("sin", "cos") else 0.0,
                err_msg=f"{name}, {size} values",
            )


def smeared_sum(positions, charges, kvecs, xp):
    phases = positions @ kvecs.T
    squared = xp.sum(kvecs**2, axis=-1)
    real = charges @ xp.cos(phases)
    imaginary = charges @ xp.sin(phases)
    return xp.sum(xp.exp(-squared / 2) / squared * (real**2 + imaginary**2))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_over_wavevectors_agrees_with_numpy(dtype, compiled, rng):
    def evaluate(positions, charges, kvecs):
        return smeared_sum(positions, charges, kvecs, jnp)

    if compiled:
        evaluate = as_users_do(evaluate)
    index = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
    index = index[np.any(index != 0, axis=1)]
    for size in SIZES:
        kvecs = (index * (2 * np.pi / 9.0)).astype(dtype)
        positions = rng.uniform(0.0, 9.0, (size, 3)).astype(dtype)
        charges = rng.normal(size=size).astype(dtype)
        value = evaluate(positions, charges, kvecs)
        doubles = (a.astype(np.float64) for a in (positions, charges, kvecs))
        expected = smeared_sum(*doubles, np)
        assert value.dtype == dtype
        np.testing.assert_allclose(value, expected, rtol=20 * TOLERANCE[dtype])
