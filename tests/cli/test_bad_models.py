"""Models that every command refuses."""

import pytest
import yaml

from jles.models.store import FORMAT_VERSION
from tests.support.commands import assert_refused, commands


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


def test_a_missing_model_is_named(folder, capsys):
    (folder / "model").rename(folder / "elsewhere")
    for arguments in model_commands(folder):
        assert_refused(folder, capsys, arguments, folder / "model", "config.yaml")
