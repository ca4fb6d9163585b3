"""Picks are far from one another, cover clusters, and do not come from the part for tests."""

import numpy as np
import pytest

from jles.distill.descriptors import standardized
from jles.distill.pick import (
    check_enough,
    farthest_points,
    spaced,
    split_pool,
    uncertain_and_far,
)
from jles.errors import InputError


def clusters(rng, centres=6, each=40):
    """Points close to a few centres that are far from one another, and their centres."""
    places = 10.0 * rng.permutation(np.eye(centres))
    labels = rng.integers(0, centres, each * centres)
    return places[labels] + rng.normal(0.0, 0.3, (each * centres, centres)), labels


@pytest.mark.parametrize("seed", range(3))
def test_as_many_picks_as_clusters_cover_them_all(seed):
    points, labels = clusters(np.random.default_rng(seed))
    assert set(labels[farthest_points(points, 6)]) == set(labels)


def test_the_first_picks_are_the_picks_for_fewer_and_none_is_picked_twice():
    points, _ = clusters(np.random.default_rng(0))
    all_points = farthest_points(points, len(points))
    assert sorted(all_points) == list(range(len(points)))
    assert farthest_points(points, 10) == all_points[:10]
    assert farthest_points(points, 5, all_points[:10]) == all_points[10:15]


def test_every_pick_is_the_point_farthest_from_the_earlier_ones():
    points = np.random.default_rng(1).normal(size=(30, 4))
    picks = farthest_points(points, 8)
    for n in range(1, 8):
        apart = np.linalg.norm(points[:, None] - points[picks[:n]], axis=-1).min(axis=1)
        assert apart[picks[n]] == apart.max()


def test_frames_that_do_not_differ_are_picked_all_the_same():
    assert farthest_points(standardized(np.ones((5, 3))), 5) == [0, 1, 2, 3, 4]


def test_a_committee_picks_among_the_frames_it_agrees_on_least():
    rng = np.random.default_rng(2)
    points, spread = rng.normal(size=(60, 3)), rng.uniform(size=60)
    first = [3, 14, 15]
    picks = uncertain_and_far(points, spread, 10, first)
    rest = [n for n in np.argsort(-spread) if n not in first]
    assert len(set(picks)) == 10
    assert set(picks) <= set(rest[:20])


def test_the_last_part_of_every_run_is_for_tests():
    learn, test = split_pool([10, 5, 1], 0.2)
    assert learn.tolist() == [*range(8), *range(10, 14)]
    assert test.tolist() == [8, 9, 14, 15]
    assert spaced(test, 2).tolist() == [8, 15]
    assert spaced(test, 9).tolist() == test.tolist()


def test_too_few_frames_are_an_error_that_says_what_to_change():
    check_enough(4, 4, "pick.frames")
    with pytest.raises(InputError, match="pick.frames: 5 frames are wanted, and 4"):
        check_enough(5, 4, "pick.frames")
