"""Elements of the training data, and those of the model that have none."""

import pytest

from jles.errors import InputWarning
from jles.train.seen_elements import elements_record, warn_unseen
from tests.support.small_systems import rattled
from tests.support.training import frames_of


def test_the_elements_of_all_trainings_are_kept(tmp_path):
    frames = frames_of([rattled(0, count=3)], tmp_path)
    assert elements_record(frames, None) == {"trained_elements": ["H", "O"]}
    before = {"trained_elements": ["O", "Na"]}
    assert elements_record(frames, before) == {"trained_elements": ["H", "O", "Na"]}
    # A published model has no record, so its elements are not known.
    assert elements_record(frames, {}) == {}


def test_elements_without_training_data_are_named():
    warn_unseen(("O", "H"), {"trained_elements": ["H", "O"]})
    warn_unseen(("O", "H"), {})
    with pytest.warns(
        InputWarning, match=r"model\.elements: Na, Cl occur in no training frame"
    ):
        warn_unseen(("Na", "H", "Cl"), {"trained_elements": ["H", "O"]})
