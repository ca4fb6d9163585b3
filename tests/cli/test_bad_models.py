"""Models that every command refuses."""

import pytest
import yaml

from jles.models.store import FORMAT_VERSION, read_model
from tests.support.commands import assert_refused, commands
from tests.support.messages import message_of


def model_commands(folder):
    """Every command that reads the model."""
    start = f"model={{start_from: '{folder / 'model'}'}}"
    return [
        *commands(folder)[1:],
        ["info", folder / "model"],
        [*commands(folder)[0], "--set", start],
    ]


@pytest.mark.parametrize("name", ["params.safetensors", "config.yaml", "metrics.json"])
def test_a_truncated_model_is_named(folder, capsys, name):
    path = folder / "model" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for arguments in model_commands(folder):
        assert_refused(folder, capsys, arguments, path)


def test_a_model_of_a_newer_format_is_named(folder, capsys):
    path = folder / "model" / "config.yaml"
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(record | {"format": FORMAT_VERSION + 1}), encoding="utf-8")
    for arguments in model_commands(folder):
        assert_refused(folder, capsys, arguments, path, "newer", "update jles")


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (5, "it must be a mapping"),
        ({"neighbors": "abc"}, "neighbors: expected float"),
        ({"label_keys": [1]}, "label_keys"),
        ({"total_charges": "x"}, "total_charges"),
        ({"trained_elements": "H"}, "trained_elements"),
        ({"charges_by_formula": {"H2O": 1.0}}, "charges_by_formula"),
        ({"distances": {"shortest": {"H-Q": 1.0}, "sparsest": 1.0}}, "distances: damaged"),
        ({"distances": {"shortest": {"H-H": 1.0}}}, "distances: damaged"),
    ],
)
def test_a_damaged_record_of_the_training_is_named(folder, training, words):
    path = folder / "model" / "config.yaml"
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(record | {"training": training}), encoding="utf-8")
    message = message_of(read_model, folder / "model")
    assert message.startswith(f"{path}: training")
    assert words in message


def test_a_missing_model_is_named(folder, capsys):
    (folder / "model").rename(folder / "elsewhere")
    for arguments in model_commands(folder):
        assert_refused(folder, capsys, arguments, folder / "model", "no such directory")
