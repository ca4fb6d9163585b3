"""Fields in time have the closed forms that the page gives them."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.config import from_dict
from jles.dynamics.config import Sine, WaveConfig
from jles.dynamics.fields import wave
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND
from jles.units import COULOMB_CONSTANT

AMPLITUDE = (0.1, -0.2, 0.3)
TIMES = st.floats(-500.0, 500.0)


def make(kind, unit="V/angstrom", **keys):
    values = {"kind": kind, "amplitude": AMPLITUDE, "unit": unit, **keys}
    return wave(from_dict(WaveConfig, values, "field"), jnp.float64)


def factor(shape, time):
    """The factor of the amplitude; the direction is constant."""
    value = np.asarray(shape(jnp.asarray(time)))
    np.testing.assert_allclose(value * AMPLITUDE[0], value[0] * np.array(AMPLITUDE), atol=1e-14)
    return value[0] / AMPLITUDE[0]


@pytest.mark.parametrize(
    ("shape", "table"),
    [
        (make("constant"), {-5.0: 1.0, 0.0: 1.0, 7.0: 1.0}),
        (make("step", start=3.0), {2.99: 0.0, 3.0: 1.0, 9.0: 1.0}),
        (make("ramp", start=2.0, end=6.0), {0.0: 0.0, 2.0: 0.0, 3.0: 0.25, 6.0: 1.0, 9.0: 1.0}),
        (make("ramp", end=4.0), {1.0: 0.25}),
        (
            make("sine", period=8.0),
            {-1.0: 0.0, 0.0: 0.0, 2.0: 1.0, 4.0: 0.0, 6.0: -1.0, 10.0: 1.0},
        ),
        (make("sine", period=8.0, phase=90.0, start=1.0), {0.5: 0.0, 1.0: 1.0, 5.0: -1.0}),
        (
            make("pulse", center=5.0, width=2.0),
            {5.0: 1.0, 7.0: np.exp(-0.5), 3.0: np.exp(-0.5)},
        ),
        (make("pulse", center=5.0, width=2.0, period=4.0), {5.0: 1.0, 7.0: -np.exp(-0.5)}),
        (
            make("cycle", period=8.0, start=1.0),
            {0.0: 0.0, 1.0: 0.0, 2.0: 0.5, 3.0: 1.0, 5.0: 0.0, 7.0: -1.0, 9.0: 0.0, 11.0: 1.0},
        ),
    ],
)
def test_values_at_points_one_can_work_out(shape, table):
    for time, expected in table.items():
        np.testing.assert_allclose(factor(shape, time), expected, atol=1e-12)


@given(TIMES, st.sampled_from(["sine", "cycle"]))
def test_periodic_fields_repeat_and_change_sign_in_half_a_period(time, kind):
    shape = make(kind, period=16.0, start=-600.0)
    here = factor(shape, time)
    np.testing.assert_allclose(factor(shape, time + 16.0), here, atol=1e-10)
    np.testing.assert_allclose(factor(shape, time + 8.0), -here, atol=1e-10)


LATE = 40_000_000  # steps of 0.4 fs: 16 ns
THEN = 0.4 * LATE


def angle(s, period):
    """Of an exact time, without whole turns."""
    return 2.0 * np.pi * float(s / Fraction(period) % 1)


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        ({"kind": "sine", "period": 20}, lambda s: np.sin(angle(s, "20"))),
        (
            {"kind": "sine", "period": 9.7, "start": -3.3, "phase": 40},
            lambda s: np.sin(angle(s, "9.7") + np.radians(40)),
        ),
        (
            {"kind": "cycle", "period": 33.3, "start": 1000.1},
            lambda s: 2.0 / np.pi * np.arcsin(np.sin(angle(s, "33.3"))),
        ),
        (
            {"kind": "pulse", "center": THEN + 10.3, "width": 9, "period": 7},
            lambda s: np.exp(-(float(s / 9) ** 2) / 2) * np.cos(angle(s, "7")),
        ),
        ({"kind": "step", "start": THEN + 8.0}, lambda s: float(s >= 0)),
        (
            {"kind": "ramp", "start": THEN + 8.0, "end": THEN + 20},
            lambda s: np.clip(float(s / 12), 0, 1),
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_late_fields_are_exact_in_float32_too(keys, shape):
    """Against exact fractions on 100 steps after 16 ns; pulse, step and ramp begin there."""
    values = {"amplitude": (1.0, 0.0, 0.0), "unit": "V/angstrom", **keys}
    config = from_dict(WaveConfig, values, "field")
    origin = Fraction(str(keys.get("start", keys.get("center", 0))))
    expected = [shape(n * Fraction("0.4") - origin) for n in range(LATE, LATE + 100)]
    steps = jnp.arange(LATE, LATE + 100, dtype=jnp.int32)
    for dtype, precision in ((jnp.float32, 2e-6), (jnp.float64, 1e-10)):
        at_step = jax.jit(jax.vmap(wave(config, dtype, 0.4).at_step, (0, None)))
        found = at_step(steps, dtype(0.0))
        assert found.dtype == dtype
        np.testing.assert_allclose(found[:, 0], expected, atol=precision)


def test_a_kilovolt_per_centimetre_is_a_hundred_thousandth_of_a_volt_per_angstrom():
    np.testing.assert_allclose(
        make("constant", "kV/cm")(0.0), 1e-5 * np.array(AMPLITUDE), rtol=1e-15
    )


def test_other_numbers_are_no_new_trace():
    traces = []

    @jax.jit
    def at(shape, time):
        traces.append(1)
        return shape(time)

    at(make("sine", period=8.0), 1.0)
    config = Sine(amplitude=(0.0, 1.0, 0.0), unit="V/angstrom", period=3.0, phase=20.0)
    at(wave(config, jnp.float64), 2.0)
    assert len(traces) == 1


def test_the_internal_units_are_consistent():
    # Two elementary charges with 1 u each at 1 angstrom: a = k_e / u in eV / angstrom / u.
    meters, joule, kilogram, second = 1e-10, 1.602176634e-19, 1.66053906660e-27, 1e-15
    acceleration = COULOMB_CONSTANT * joule / meters / kilogram  # m/s^2
    per_fs = acceleration * second**2 / meters
    np.testing.assert_allclose(COULOMB_CONSTANT * FEMTOSECOND**2, per_fs, rtol=1e-6)
    np.testing.assert_allclose(BOLTZMANN, 1.380649e-23 / joule, rtol=1e-6)
