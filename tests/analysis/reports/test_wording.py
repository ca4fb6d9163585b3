"""Warnings about runs that are too short."""

import re

import numpy as np
import pytest

from jles.analysis.estimators.spectra import Segments
from jles.analysis.reports.wording import few_samples, few_segments
from tests.support.processes import autoregressive


def test_a_spectrum_of_few_segments_says_what_would_be_enough():
    def warnings(count):
        return few_segments(Segments(np.zeros(3), np.zeros((count, 1, 3)), 10), 20.0)

    assert warnings(4) == []
    (line,) = warnings(1)
    assert "no errors can be given; run 2.5 times as long, or take --resolution 50" in line
    assert "the errors are rough" in warnings(2)[0]


def test_few_independent_samples_are_counted(rng):
    long, slow = (autoregressive(rng, 4096, 3, decay) for decay in (0.5, 0.998))
    assert few_samples("the dipole", [long], 1.0) == []
    (line,) = few_samples("the dipole", [slow], 1.0)
    # The correlation time is 1/(1 - decay) = 500 fs, of which the run holds eight.
    time, samples = map(float, re.search(r"for ([\d.]+) ps .* about (\d+) ind", line).groups())
    assert time == pytest.approx(0.5, rel=0.7)
    assert 1 <= samples < 20
