"""Paths of the named data sets; a test whose data set is absent is skipped."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

_BESIDE_CHECKOUT = ROOT.parent / "shared" / "data"


def _shared(folder: str, name: str) -> Path:
    data = Path(os.environ.get("JLES_DATA", _BESIDE_CHECKOUT))
    path = (data if folder == "data" else data.parent / folder) / name
    if not path.exists():
        pytest.skip(f"needs {folder}/{name} (set JLES_DATA to the data folder)")
    return path


def data_path(name: str) -> Path:
    """A file of the named data sets."""
    return _shared("data", name)


def golden_path(name: str) -> Path:
    """A file of reference numbers."""
    return _shared("golden", name)


def model_path(name: str) -> Path:
    """A published torch checkpoint."""
    return _shared("models", name)
