"""`jles info`."""

import pytest

from jles.cli.main import main
from jles.models.config import ModelConfig
from jles.models.cost import flops_per_atom


def test_info_names_what_the_model_is(model_path, capsys):
    assert main(["info", str(model_path)]) == 0
    printed = capsys.readouterr().out
    words = ("H, O", "cutoff: 3.0", "sigma", "eV", "-7.0", "energy, charges")
    assert all(word in printed for word in words)
    assert "receptive field 3 angstrom" in printed
    assert "million operations per atom" in printed


def test_work_for_each_atom_grows_with_its_neighbours():
    """Also where a backbone would treat a few atoms in several blocks."""
    backbone = {"kind": "painn", "cutoff": 4.0, "n_atom_basis": 256, "degree": 2}
    config = ModelConfig(elements=("H",), backbone=backbone)
    few, more, many = (flops_per_atom(config, n) for n in (20, 60, 100))
    assert 0.0 < more - few == pytest.approx(many - more, rel=0.01)
