"""Fixtures of the commands: valid models and data."""

import shutil

import jax
import numpy as np
import pytest
import yaml
from ase.build import molecule
from ase.io import read, write

import jles
from jles.models.config import CaceConfig, DirectCharges, ModelConfig
from jles.models.potential import build_potential
from jles.models.store import save_model
from tests.support.cace_records import single
from tests.support.small_systems import (
    labelled,
    random_params,
    rattled,
    small_backbone,
    small_config,
    small_model,
    training_values,
    write_frames,
)
from tests.support.torch_archive import save


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small"
    backbone = CaceConfig(
        cutoff=3.0, n_rbf=2, n_radial_basis=2, n_atom_basis=1, l_max=1, body_order=2
    )
    # An untrained energy is flat; charges this large make forces of many digits in a file.
    charges = DirectCharges(scale=3.0)
    offsets = {"H": -3.0, "O": -7.0}
    config = ModelConfig(("H", "O"), backbone, charges=charges, element_energies=offsets)
    save_model(path, config, jax.jit(build_potential(config).init)(jax.random.key(1)))
    return path


@pytest.fixture(scope="session")
def structures(tmp_path_factory):
    """A water molecule and one in a box."""
    path = tmp_path_factory.mktemp("data") / "in.xyz"
    crystal = molecule(
        "H2O", cell=[[4.0, 0.0, 0.0], [0.5, 4.5, 0.0], [0.0, 0.3, 5.0]], pbc=True
    )
    write(path, [molecule("H2O"), crystal], format="extxyz")
    return path


@pytest.fixture(scope="session")
def predictions(model_path, structures):
    """The model's own predictions for these structures, in float64."""
    model = jles.load(model_path, dtype="float64")
    want = ("energy", "forces", "charges")
    cluster, crystal = read(structures, ":")
    return model.predict(cluster, (*want, "dipole")), model.predict(crystal, (*want, "stress"))


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    """A model and a file of four labelled crystals, to be copied."""
    path = tmp_path_factory.mktemp("sound")
    config = small_config(
        backbone=small_backbone(l_max=1, body_order=2), element_energies={"H": -1.0, "O": -2.0}
    )
    save_model(path / "model", config, small_model(config, dtype=np.float32)[1])
    write_frames(path / "data.xyz", [labelled(rattled(n, count=4)) for n in range(4)])
    return path


@pytest.fixture
def folder(untouched, tmp_path):
    """A valid model, data file and training file."""
    shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)
    values = training_values(str(tmp_path / "data.xyz"))
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return tmp_path


@pytest.fixture
def torch_file(tmp_path):
    """A checkpoint as torch would have saved it."""
    config = small_config(normalize_features=False)
    params = random_params(build_potential(config), dtype=np.float32)
    return save(tmp_path / "torch.pth", single(config, params))
