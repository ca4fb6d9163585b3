"""Speed in units of one 2048 x 2048 x 2048 float32 matrix product timed in the same run."""

import time

import jax
import jax.numpy as jnp
import pytest


def best_time(function, *arguments, rounds: int = 5) -> float:
    """Seconds of the fastest of a few calls, the first one (compilation) not counted."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="session")
def unit() -> float:
    """Seconds of the matrix product."""
    matrix = jnp.ones((2048, 2048), jnp.float32)
    return best_time(jax.jit(lambda a: a @ a), matrix, rounds=10)


@pytest.fixture
def in_units(benchmark, unit):
    """Times a compiled call with pytest-benchmark and notes its best round in units."""

    def measure(function, *arguments, rounds: int = 10, **extra):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        first_call = time.perf_counter() - start
        benchmark.pedantic(
            lambda: jax.block_until_ready(function(*arguments)), rounds=rounds, iterations=1
        )
        seconds = benchmark.stats.stats.min
        benchmark.extra_info.update(
            units=round(seconds / unit, 5),
            unit_ms=round(1e3 * unit, 2),
            first_call_s=round(first_call, 2),
            device=jax.devices()[0].device_kind,
            **extra,
        )
        units = seconds / unit
        name = benchmark.name
        print(
            f"\n{name}: {units:.4f} units, {1e3 * seconds:.3f} ms, "
            f"first call {first_call:.1f} s"
        )
        return seconds

    return measure
