"""`jles predict`: its file contains the model's predictions."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from jles.cli.main import main
from jles.models.store import save_model
from tests.support.commands import assert_one_line_error, run_on_small_disk
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    small_backbone,
    small_config,
    small_model,
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_writes_what_the_model_predicts(
    model_path, structures, predictions, dtype, tmp_path
):
    out = tmp_path / "out.extxyz"
    arguments = ["predict", model_path, structures, "-o", out, "--dtype", dtype]
    assert main(list(map(str, arguments))) == 0
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"atol": 1e-7}
    cluster, crystal = read(out, ":")
    for atoms, expected in zip((cluster, crystal), predictions, strict=True):
        np.testing.assert_allclose(atoms.get_potential_energy(), expected.energy, **tolerance)
        np.testing.assert_allclose(atoms.get_forces(), expected.forces, **tolerance)
        charges = atoms.arrays["latent_charges"]
        np.testing.assert_allclose(charges, expected.charges, **tolerance)
    stress = crystal.get_stress(voigt=False)
    np.testing.assert_allclose(stress, predictions[1].stress, **tolerance)
    np.testing.assert_allclose(cluster.get_dipole_moment(), predictions[0].dipole, **tolerance)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--polarizability"], ["polarizability", "head"]),
        (["--field", "0", "0", "50"], ["field", "kV/cm"]),
        (["--epsilon-infinity", "0.5"], ["--epsilon-infinity", ">= 1.0", "0.5"]),
        (["--positive", "Na"], ["positive", "Na", "H, O"]),
        (["--sum-rule"], ["--sum-rule", "without --born-charges"]),
        (["--born-mode", "local"], ["--born-mode", "without --born-charges"]),
        (["--field-unit", "kV/cm"], ["--field-unit", "without --field"]),
    ],
)
def test_predict_refuses_what_cannot_be(
    option, words, model_path, structures, tmp_path, capsys
):
    out = tmp_path / "out.extxyz"
    assert main(["predict", str(model_path), str(structures), "-o", str(out), *option]) == 2
    assert_one_line_error(capsys, *words)
    assert not out.exists()


def test_the_name_of_the_output_says_its_format(model_path, structures, tmp_path, capsys):
    out = tmp_path / "out.traj"
    assert main(["predict", str(model_path), str(structures), "-o", str(out)]) == 2
    assert_one_line_error(capsys, "out.traj", ".extxyz")


def test_predict_in_a_field_with_born_charges(
    model_path, structures, predictions, tmp_path, capsys
):
    """Forces change by E.Z*, in kV/cm as in V/angstrom; the sum rule holds on request."""
    out = tmp_path / "out.extxyz"
    options = [
        "--born-charges",
        "--field",
        "0",
        "0",
        "5000",
        "--field-unit",
        "kV/cm",
        "--sum-rule",
    ]
    frame = f"{structures}@:1"
    arguments = ["predict", model_path, frame, "-o", out, "--dtype", "float64", *options]
    assert main(list(map(str, arguments))) == 0
    assert "the field acts on latent charges" in capsys.readouterr().out
    field = np.array([0.0, 0.0, 0.05])
    cluster = read(out, "0")
    born = cluster.arrays["bec"].reshape(-1, 3, 3)
    np.testing.assert_allclose(born.sum(axis=0), 0.0, atol=1e-6)
    change = cluster.get_forces() - predictions[0].forces
    assert np.abs(change).max() > 1e-5
    np.testing.assert_allclose(change, np.einsum("a,iab->ib", field, born), atol=1e-6)


def test_predict_does_not_write_over_its_input(model_path, structures, capsys):
    before, out = structures.read_bytes(), str(structures.parent / "out.extxyz")
    for given, files in (
        (structures, [structures]),
        (f"{structures}@:1", [structures]),
        (structures, [out, "--phonopy-born", structures]),
    ):
        command = ["predict", model_path, given, "-o", *files]
        assert main(list(map(str, command))) == 2
        assert_one_line_error(capsys, "is the input, whose labels would be lost")
    command = ["predict", model_path, structures, "-o", out, "--phonopy-born", out]
    assert main(list(map(str, command))) == 2
    assert_one_line_error(capsys, "is the output of -o")
    assert structures.read_bytes() == before


def test_predict_on_a_full_disk_leaves_the_old_file(model_path, structures, tmp_path):
    out = tmp_path / "out.extxyz"
    out.write_text("old", encoding="utf-8")
    frame = f"{structures}@:1"
    result = run_on_small_disk(50, "predict", model_path, frame, "-o", out)
    assert result.returncode == 2
    assert str(out) in result.stderr
    assert "Traceback" not in result.stderr
    assert out.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_directory_without_a_model_is_named(structures, tmp_path, capsys):
    assert main(["predict", str(tmp_path), str(structures), "-o", str(tmp_path / "out")]) == 2
    assert_one_line_error(capsys, str(tmp_path), "config.yaml")


def test_a_single_atom_and_an_empty_box_are_no_mistakes(folder):
    """Atoms without neighbours have finite energies and forces."""
    write(folder / "one.xyz", [Atoms("H"), Atoms("OH", [[0, 0, 0], [0, 0, 40]])])
    out = folder / "out.extxyz"
    assert (
        main(["predict", str(folder / "model"), str(folder / "one.xyz"), "-o", str(out)]) == 0
    )
    assert "nan" not in out.read_text(encoding="utf-8").lower()


def test_predict_on_the_mesh_agrees_with_the_direct_sum_and_says_so(
    model_path, structures, tmp_path, capsys
):
    forces = []
    for method in ("direct", "mesh"):
        out = tmp_path / f"{method}.xyz"
        options = ["--dtype", "float64", "--method", method, "--accuracy", "1e-6"]
        assert (
            main(["predict", str(model_path), str(structures), "-o", str(out), *options]) == 0
        )
        assert (": long range: particle mesh" in capsys.readouterr().out) == (method == "mesh")
        forces.append(read(out, "1").get_forces())
    np.testing.assert_allclose(*forces, atol=1e-5 * np.abs(forces[0]).max())


def test_an_accuracy_out_of_range_is_one_line(model_path, structures, tmp_path, capsys):
    arguments = [str(model_path), str(structures), "-o", str(tmp_path / "out.xyz")]
    assert main(["predict", *arguments, "--accuracy", "2"]) == 2
    assert "electrostatics.accuracy: expected float < 0.1, got 2.0" in capsys.readouterr().err


@pytest.mark.long
def test_prediction_files_hold_quadrupole_quantum_and_sum(tmp_path):
    config = small_config(backbone=small_backbone(n_radial_basis=1, l_max=1, body_order=2))
    save_model(tmp_path / "model", config, small_model(config)[1])
    frames = [rattled(0), rattled(1, pbc=False)]
    write(tmp_path / "in.xyz", frames, format="extxyz")
    arguments = [
        "predict",
        tmp_path / "model",
        tmp_path / "in.xyz",
        "-o",
        tmp_path / "o.extxyz",
    ]
    assert main([*map(str, arguments), "--born-charges", "--sum-rule"]) == 0
    crystal, cluster = read(tmp_path / "o.extxyz", ":")
    np.testing.assert_allclose(crystal.info["polarization_quantum"].reshape(3, 3), TRICLINIC)
    born = crystal.arrays["bec"].reshape(-1, 3, 3)
    # What was there before the sum rule took it off.
    assert np.abs(crystal.info["acoustic_sum"]).max() > 1e-3
    np.testing.assert_allclose(born.sum(axis=0), np.zeros((3, 3)), atol=1e-5)
    assert cluster.info["quadrupole"].size == 9
