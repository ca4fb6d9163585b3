"""Vibrational density of states of charges on springs."""

import numpy as np
import pytest

from jles.analysis.reports.vdos import vibrational_density
from jles.analysis.run import open_run


def test_the_density_of_states_counts_degrees_of_freedom(ion_run):
    outcome = vibrational_density([open_run(ion_run)], highest=1e9)
    wavenumber, *_, total, _ = outcome.columns.values()
    assert np.trapezoid(total, wavenumber) == pytest.approx(24.0, rel=0.05)
