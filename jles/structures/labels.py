"""Integer labels of atoms, such as a charge or spin state."""

import numpy as np
from jaxtyping import Int

from jles.errors import InputError


def whole_labels(value, count: int, key: str) -> Int[np.ndarray, " atoms"]:
    """Integer labels of all atoms.

    Args:
        value: one label for each atom, or one for all.
        count: number of atoms.
        key: name of the labels in files.

    Raises:
        InputError: another number of labels, or a label that is not an integer.
    """
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        values = np.asarray(np.nan)
    whole = np.array_equal(values, np.rint(values)) and np.abs(values).max(initial=0.0) < 1e9
    if values.shape not in {(), (1,), (count,)} or not whole:
        shown = " ".join(str(value).split())[:40]
        raise InputError(
            f"'{key}' is {shown}; it must be {count} integers, one for each atom, or one"
        )
    return np.broadcast_to(values.astype(np.int32), (count,)).copy()
