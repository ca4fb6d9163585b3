"""The configuration of a model."""

import math

import pytest

from jles.models.config import ModelConfig
from tests.support.messages import message_of
from tests.support.small_systems import (
    small_backbone,
)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_element_energies_of_a_model_are_finite(bad):
    message = message_of(ModelConfig, ("H",), small_backbone(), element_energies={"H": bad})
    assert "element_energies.H: " in message
