"""A total charge under a name that is not read."""

import warnings
from collections.abc import Mapping
from numbers import Real

from jles.errors import InputWarning


def warn_unread_charge(values: Mapping, key: str) -> None:
    """Warns if a structure has no total charge under `key`, but a non-zero `charge`.

    The text is the same for all structures, so that Python shows it once.

    Args:
        values: of the structure, by name.
        key: name under which the total charge is read.
    """
    charge = values.get("charge")
    if key not in values and isinstance(charge, Real) and charge != 0:
        warnings.warn(
            f"'charge' of a structure is not read, and its total charge is taken as 0 e; the "
            f"total charge is read from '{key}'",
            InputWarning,
            stacklevel=3,
        )
