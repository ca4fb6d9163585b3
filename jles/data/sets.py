"""Paths of named data sets: in `JLES_DATA`, else in `shared/data` beside the checkout."""

import os
from pathlib import Path

from jles.errors import InputError

_BESIDE_CHECKOUT = Path(__file__).resolve().parents[3] / "shared" / "data"


class MissingDataError(InputError):
    """A named data set or published model that is not there."""


def data_folder() -> Path:
    """The folder of named data sets; models and golden numbers lie beside it."""
    return Path(os.environ.get("JLES_DATA", _BESIDE_CHECKOUT))


def data_set(name: str) -> Path:
    """A file of a named data set, e.g. "water-rpbe-d3/ef.xyz".

    Raises:
        MissingDataError: it is not there.
    """
    return _existing(data_folder() / name)


def published_model(name: str) -> Path:
    """A published torch checkpoint beside the data sets.

    Raises:
        MissingDataError: it is not there.
    """
    return _existing(data_folder().parent / "models" / name)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise MissingDataError(
            f"{path}: not there; set JLES_DATA to the folder of the data sets"
        )
    return path
