"""Warnings about runs that are too short."""

import re
from functools import partial

import numpy as np
import pytest

from jles.analysis.estimators.spectra import Segments
from jles.analysis.reports.profile import profiles
from jles.analysis.reports.rdf import radial_distributions
from jles.analysis.reports.wording import few_samples, few_segments, lower_bounds
from jles.analysis.run import open_run
from tests.support.processes import autoregressive, write_run


def test_a_spectrum_of_few_segments_says_what_would_be_enough():
    def warnings(count):
        return few_segments(Segments(np.zeros(3), np.zeros((count, 1, 3)), 10), 20.0)

    assert warnings(4) == []
    (line,) = warnings(1)
    assert "no errors can be given; run 2.5 times as long, or take --resolution 50" in line
    assert "the errors are rough" in warnings(2)[0]


def test_errors_that_are_lower_bounds_are_counted():
    assert lower_bounds([np.ones(3, bool)], "bins") == []
    (line,) = lower_bounds([np.array([True, False]), np.zeros((1, 2), bool)], "bins")
    assert "the errors of 3 of 4 bins are lower bounds; run longer" in line


def slow_run(tmp_path, decay):
    """Sixteen atoms about one height, correlated over 1/(1 - decay) frames."""
    rng = np.random.default_rng(8)
    positions = np.zeros((128, 16, 3))
    positions[...] = 2.0 * autoregressive(rng, 128, 48, decay).reshape(128, 16, 3) + 5.0
    path = write_run(tmp_path, {"positions": {"positions": positions}}, numbers=[18] * 16)
    return [open_run(path)]


@pytest.mark.parametrize(
    "report",
    [partial(profiles, width=2.0), partial(radial_distributions, width=1.0, r_max=4.0)],
    ids=["profile", "rdf"],
)
def test_slow_motion_makes_errors_lower_bounds(tmp_path, report):
    slow, fast = (report(slow_run(tmp_path / str(d), d)).lines for d in (0.99, 0.0))
    assert any("are lower bounds; run longer" in line for line in slow)
    assert not any("lower bounds" in line for line in fast)


def test_few_independent_samples_are_counted(rng):
    long, slow = (autoregressive(rng, 4096, 3, decay) for decay in (0.5, 0.998))
    assert few_samples("the dipole", [long], 1.0) == []
    (line,) = few_samples("the dipole", [slow], 1.0)
    # The correlation time is 1/(1 - decay) = 500 fs, of which the run holds eight.
    time, samples = map(float, re.search(r"for ([\d.]+) ps .* about (\d+) ind", line).groups())
    assert time == pytest.approx(0.5, rel=0.7)
    assert 1 <= samples < 20
