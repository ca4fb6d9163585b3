"""Parity pictures of a training."""

import numpy as np

from jles.train.report import _pairs, validation_pictures
from tests.support.small_systems import (
    TRICLINIC,
)
from tests.support.training import MATRIX, RESPONSE_PARAMS, linear_responses, response_loader


def test_pictures_show_every_number_that_is_labelled(response_frames, tmp_path):
    """The dipole of a crystal on the branch nearest to its reference."""
    loader = response_loader(response_frames[:2], batch_size=1)
    needed = ("born_charges", "dipole")
    pairs = _pairs(linear_responses([]), RESPONSE_PARAMS, loader, needed)
    assert {name: pair.shape[1] for name, pair in pairs.items()} == {
        "energy": 1,
        "forces": 12,
        "born_charges": 63,
        "dipole": 6,
    }
    reference, predicted = pairs["born_charges"]
    labels = np.concatenate(
        [frame.labels["born_charges"].ravel() for frame in response_frames[:2]]
    )
    np.testing.assert_allclose(reference, labels)
    np.testing.assert_allclose(
        predicted, np.tile(0.4 * MATRIX.ravel(), 7), rtol=1e-9, atol=1e-12
    )
    reference, predicted = pairs["dipole"].reshape(2, 2, 3)
    assert np.all(np.abs((predicted - reference)[0] @ np.linalg.inv(TRICLINIC)) <= 0.5)
    validation_pictures(tmp_path, linear_responses([]), RESPONSE_PARAMS, loader, needed)
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")
