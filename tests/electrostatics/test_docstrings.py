"""Examples in docstrings run and give the documented results."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["sums.ewald", "partial_sums"])
def test_examples_give_the_documented_results(name):
    result = doctest.testmod(import_module(f"jles.electrostatics.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
