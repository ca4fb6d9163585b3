"""`jles init-config`: the file is read as it is, and its sizes suit the data."""

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write

from jles.cli.main import main
from jles.config import from_dict, read_yaml
from jles.data.frames import LabelKeys
from jles.data.survey import REACH, survey
from jles.errors import InputError
from jles.models.config import ModelConfig
from jles.train.config import TrainConfig
from jles.train.starting_config import kinds, starting_config
from tests.support.small_systems import labelled, rattled, write_frames


@pytest.fixture
def data(tmp_path):
    """A file with twelve labelled crystals."""
    frames = [labelled(rattled(seed)) for seed in range(12)]
    return str(write_frames(tmp_path / "train.xyz", frames))


def lattice(spacing):
    """A simple cubic crystal, whose neighbour counts are known."""
    return Atoms(
        "H8", np.indices((2, 2, 2)).reshape(3, 8).T * spacing, cell=[2 * spacing] * 3, pbc=True
    )


def test_a_survey_counts_the_neighbours_of_a_simple_cubic_lattice(tmp_path):
    write(tmp_path / "h.xyz", [lattice(2.5)] * 3)
    found = survey([str(tmp_path / "h.xyz")])
    assert (found.frames, found.atoms, found.elements, found.crystals) == (3, 8, ("H",), 3)
    for cutoff, shells in ((2.4, 0), (2.6, 6), (3.6, 18), (4.4, 26), (REACH, 56)):
        assert found.neighbors(cutoff) == shells


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_the_file_of_every_kind_is_a_training_file_with_the_sizes_of_the_data(kind, data):
    found = survey([data])
    text = starting_config(kind, [data], found)
    config = from_dict(TrainConfig, yaml.safe_load(text), "file")
    backbone = config.model.backbone
    assert backbone.kind == kind
    assert config.data.train == data
    assert f"{found.neighbors(backbone.cutoff):.0f} neighbours on average" in text
    if hasattr(backbone, "avg_num_neighbors"):
        expected = found.neighbors(backbone.cutoff)
        assert backbone.avg_num_neighbors == pytest.approx(expected, abs=0.06)
    ModelConfig(elements=found.elements, backbone=backbone)
    assert "# screening: {epsilon_infinity: 2.0, positive: H}" in text


@pytest.mark.parametrize(("spacing", "cutoff"), [(2.0, 4.5), (2.5, 5.0), (4.0, 6.0)])
def test_the_cutoff_follows_the_density(spacing, cutoff, tmp_path):
    atoms = labelled(lattice(spacing))
    found = survey([str(write_frames(tmp_path / "h.xyz", [atoms] * 30))])
    config = yaml.safe_load(starting_config("cace", ["h.xyz"], found))
    # Eight atoms a frame: three frames a step, a third of the frames held out.
    assert (config["batch_size"], config["data"]["valid_fraction"]) == (3, 0.33)
    assert config["epochs"] == 2000
    assert list(config["loss"]["energy"]) == [0, 1800]
    assert config["model"]["backbone"]["cutoff"] == cutoff


def test_the_command_writes_a_new_file_or_prints_it(data, tmp_path, capsys):
    out = tmp_path / "train.yaml"
    assert main(["init-config", "cace", data]) == 0
    printed = capsys.readouterr().out
    assert main(["init-config", "cace", data, "-o", str(out)]) == 0
    assert out.read_text() == printed
    from_dict(TrainConfig, read_yaml(out), "train.yaml")
    capsys.readouterr()
    assert main(["init-config", "cace", data, "-o", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == printed


def test_charged_frames_get_a_constraint_and_frames_without_forces_are_refused(
    tmp_path, capsys
):
    ion = labelled(rattled(0))
    ion.info["total_charge"] = 1.0
    ions = str(write_frames(tmp_path / "ions.xyz", [ion, ion]))
    text = starting_config("cace", [ions], survey([ions]))
    assert yaml.safe_load(text)["model"]["charges"]["total"] == "shift"
    ion.info["total_charge"] = 0.0
    one = write_frames(tmp_path / "one.xyz", [ion])
    with pytest.raises(InputError, match="has one frame; training needs two"):
        starting_config("cace", [one], survey([one]))
    write(tmp_path / "bare.xyz", rattled(0))
    assert main(["init-config", "cace", str(tmp_path / "bare.xyz")]) == 2
    error = capsys.readouterr().err
    assert "no frame has the label energy" in error
    assert "--labels energy=KEY" in error
    assert error.count("\n") == 1


def test_labels_under_other_names_are_named_in_the_file(tmp_path, capsys):
    atoms = labelled(rattled(0))
    atoms.info["REF"] = atoms.info.pop("energy")
    file = str(write_frames(tmp_path / "a.xyz", [atoms] * 3))
    assert main(["init-config", "cace", file, "--labels", "energy=REF"]) == 0
    config = from_dict(TrainConfig, yaml.safe_load(capsys.readouterr().out), "file")
    assert config.data.labels == LabelKeys(energy="REF")
