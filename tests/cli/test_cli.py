"""The program: what it lists, how it fails, and that its commands say what the model says."""

import errno
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

import jles
from jles.cli import info
from jles.cli.evaluate import statistics
from jles.cli.import_torch import parse_offsets
from jles.cli.main import build_parser, main
from jles.cli.sums import sum_options
from jles.errors import InputError
from jles.models.config import CaceConfig, ChargeConfig, ModelConfig
from jles.models.potential import build_potential
from jles.models.store import save_model
from tests.support.paths import ROOT

COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "predict",
    "md",
    "serve",
    "analyse",
    "import-torch",
    "info",
)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small"
    backbone = CaceConfig(
        cutoff=3.0, n_rbf=2, n_radial_basis=2, n_atom_basis=1, l_max=1, body_order=2
    )
    # An untrained energy is flat; charges this large make forces that a file keeps to all digits.
    charges = ChargeConfig(scale=3.0)
    offsets = {"H": -3.0, "O": -7.0}
    config = ModelConfig(("H", "O"), backbone, charges=charges, element_energies=offsets)
    save_model(path, config, build_potential(config).init(jax.random.key(1)))
    return path


@pytest.fixture(scope="module")
def structures(tmp_path_factory):
    """A water molecule and one in a box."""
    path = tmp_path_factory.mktemp("data") / "in.xyz"
    crystal = molecule(
        "H2O", cell=[[4.0, 0.0, 0.0], [0.5, 4.5, 0.0], [0.0, 0.3, 5.0]], pbc=True
    )
    write(path, [molecule("H2O"), crystal], format="extxyz")
    return path


@pytest.fixture(scope="module")
def predictions(model_path, structures):
    """What the model itself says of them, in float64."""
    model = jles.load(model_path, dtype="float64")
    want = ("energy", "forces", "charges")
    cluster, crystal = read(structures, ":")
    return model.predict(cluster, (*want, "dipole")), model.predict(crystal, (*want, "stress"))


def run_program(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        check=False,
        text=True,
        **options,
    )


def assert_one_line_error(capsys, *words):
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("jles: error: ")
    assert all(word in line for word in words), line


def test_help_lists_every_command_and_ends_well(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    listed = capsys.readouterr().out
    assert all(f"\n    {command}" in listed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: jles {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["trian"], ["info"], ["info", "m", "--dtype", "f8"]])
def test_a_wrong_command_line_ends_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "jles" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (InputError("train.yaml: two\n  lines"), ["train.yaml: two lines"]),
        (OSError(errno.ENOSPC, "No space left on device", "big.bin"), ["big.bin", "No space"]),
        (PermissionError(errno.EACCES, "Permission denied", "secret"), ["secret", "denied"]),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(raised, words, monkeypatch, capsys):
    def fail(_):
        raise raised

    monkeypatch.setattr(info, "run", fail)
    assert main(["info", "model"]) == 2
    assert_one_line_error(capsys, *words)


def test_a_mistake_of_the_program_keeps_its_traceback(monkeypatch):
    def fail(_):
        raise KeyError("a bug")

    monkeypatch.setattr(info, "run", fail)
    with pytest.raises(KeyError):
        main(["info", "model"])


def test_an_interrupt_ends_with_status_130(monkeypatch, capsys):
    def fail(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", fail)
    assert main(["info", "model"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error_message(model_path):
    reading, writing = os.pipe()
    os.close(reading)
    result = run_program(
        "-m", "jles", "info", model_path, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert result.stderr == ""
    assert result.returncode == 141


def test_info_names_what_the_model_is(model_path, capsys):
    assert main(["info", str(model_path)]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("H, O", "cutoff: 3.0", "sigma", "eV", "-7.0"))


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
        (["--epsilon-infinity", "0.5"], ["--epsilon-infinity", "at least 1", "0.5"]),
        (["--positive", "Na"], ["positive", "Na", "H, O"]),
    ],
)
def test_predict_refuses_what_cannot_be(
    option, words, model_path, structures, tmp_path, capsys
):
    out = tmp_path / "out.extxyz"
    assert main(["predict", str(model_path), str(structures), "-o", str(out), *option]) == 2
    assert_one_line_error(capsys, *words)
    assert not out.exists()


def test_predict_in_a_field_with_born_charges(model_path, structures, predictions, tmp_path):
    """Forces change by E.Z*, in kV/cm as in V/angstrom; the sum rule holds where it is asked."""
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
    field = np.array([0.0, 0.0, 0.05])
    cluster = read(out, "0")
    born = cluster.arrays["bec"].reshape(-1, 3, 3)
    np.testing.assert_allclose(born.sum(axis=0), 0.0, atol=1e-6)
    change = cluster.get_forces() - predictions[0].forces
    assert np.abs(change).max() > 1e-5
    np.testing.assert_allclose(change, np.einsum("a,iab->ib", field, born), atol=1e-6)


def test_predict_does_not_write_over_its_input(model_path, structures, capsys):
    before = structures.read_bytes()
    assert main(["predict", str(model_path), str(structures), "-o", str(structures)]) == 2
    assert_one_line_error(capsys, "is the input, whose labels would be lost")
    assert structures.read_bytes() == before


def test_predict_on_a_full_disk_leaves_the_old_file(model_path, structures, tmp_path):
    out = tmp_path / "out.extxyz"
    out.write_text("old", encoding="utf-8")

    program = """if True:
        import resource, sys
        from jles.cli.main import main
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
        sys.exit(main(sys.argv[1:]))
    """
    result = run_program(
        "-c", program, "predict", model_path, f"{structures}@:1", "-o", out, capture_output=True
    )
    assert result.returncode == 2
    assert str(out) in result.stderr
    assert "Traceback" not in result.stderr
    assert out.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.fixture(scope="module")
def labelled(structures, predictions, tmp_path_factory):
    """The structures with the model's own results as labels, energies 0.25 eV/atom higher."""
    frames = read(structures, ":")
    for atoms, out in zip(frames, predictions, strict=True):
        atoms.info["energy"] = out.energy + 0.25 * len(atoms)
        atoms.arrays["forces"] = out.forces
        if atoms.pbc.any():
            atoms.info["stress"] = out.stress
        else:
            atoms.info["dipole_ref"] = -out.dipole
    path = tmp_path_factory.mktemp("data") / "labelled.xyz"
    write(path, frames, format="extxyz")
    return path


def test_evaluate_finds_the_error_that_was_put_in(model_path, labelled, tmp_path, capsys):
    out = tmp_path / "evaluation"
    arguments = ["evaluate", model_path, labelled, "--out", out, "--dtype", "float64"]
    assert main(list(map(str, arguments))) == 0
    record = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    errors = record["errors"]
    assert set(errors) == {
        "energy_per_atom",
        "energy_per_atom_shifted",
        "forces",
        "stress",
        "dipole",
    }
    assert errors["energy_per_atom"]["mae"] == pytest.approx(0.25, rel=1e-6)
    assert errors["energy_per_atom_shifted"]["rmse"] < 1e-6
    assert errors["forces"]["count"] == 2 * 9
    # The sign of latent charges is arbitrary, and the data has the other one.
    for name in ("forces", "stress", "dipole"):
        assert errors[name]["rmse"] < 1e-6
        assert errors[name]["r2"] == pytest.approx(1.0, abs=1e-6)
        assert (out / f"parity_{name}.png").stat().st_size > 0
    assert any("sign" in note for note in record["notes"])
    assert "forces" in capsys.readouterr().out


def test_evaluate_without_labels_says_what_it_looked_for(model_path, structures, capsys):
    assert main(["evaluate", str(model_path), str(structures)]) == 2
    assert_one_line_error(capsys, str(structures), "no label", "energy, forces, stress")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_an_element_the_model_has_not_seen_is_named(command, model_path, tmp_path, capsys):
    path = tmp_path / "salt.xyz"
    write(path, [molecule("H2O"), Atoms("NaCl", [[0, 0, 0], [0, 0, 2.4]])], format="extxyz")
    out = tmp_path / "out.extxyz"
    assert main([command, str(model_path), str(path), "--out", str(out)]) == 2
    assert_one_line_error(capsys, str(path), "frame 1", "Na", "H, O")
    assert not out.exists()


def test_a_directory_without_a_model_is_named(structures, tmp_path, capsys):
    assert main(["predict", str(tmp_path), str(structures), "-o", str(tmp_path / "out")]) == 2
    assert_one_line_error(capsys, str(tmp_path), "config.yaml")


def test_offsets_are_read_and_bad_ones_named():
    assert parse_offsets(["H=-5.853", "O=-2.9e0"]) == {"H": -5.853, "O": -2.9}
    for wrong in ("H", "=3", "H=", "H=x", "H=nan", "H=inf"):
        with pytest.raises(InputError, match="ELEMENT=eV"):
            parse_offsets([wrong])
    with pytest.raises(InputError, match="twice"):
        parse_offsets(["H=1", "H=2"])


def test_statistics_know_their_limits(rng):
    reference = rng.normal(size=50)
    assert statistics(reference, reference) == {"count": 50, "mae": 0.0, "rmse": 0.0, "r2": 1.0}
    mean = np.full(50, reference.mean())
    assert statistics(reference, mean)["r2"] == pytest.approx(0.0, abs=1e-12)
    assert statistics(reference, mean)["rmse"] == pytest.approx(reference.std())
    assert statistics(reference, reference + 2.0)["mae"] == pytest.approx(2.0)
    assert statistics(np.ones(3), np.zeros(3))["r2"] is None


@pytest.mark.parametrize("command", ["predict", "evaluate", "md", "serve"])
def test_the_sum_can_be_chosen_on_the_command_line(command):
    """Either option alone leaves the other at the model's value."""
    inputs = {
        "predict": ["model", "in.xyz", "-o", "out.xyz"],
        "evaluate": ["model", "in.xyz"],
        "md": ["model", "in.xyz", "md.yaml"],
        "serve": ["--ipi", "model", "in.xyz"],
    }[command]

    def options(*more):
        return sum_options(build_parser().parse_args([command, *inputs, *more]))

    assert options() == {}
    assert options("--method", "mesh") == {"method": "mesh"}
    assert options("--accuracy", "1e-3") == {"accuracy": 1e-3}
    with pytest.raises(SystemExit):
        options("--method", "fast")


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
        assert ("note: long range: particle mesh" in capsys.readouterr().out) == (
            method == "mesh"
        )
        forces.append(read(out, "1").get_forces())
    np.testing.assert_allclose(*forces, atol=1e-5 * np.abs(forces[0]).max())


def test_an_accuracy_out_of_range_is_one_line(model_path, structures, tmp_path, capsys):
    arguments = [str(model_path), str(structures), "-o", str(tmp_path / "out.xyz")]
    assert main(["predict", *arguments, "--accuracy", "2"]) == 2
    assert "accuracy must lie between" in capsys.readouterr().err
