"""Conductivity of an Ornstein-Uhlenbeck current: closed form and coverage."""

import numpy as np
import pytest

from jles.analysis.estimators.conductivity import (
    ChargeFlow,
    conductivity_unit,
    ionic_conductivity,
)
from jles.analysis.estimators.transport import (
    Sampled,
    cumulative,
)
from jles.analysis.estimators.units import BOLTZMANN
from jles.errors import InputError
from tests.support.processes import autoregressive, integral_of_ornstein_uhlenbeck

UNIT = conductivity_unit(1000.0, 800.0)
DECAY = 0.9


def test_units_of_conductivity():
    # 1 (e angstrom)^2/fs over 3 V kT with V = 1 angstrom^3 and kT = 1 eV, in S/cm.
    siemens_per_metre = 1.602176634e-19 / (1e-10 * 1e-15) / 3.0
    assert conductivity_unit(1.0 / BOLTZMANN, 1.0) == pytest.approx(
        0.01 * siemens_per_metre, rel=1e-7
    )


def flow_of(current, interval=1.0):
    dipole = Sampled([cumulative(current, interval)], interval)
    return ChargeFlow("Born charges", Sampled([current], interval), dipole)


def test_green_kubo_and_einstein_are_the_integral_with_honest_errors(rng):
    copies, frames = 120, 2**14
    expected = 3.0 * integral_of_ornstein_uhlenbeck(DECAY) * UNIT
    pulls = {"green_kubo": [], "einstein": []}
    for _ in range(copies):
        found = ionic_conductivity(flow_of(autoregressive(rng, frames, 3, DECAY)), UNIT)
        assert DECAY**found.window < 0.05
        for name, values in pulls.items():
            result = getattr(found, name)
            values.append((float(result.value) - expected) / float(result.error))
    for values in map(np.array, pulls.values()):
        # The mean has no bias beyond its error and the fourth of an error bar.
        assert abs(np.mean(values)) < 0.25 + 4.0 / np.sqrt(copies)
        # Two thirds are within one error (binomial deviation 0.042); blocking is a bit low.
        assert 0.5 < np.mean(np.abs(values) < 1.0) < 0.82
        assert np.mean(np.abs(values) < 2.0) > 0.85


def test_a_window_that_was_found_fits_coarser_positions(rng):
    """Rounded to whole frames of the dipole it must leave as many time origins."""
    current = np.cumsum(0.001 * rng.standard_normal((2001, 3)), axis=0) + 0.01
    flow = flow_of(current)
    for every in (23, 27, 30, 31):
        dipole = Sampled([flow.dipole.parts[0][::every]], float(every))
        found = ionic_conductivity(flow._replace(dipole=dipole), UNIT)
        assert found.window <= 2001 / 4
        with pytest.raises(InputError, match="quarter of the run"):
            ionic_conductivity(flow._replace(dipole=dipole), UNIT, 600.0)


def test_a_run_shorter_than_its_memory_says_so(rng):
    found = ionic_conductivity(flow_of(autoregressive(rng, 512, 3, 0.999)), UNIT)
    assert not found.is_silent
    assert ionic_conductivity(flow_of(autoregressive(rng, 2**14, 3, 0.5)), UNIT).is_silent
