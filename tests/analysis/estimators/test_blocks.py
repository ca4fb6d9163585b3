"""Blocking: closed forms for an autoregressive series, and error bars that cover the truth."""

import numpy as np
import pytest

from jles.analysis.estimators.blocks import block_average, block_variances, pooled
from tests.support.processes import autoregressive


def block_variance_closed_form(decay, block):
    """Variance of the mean of `block` frames of an AR(1) series of variance one."""
    ratio = (1.0 + decay) / (1.0 - decay)
    return (ratio - 2.0 * decay * (1.0 - decay**block) / (block * (1.0 - decay) ** 2)) / block


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.9])
def test_block_variances_are_those_of_an_autoregressive_series(rng, decay):
    frames, copies = 2**12, 60
    series = autoregressive(rng, frames, copies, decay)
    found = block_variances(series)[:7]
    # Mean square of block means is known; they are divided by the number of blocks.
    for level, variances in enumerate(found):
        block = 2**level
        blocks = frames / block
        expected = block_variance_closed_form(decay, block) / blocks
        # The blocks of one series share its mean: (1/blocks) of the variance is lost at most.
        spread = np.std(variances, ddof=1) / np.sqrt(copies)
        slack = 2.0 * block_variance_closed_form(decay, frames) / blocks
        assert abs(np.mean(variances) - expected) < 4.0 * spread + slack


@pytest.mark.parametrize(("decay", "frames"), [(0.0, 4096), (0.8, 4096), (0.97, 2**15)])
def test_error_bars_cover_the_truth_two_times_in_three(rng, decay, frames):
    copies = 400
    average = block_average(autoregressive(rng, frames, copies, decay))
    inside = np.mean(np.abs(average.mean) < average.error)
    # Binomial, 400 draws: standard deviation 0.023; the plateau is met from below (a few %).
    assert 0.683 - 0.04 - 3 * 0.023 < inside < 0.683 + 3 * 0.023
    assert np.mean(average.converged) > 0.95
    truth = np.sqrt(block_variance_closed_form(decay, frames))
    np.testing.assert_allclose(np.mean(average.error), truth, rtol=0.07)


def test_a_series_shorter_than_its_memory_is_reported(rng):
    walk = np.cumsum(rng.standard_normal((256, 20)), axis=0)
    # By chance a walk returns often enough to look stationary, one in twenty or so.
    assert np.mean(block_average(walk).converged) <= 0.2


def test_a_constant_has_no_error_and_one_frame_an_unknown_one():
    average = block_average(np.full(64, 3.0))
    assert (average.mean, average.error) == (3.0, 0.0)
    assert np.isnan(block_average(np.ones((1, 2))).error).all()


def test_runs_are_pooled_by_length(rng):
    series = rng.standard_normal(4096)
    parts = [block_average(series[:1024]), block_average(series[1024:])]
    found = pooled(parts, [1024, 3072])
    np.testing.assert_allclose(found.mean, series.mean(), atol=1e-14)
    np.testing.assert_allclose(found.error, 1.0 / 64.0, rtol=0.15)
    assert found.converged
    short = parts[0]._replace(converged=np.array(False))
    assert not pooled([short, parts[1]], [1024, 3072]).converged
