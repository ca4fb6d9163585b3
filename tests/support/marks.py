"""Marks of single cases of a parametrised test."""

from collections.abc import Callable, Iterable

import pytest


def long(*values, **options):
    """A case of `parametrize` that `make test` leaves out; `make test-long` runs it."""
    return pytest.param(*values, marks=pytest.mark.long, **options)


def long_unless(quick: Callable, cases: Iterable) -> list:
    """Cases of one value, long unless `quick(value)`."""
    return [case if quick(case) else long(case) for case in cases]
