"""Green-Kubo and Einstein estimates, one against the other."""

import numpy as np
import pytest

from jles.analysis.estimators.transport import (
    cumulative,
    einstein_series,
    estimate,
    green_kubo_series,
    mean_squares,
)
from tests.support.processes import autoregressive

DECAY = 0.9


def test_both_sides_of_helfand_s_identity(rng):
    current = autoregressive(rng, 2**15, 3, DECAY)
    integral = cumulative(current, 1.0)
    # (|Q(2k)|^2 - |Q(k)|^2)/2k is the mean of the Green-Kubo integral between k and 2k.
    lag = 40
    kubo = np.mean(
        [np.mean(green_kubo_series(current, integral, k)) for k in range(lag, 2 * lag)]
    )
    helfand = np.mean(einstein_series(integral[:, None], 1.0, lag))
    assert helfand == pytest.approx(kubo, rel=0.01)
    squares = mean_squares(integral[:, None], np.array([0, lag, 2 * lag]))
    assert squares[0] == 0.0
    assert (squares[2] - squares[1]) / (2.0 * lag) == pytest.approx(helfand, rel=0.01)


def test_runs_together_are_more_certain(rng):
    parts = [np.sum(rng.standard_normal((4096, 3)) ** 2, axis=1) for _ in range(4)]
    one, all_of_them = estimate(parts[:1]), estimate(parts)
    assert all_of_them.value == pytest.approx(3.0, abs=4.0 * all_of_them.error)
    assert all_of_them.error == pytest.approx(0.5 * one.error, rel=0.2)
