"""The loop of a quasi-static double well against closed forms."""

import numpy as np
import pytest

from jles.analysis.estimators.hysteresis import (
    field_axis,
    full_halves,
    hysteresis_loop,
    turning_points,
)
from jles.analysis.estimators.units import ENERGY_DENSITY, POLARIZATION
from jles.errors import InputError
from tests.support.double_well import COERCIVE, REMANENT, area_in_closed_form, triangle


def test_a_double_well_gives_its_coercive_field_remanence_and_area(cycled):
    field, dipole = cycled
    loop = hysteresis_loop(field, dipole + 0.3)
    step = np.max(np.abs(np.diff(field)))
    assert (len(loop.falling), len(loop.rising)) == (3, 2)
    np.testing.assert_allclose(loop.coercive_falling, -COERCIVE, atol=step)
    np.testing.assert_allclose(loop.coercive_rising, COERCIVE, atol=step)
    np.testing.assert_allclose(loop.remanent_falling, POLARIZATION * REMANENT, rtol=1e-3)
    np.testing.assert_allclose(loop.remanent_rising, -POLARIZATION * REMANENT, rtol=1e-3)
    expected = ENERGY_DENSITY * area_in_closed_form()
    np.testing.assert_allclose(loop.areas, expected, rtol=0.01)
    assert len(loop.areas) == 2


def test_noise_of_the_polarization_averages_over_cycles(cycled, rng):
    field, dipole = cycled
    noisy = dipole + 0.2 * REMANENT * rng.standard_normal(len(dipole))
    loop = hysteresis_loop(field, noisy)
    # A bin around zero holds about seven frames of each half; the offset that of five ends.
    spread = 0.2 * POLARIZATION * REMANENT * np.sqrt(1.0 / (7 * 3) + 1.0 / 5)
    assert np.mean(loop.remanent_falling) == pytest.approx(
        POLARIZATION * REMANENT, abs=4.0 * spread
    )
    step = 4.0 * np.max(np.abs(np.diff(field)))
    np.testing.assert_allclose(loop.coercive_falling, -COERCIVE, atol=step)


def test_an_imprint_shows_in_the_fields(cycled):
    field, dipole = cycled
    # The same loop driven about a field of its own.
    loop = hysteresis_loop(field + 0.2 * COERCIVE, dipole)
    assert np.mean(loop.coercive_rising) == pytest.approx(1.2 * COERCIVE, rel=0.01)
    assert np.mean(loop.coercive_falling) == pytest.approx(-0.8 * COERCIVE, rel=0.01)


def test_a_stepwise_field_turns_once_a_plateau():
    field = np.repeat(triangle(1.0, 2, 20), 5)
    smooth = triangle(1.0, 2, 20)
    assert len(turning_points(field)) == len(turning_points(smooth)) == 2 * 2 + 2
    assert len(full_halves(field)) == 3


def test_a_dielectric_without_a_loop_loses_nothing():
    field = triangle(0.1, 2, 200)
    loop = hysteresis_loop(field, 0.5 * field)
    np.testing.assert_allclose(loop.areas, 0.0, atol=1e-9)
    # The ends are means over bins, hundredths of the whole.
    np.testing.assert_allclose(loop.coercive_falling, 0.0, atol=2e-3 * 0.1)
    assert (
        np.isnan(hysteresis_loop(field, np.sin(9 * field) ** 2 + 1e3 * field**2).areas).sum()
        == 0
    )


def test_the_axis_is_the_line_of_the_field():
    steps = np.linspace(-1.0, 1.0, 30)[:, None]
    np.testing.assert_allclose(
        field_axis(steps * [0.0, -0.6, -0.8]), [0.0, 0.6, 0.8], atol=1e-12
    )
    with pytest.raises(InputError, match="zero throughout"):
        field_axis(0.0 * steps * np.ones(3))
    with pytest.raises(InputError, match="one direction"):
        field_axis(np.concatenate([steps * [1.0, 0.0, 0.0], steps * [0.0, 1.0, 0.0]]))
