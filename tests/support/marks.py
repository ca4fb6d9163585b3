"""Marks of single cases of a parametrised test."""

import pytest


def long(*values, **options):
    """A case of `parametrize` that `make test` leaves out; `make test-long` runs it."""
    return pytest.param(*values, marks=pytest.mark.long, **options)


def long_unless(quick: bool, *values, **options):
    """A case of `parametrize`, long unless it is quick."""
    return (pytest.param if quick else long)(*values, **options)
