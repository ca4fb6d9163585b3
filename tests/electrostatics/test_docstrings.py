"""Examples in docstrings run and give the documented results."""

import doctest

from jles.electrostatics.sums import ewald


def test_the_plain_sum_in_the_docstring_is_the_energy():
    result = doctest.testmod(ewald)
    assert result.attempted > 0
    assert result.failed == 0
