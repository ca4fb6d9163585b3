"""A run that cannot be started, or that blows up, is reported in one line."""

import os
import shutil

import pytest

import jles
from jles.cli.main import main
from jles.config import from_dict
from jles.dynamics import run_md
from jles.dynamics.config import MdConfig
from jles.dynamics.start import check_charge
from jles.errors import InputError
from jles.lock import only_writer
from tests.support.commands import assert_one_line_error, snapshot
from tests.support.md_runs import CONFIG, FIELD, contents, md


def bad_start(name, atoms):
    """Structures that cannot be run."""
    from ase.constraints import FixAtoms

    atoms = atoms.copy()
    if name == "element":
        atoms.symbols[0] = "Xe"
    elif name == "slab":
        atoms.pbc = (True, True, False)
    elif name == "cluster":
        atoms.pbc = False
    elif name == "overlap":
        atoms.positions[1] = atoms.positions[0]
    elif name == "constraint":
        atoms.set_constraint(FixAtoms([0]))
    return atoms


NPT = {"kind": "npt", "temperature": 300.0, "pressure": 0.0, "pressure_unit": "GPa"}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("element", {}, "has not seen Xe; it knows H, O"),
        ("slab", {"ensemble": NPT}, "'npt' needs a crystal"),
        ("cluster", {"displacement": FIELD}, "displacement: needs a crys"),
        ("overlap", {}, "on the same spot"),
        ("constraint", {}, "carries ASE constraints"),
        (
            "none",
            {"dtype": "float32"},
            "dtype: is float32, but the model was loaded as float64",
        ),
        ("none", {"ensemble": {"kind": "nve"}}, "set velocities.temperature (K;"),
        ("none", {"velocities": {"source": "file"}}, "the start has no velocities"),
        ("none", {"record": {"current": 1}}, "record: 'polarization' needs latent charges"),
        ("none", {"field": FIELD}, "field: the model has no charges"),
    ],
)
def test_a_start_that_cannot_be_run_is_refused(model, atoms, tmp_path, name, changes, words):
    with pytest.raises(InputError) as caught:
        run_md(model, bad_start(name, atoms), CONFIG | changes, tmp_path / "out")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bath", [NPT, {"kind": "nose-hoover", "temperature": 300.0}])
def test_a_total_charge_in_a_field_needs_friction(folder, atoms, tmp_path, bath):
    ion = atoms.copy()
    ion.info["total_charge"] = 1.0
    model = jles.load(folder / "charged", dtype="float64")
    with pytest.raises(InputError, match="accelerates a total charge of 1 e.*'langevin'"):
        run_md(model, ion, CONFIG | {"ensemble": bath, "field": FIELD}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    nothing = FIELD | {"amplitude": [0, 0, 0]}
    for charge, field in ((0.0, FIELD), (1.0, nothing), (1.0, None)):
        values = CONFIG | {"ensemble": bath, "field": field}
        check_charge(charge, from_dict(MdConfig, values, "config"))


def test_a_run_that_blows_up_names_step_atom_and_last_good_frame(model, atoms, tmp_path):
    close = atoms.copy()
    close.positions[1] = close.positions[0] + [0.05, 0.0, 0.0]
    fast = {"kind": "nve"}
    changes = {"ensemble": fast, "velocities": {"temperature": 300.0}}
    changes |= {"timestep": 300.0, "record": {"thermo": 1, "positions": 1}}
    with pytest.raises(InputError) as caught:
        run_md(model, close, CONFIG | changes, tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("step ")
    assert "atom " in message
    assert "last good frame is that of step" in message
    steps = contents(tmp_path / "out" / "trajectory.h5")["positions/step"]
    assert f"step {steps[-1]} in" in message


def test_a_run_does_not_replace_the_configuration_of_a_model(folder, capsys):
    before = snapshot(folder)
    assert md(folder, folder / "model") == 2
    assert "holds a model or a training; give another --out" in capsys.readouterr().err
    assert snapshot(folder) == before


def test_a_directory_is_checked_before_the_model_is_read(folder, whole, tmp_path, capsys):
    places = (tmp_path / "no model", folder / "start.xyz", folder / "md.yaml")
    for out, options in ((whole, []), (tmp_path / "new", ["--resume"])):
        assert main(["md", *map(str, places), "--out", str(out), *options]) == 2
        assert_one_line_error(capsys, str(out), "--resume")


def test_a_missing_start_and_one_of_many_frames_are_reported(folder, tmp_path, capsys):
    arguments = [str(folder / "model"), "nowhere.xyz", str(folder / "md.yaml")]
    assert main(["md", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert "nowhere.xyz: no such file" in capsys.readouterr().err
    arguments[1] = f"{folder / 'start.xyz'}@:"
    assert main(["md", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert "2 frames; give the index of one" in capsys.readouterr().err
    arguments[1] = f"{folder / 'start.xyz'}@7"
    assert main(["md", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert "start.xyz@7: there is no such frame" in capsys.readouterr().err
    cut = tmp_path / "cut.xyz"
    cut.write_text((folder / "start.xyz").read_text(encoding="utf-8")[:-4], encoding="utf-8")
    arguments[1] = str(cut)
    assert main(["md", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert "looks cut off" in capsys.readouterr().err


def test_a_checkpoint_of_something_else_is_refused(folder, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "out")
    for content in (b"PK damaged", b""):
        (tmp_path / "out" / "checkpoint" / "state.npz").write_bytes(content)
        assert md(folder, tmp_path / "out", "--resume") == 2
        assert "is damaged" in capsys.readouterr().err


@pytest.mark.long
def test_a_run_is_resumed_with_the_sum_it_was_started_with(folder, tmp_path, capsys):
    def run(*more):
        places = (folder / "charged", f"{folder / 'start.xyz'}@-1", folder / "md.yaml")
        arguments = ["md", *map(str, places), "--out", str(tmp_path / "out"), *more]
        # Without records of the energy, which would be compiled too.
        return main([*arguments, "--set", "steps=4", "record.extxyz=0", "record.thermo=0"])

    mesh = ["--method", "mesh", "--accuracy", "1e-3"]
    assert run(*mesh) == 0
    said = capsys.readouterr().err
    assert "long range: particle mesh" in said
    assert "step 4/4" in said
    assert run("--resume", "--method", "direct") == 2
    message = capsys.readouterr().err
    assert "started with another electrostatic sum (particle mesh" in message
    assert "resume it with --method mesh --accuracy 0.001" in message
    assert run("--resume", *mesh) == 0


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_the_directory_of_a_live_run_is_left_untouched(folder, whole, tmp_path, capsys, resume):
    """With and without --resume; the other process is named."""
    with only_writer(whole):
        before = snapshot(whole)
        assert md(folder, whole, *resume) == 2
        assert_one_line_error(capsys, str(whole), f"process {os.getpid()} ", "writing into it")
        assert snapshot(whole) == before
