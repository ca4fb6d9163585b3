"""The pages of configuration keys list all keys with their defaults."""

import re
import typing

import msgspec
import pytest

from jles.models.config import (
    CaceConfig,
    ChargeConfig,
    ElectrostaticsConfig,
    ModelConfig,
    MomentConfig,
    PolarizabilityConfig,
    ReadoutConfig,
    ResponseConfig,
    ScreeningConfig,
)
from jles.quantities.catalogue import QUANTITIES
from jles.train.config import DataConfig, LossConfig, ModelSection, OptimizerConfig, TrainConfig
from jles.train.parallel_config import ParallelConfig
from jles.units import pretty
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
RECORDS = (
    TrainConfig,
    DataConfig,
    ModelSection,
    CaceConfig,
    ReadoutConfig,
    *typing.get_args(ChargeConfig),
    *typing.get_args(PolarizabilityConfig),
    MomentConfig,
    ResponseConfig,
    ScreeningConfig,
    ElectrostaticsConfig,
    LossConfig,
    OptimizerConfig,
    *typing.get_args(ParallelConfig),
)


def documented_defaults(key):
    """Second column of every table row for this key."""
    cells = re.findall(rf"^\| `{key}` \|([^|]*)\|", PAGE, flags=re.MULTILINE)
    return [cell.strip() for cell in cells]


def test_the_example_of_the_electrostatics_page_runs():
    page = (ROOT / "docs" / "electrostatics.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(example, "electrostatics.md", "exec"), names)
    assert bool(names["out"].report.converged)


def shape_of(entry):
    inside = ", ".join(map(str, entry.shape)) + ("," if len(entry.shape) == 1 else "")
    return f"({inside})" if entry.shape else "a number"


def test_the_tables_of_the_page_of_predictions_are_the_catalogue():
    """A failure prints the rows to put there."""
    page = (ROOT / "docs" / "predictions.md").read_text(encoding="utf-8")
    expected = []
    for name, entry in QUANTITIES.items():
        cells = (f"`{name}`", pretty(entry.unit), shape_of(entry), entry.meaning, entry.owners)
        expected.append("| " + " | ".join(cells) + f" | `{entry.key}` |")
    for owner, entry in QUANTITIES.items():
        for name, aside in entry.asides.items():
            cells = (f"`{name}`", pretty(aside.unit), shape_of(aside), aside.meaning)
            expected.append("| " + " | ".join(cells) + f" | `{owner}` |")
    rows = re.findall(r"^\| `\w+` \| (?!unit).*\|$", page, flags=re.MULTILINE)
    assert rows == expected, "\n" + "\n".join(expected)


def test_every_option_for_a_quantity_is_on_the_page_of_predictions():
    page = (ROOT / "docs" / "predictions.md").read_text(encoding="utf-8")
    asked = {entry.option for entry in QUANTITIES.values() if entry.output == "asked"}
    assert asked <= set(re.findall(r"`(--[\w-]+)`", page))


@pytest.mark.parametrize("record", RECORDS)
def test_every_key_has_a_row(record):
    missing = [name for name in record.__struct_fields__ if not documented_defaults(name)]
    assert missing == []


@pytest.mark.parametrize(
    "record", [CaceConfig, ElectrostaticsConfig, LossConfig, OptimizerConfig]
)
def test_documented_numbers_and_choices_are_the_defaults(record):
    for spec in msgspec.structs.fields(record):
        if isinstance(spec.default, bool) or not isinstance(spec.default, int | float | str):
            continue
        said = [text.strip("`") for text in documented_defaults(spec.name)]
        if spec.name in ("k_max", "mp_norm"):
            continue  # written as a formula
        if isinstance(spec.default, str):
            assert spec.default in said, spec.name
        else:
            numbers = [float(t) for t in said if re.fullmatch(r"[-+0-9.e]+", t)]
            assert spec.default in numbers, spec.name


def test_a_model_has_no_key_that_a_training_file_cannot_set():
    assert set(ModelConfig.__struct_fields__) <= set(ModelSection.__struct_fields__)
