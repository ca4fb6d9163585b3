"""The page of the dynamics lists all keys with their defaults."""

import re
import typing

import msgspec
import pytest
import yaml

from jles.config import from_dict
from jles.dynamics.config import (
    EnsembleConfig,
    MdConfig,
    NeighborConfig,
    RecordConfig,
    VelocityConfig,
    WaveConfig,
)
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "dynamics.md").read_text(encoding="utf-8")
RECORDS = (
    MdConfig,
    *typing.get_args(EnsembleConfig),
    *typing.get_args(WaveConfig),
    VelocityConfig,
    NeighborConfig,
    RecordConfig,
)


def said_of(key):
    """The second column of every row for this key."""
    return [c.strip().strip("`") for c in re.findall(rf"^\| `{key}` \|([^|]*)\|", PAGE, re.M)]


@pytest.mark.parametrize("record", RECORDS)
def test_every_key_has_a_row_with_its_default(record):
    for spec in msgspec.structs.fields(record):
        said = said_of(spec.name)
        assert said, spec.name
        default = spec.default
        if isinstance(default, int | float | str) and not isinstance(default, bool):
            assert str(default) in said, spec.name


def test_the_example_is_a_configuration():
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    config = from_dict(MdConfig, yaml.safe_load(text), "example")
    assert config.ensemble.thermostat_time == 100.0
    assert config.field.period == 1000.0
