"""The total charge of a structure among its values: read, checked, or under another name."""

import warnings
from collections.abc import Mapping
from numbers import Real

import numpy as np

from jles.errors import InputError, InputWarning


def total_charge_of(values: Mapping, key: str, numbers) -> float:
    """Total charge, e; 0 if the structure has none.

    Args:
        values: of the structure, by name.
        key: name under which the total charge is read.
        numbers: atomic numbers.

    Raises:
        InputError: the value is not one number, or larger than the charge of all nuclei.
    """
    _warn_unread_charge(values, key)
    value = values.get(key, 0.0)
    try:
        given = np.asarray(value)
        charge = given.astype(np.float64)
        right = given.dtype.kind != "b" and charge.size == 1 and np.isfinite(charge).all()
    except (TypeError, ValueError):
        right = False
    if not right:
        shown = repr(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
        raise InputError(f"'{key}' is {shown[:40]}; it must be one number (e)")
    total, nuclei = float(charge.reshape(())), int(np.sum(numbers))
    if abs(total) > nuclei + 1e-3:
        raise InputError(
            f"'{key}' is {total:g}; it cannot exceed the charge of all nuclei, {nuclei} e"
        )
    return total


def _warn_unread_charge(values: Mapping, key: str) -> None:
    """Warns if a structure has no total charge under `key`, but a non-zero `charge`.

    The text is the same for all structures, so that Python shows it once.
    """
    charge = values.get("charge")
    if key not in values and isinstance(charge, Real) and charge != 0:
        warnings.warn(
            f"'charge' of a structure is not read, and its total charge is taken as 0 e; the "
            f"total charge is read from '{key}'",
            InputWarning,
            stacklevel=4,
        )
