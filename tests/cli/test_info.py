"""`jles info`."""

import re

import jax
import numpy as np
import pytest

import jles
from jles.cli.main import main
from jles.models.config import ModelConfig
from jles.models.cost import flops_per_atom
from jles.models.store import save_model


def test_info_names_what_the_model_is(model_path, capsys):
    assert main(["info", str(model_path)]) == 0
    printed = capsys.readouterr().out
    words = ("H, O", "cutoff: 3.0", "sigma", "eV", "-7.0", "energy, charges")
    assert all(word in printed for word in words)
    assert "receptive field 3 angstrom" in printed
    assert "million operations per atom" in printed


def test_info_shows_the_screening_and_the_response_of_a_model(tmp_path, capsys):
    backbone = {"cutoff": 3.0, "n_rbf": 2, "n_radial_basis": 2, "n_atom_basis": 1, "l_max": 0}
    config = {"elements": ["H", "O"], "backbone": backbone, "polarizability": {}}
    config |= {"screening": {"positive": "H"}, "response": {"mode": "self-consistent"}}
    potential = jles.build_potential(config)
    shapes = jax.eval_shape(potential.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    save_model(tmp_path / "model", potential.config, params)
    assert main(["info", str(tmp_path / "model")]) == 0
    printed = capsys.readouterr().out
    assert re.search("^screening: +positive H$", printed, re.M)
    assert "mode: self-consistent" in printed


def test_work_for_each_atom_grows_with_its_neighbours():
    """Also where a backbone would treat a few atoms in several blocks."""
    backbone = {"kind": "painn", "cutoff": 4.0, "n_atom_basis": 256, "degree": 2}
    config = ModelConfig(elements=("H",), backbone=backbone)
    few, more, many = (flops_per_atom(config, n) for n in (20, 60, 100))
    assert 0.0 < more - few == pytest.approx(many - more, rel=0.01)
