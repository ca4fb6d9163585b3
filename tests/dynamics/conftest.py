"""Models, a start and a finished run that the tests of `jles md` share."""

import pytest
import yaml
from ase.io import read, write

import jles
from jles.models.config import DirectCharges, ScalarPolarizability
from tests.support.md_runs import CONFIG, md, tiny_model
from tests.support.small_systems import rattled


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Models, a start and a configuration."""
    path = tmp_path_factory.mktemp("md")
    tiny_model(path / "model", charges=None)
    charges = DirectCharges(scale=2.0)
    tiny_model(path / "charged", charges=charges)
    polarizability = ScalarPolarizability(hidden=(2,))
    tiny_model(path / "polarizable", charges=charges, polarizability=polarizability)
    write(path / "start.xyz", [rattled(1), rattled(0, count=8)], format="extxyz")
    (path / "md.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model(folder):
    return jles.load(folder / "model", dtype="float64")


@pytest.fixture(scope="session")
def atoms(folder):
    return read(folder / "start.xyz")


@pytest.fixture(scope="session")
def whole(folder):
    """An uninterrupted run."""
    assert md(folder, folder / "whole") == 0
    return folder / "whole"
