"""Names of the ways to compute a reciprocal sum; without imports, for the command line."""

from typing import Literal

SumMethod = Literal["auto", "direct", "mesh"]
"""See `plan_sum`."""
