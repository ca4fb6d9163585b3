"""What was meant by keys of a training file that are unknown at their place."""

import pytest

from jles.config import from_dict, override
from jles.errors import InputError
from jles.train.config import TrainConfig


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        (
            "optimizer.lr",
            "yaml.optimizer: unknown key 'lr'; did you mean 'learning_rate'?",
        ),
        ("lr", "unknown key 'lr'; did you mean 'learning_rate' of 'optimizer'?"),
        ("learning_rate", "unknown key 'learning_rate'; it belongs to 'optimizer'"),
        ("model.cutoff", "it belongs to 'backbone' or 'electrostatics'"),
        ("k_max", "it belongs to 'model.electrostatics'"),
        ("model.electrostatics.dl", "did you mean 'k_max' (2π/dl)?"),
        ("model.kind", "it belongs to 'backbone' or 'charges'"),
        ("dipole", "it belongs to 'data.labels' or 'loss'"),
        ("model.learning_rate", "yaml.model: unknown key 'learning_rate'; it belongs to 'opt"),
        ("model.lr", "unknown key 'lr'; 'learning_rate' belongs to 'optimizer'"),
        ("model.backbone.sigma", "it belongs to 'model.electrostatics'"),
        ("model.backbone.charges", "it belongs to 'model'"),
        ("optimizer.epochs", "it belongs beside 'optimizer', not inside of it"),
        ("data.energy", "it belongs to 'labels'"),
        ("optimizer.kind", "known keys: name, learning_rate"),
        ("optimiser", "did you mean 'optimizer'?"),
        ("momentum", "known keys: data, model"),
    ],
)
def test_an_unknown_key_has_an_answer(key, answer):
    with pytest.raises(InputError) as caught:
        from_dict(TrainConfig, override({}, [f"{key}=1"]), "train.yaml")
    assert answer in str(caught.value)
