"""Scheduled weights follow the number of epochs."""

import pytest

from jles.config import from_dict
from jles.data.survey import survey
from jles.distill.config import StudentConfig
from jles.distill.student import student_config, student_values, with_epochs
from jles.errors import InputWarning
from jles.train.config import TrainConfig
from jles.train.optimizer import at_epoch
from jles.train.schedules import stretched, warn_unreached
from tests.support.small_systems import labelled, rattled, training_values, write_frames


def test_a_weight_that_is_never_reached_is_reported(recwarn):
    values = training_values("a.xyz", loss={"energy": {0: 1.0, 9: 10.0}, "forces": 1.0})
    config = from_dict(TrainConfig, values | {"epochs": 10}, "x")
    warn_unreached(config)
    assert not recwarn
    with pytest.warns(InputWarning, match=r"loss\.energy .* epoch 9 on.* epochs is 9"):
        warn_unreached(config.replace(epochs=9))


def test_weights_change_at_the_same_fraction_of_a_training():
    loss = {"energy": {0: 1.0, 90: 10.0}, "forces": 2.0, "huber": {"forces": 0.1}}
    config = from_dict(TrainConfig, training_values("a.xyz", loss=loss) | {"epochs": 100}, "x")
    for epochs in (1000, 30, 10):
        short = with_epochs(config, epochs)
        assert short.loss.replace(energy=1.0) == config.loss.replace(energy=1.0)
        for fraction in (0.0, 0.5, 0.85, 0.95):
            weight = at_epoch(short.loss.energy, int(fraction * epochs))
            assert weight == at_epoch(config.loss.energy, int(100 * fraction))
    assert with_epochs(config, 100) == config
    # Epoch 0 keeps its weight.
    assert stretched({"energy": {0: 1.0, 1: 5.0}}, 0.1) == {"energy": {0: 1.0, 1: 5.0}}


def test_a_student_of_fewer_epochs_reaches_its_last_weight(tmp_path):
    frames = [labelled(rattled(seed)) for seed in range(12)]
    found = survey([str(write_frames(tmp_path / "a.xyz", frames))])

    def energy(**settings):
        config = StudentConfig(settings=settings)
        student = student_config(student_values(config, "a.xyz", found), config)
        return student.loss.energy

    assert energy(epochs=100) == {0: 1.0, 90: 10.0}
    # A schedule of the settings is in their epochs, and replaces the other.
    assert energy(epochs=100, loss={"energy": {0: 2.0, 50: 3.0}}) == {0: 2.0, 50: 3.0}
