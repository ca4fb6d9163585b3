"""A user's mistake: one line that names the thing, exit status 2, nothing half-written."""

import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write

from jles.cli.main import main
from jles.config import override
from jles.models.potential import build_potential
from jles.models.store import FORMAT_VERSION, save_model
from tests.support.cace_records import single
from tests.support.paths import ROOT
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

CONFIG = small_config(
    backbone=small_backbone(l_max=1, body_order=2), element_energies={"H": -1.0, "O": -2.0}
)


@pytest.fixture
def folder(tmp_path):
    """A model, a data file, a training file: all sound."""
    save_model(tmp_path / "model", CONFIG, small_model(CONFIG, dtype=np.float32)[1])
    data = write_frames(
        tmp_path / "data.xyz", [labelled(rattled(n, count=4)) for n in range(4)]
    )
    (tmp_path / "train.yaml").write_text(
        yaml.safe_dump(training_values(data)), encoding="utf-8"
    )
    return tmp_path


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(folder, capsys, arguments, *words):
    """One line, status 2, and every file as it was."""
    before = snapshot(folder)
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    # A slow machine shows progress ("frame 2 of 4") before the error.
    *progress, line = capsys.readouterr().err.splitlines()
    assert all(text.startswith(("frame ", "epoch ")) for text in progress)
    assert line.startswith("jles: error: ")
    for word in words:
        assert str(word) in line, line
    assert snapshot(folder) == before
    return line


def commands(folder):
    """Every command that reads structures from data.xyz."""
    out = folder / "out"
    return [
        ["train", folder / "train.yaml", "--out", out],
        ["predict", folder / "model", folder / "data.xyz", "-o", out / "p.extxyz"],
        ["evaluate", folder / "model", folder / "data.xyz", "--out", out],
    ]


# --- structures


def spoil(change):
    """Four sound frames, the third of them changed."""
    frames = [labelled(rattled(n, count=4)) for n in range(4)]
    change(frames[2])
    return frames


def put(name, value):
    """Sets positions or forces of atom 1."""

    def change(atoms):
        atoms.arrays[name][1, 2] = value

    return change


def coincide(atoms):
    atoms.positions[3] = atoms.positions[0]


def image_coincides(atoms):
    """On a periodic image of another atom, not on the atom."""
    atoms.positions[3] = atoms.positions[0] + atoms.cell.array[1]


def flatten(atoms):
    cell = atoms.cell.array
    cell[2] = cell[0] + cell[1]
    atoms.set_cell(cell)


BROKEN = {
    "NaN in positions": (put("positions", np.nan), ["frame 2", "atom 1", "nan"]),
    "inf in positions": (put("positions", np.inf), ["frame 2", "atom 1", "inf"]),
    "NaN in forces": (put("forces", np.nan), ["frame 2", "'forces'", "atom 1", "not finite"]),
    "inf in forces": (put("forces", -np.inf), ["frame 2", "'forces'", "atom 1", "not finite"]),
    "two atoms on one spot": (coincide, ["frame 2", "atom 0", "atom 3", "same spot"]),
    "an atom on an image": (image_coincides, ["frame 2", "atom 0", "atom 3", "same spot"]),
    "no volume": (flatten, ["frame 2", "no volume", "pbc"]),
    "NaN energy": (
        lambda atoms: atoms.info.update(energy=np.nan),
        ["frame 2", "'energy'", "not finite"],
    ),
    "a word for the charge": (
        lambda atoms: atoms.info.update(total_charge="minus"),
        ["frame 2", "'total_charge'", "minus"],
    ),
    "another element": (
        lambda atoms: atoms.symbols.__setitem__(1, "Xe"),
        ["frame 2", "Xe", "H, O"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("command", [0, 1, 2], ids=["train", "predict", "evaluate"])
def test_a_broken_frame_is_named(folder, capsys, command, name):
    change, words = BROKEN[name]
    write_frames(folder / "data.xyz", spoil(change))
    arguments = commands(folder)[command]
    if command == 0 and name == "another element":
        arguments += ["--set", "model.elements=[H, O]"]
    assert_refused(folder, capsys, arguments, folder / "data.xyz", *words)


@pytest.mark.parametrize("command", [0, 1, 2], ids=["train", "predict", "evaluate"])
@pytest.mark.parametrize("kept", [0.97, 0.6])
def test_a_truncated_file_is_named(folder, capsys, command, kept):
    text = (folder / "data.xyz").read_text(encoding="utf-8")
    (folder / "data.xyz").write_text(text[: int(kept * len(text))], encoding="utf-8")
    assert_refused(folder, capsys, commands(folder)[command], folder / "data.xyz", "frame")


@pytest.mark.parametrize("command", [0, 1, 2], ids=["train", "predict", "evaluate"])
def test_a_missing_empty_or_foreign_file_is_named(folder, capsys, command):
    path = folder / "data.xyz"
    for content, word in ((None, "no such file"), (b"", "empty"), (b"hello\nyou\n", "number")):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert_refused(folder, capsys, commands(folder)[command], path, word)


# --- the training file


def write_config(folder, *assignments, drop=None):
    values = training_values(str(folder / "data.xyz"))
    if drop:
        del values[drop]
    text = yaml.safe_dump(override(values, assignments))
    (folder / "train.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": "epochs"}, ["missing key 'epochs'"]),
        ({"drop": "model"}, ["missing key 'model'"]),
        ({"set": "epohcs=3"}, ["unknown key 'epohcs'", "'epochs'"]),
        ({"set": "model.backbone.cutof=3"}, ["model.backbone", "'cutof'", "'cutoff'"]),
        ({"set": "optimizer.learning_rate=fast"}, ["learning_rate", "fast"]),
        ({"set": "data.labels.forces=force"}, ["data.xyz", "'force'", "'forces'"]),
        ({"set": "loss.stress=1", "labels": ("energy", "forces")}, ["data.xyz", "'stress'"]),
        ({"set": "model.element_energies={Xe: 1.0}"}, ["element_energies", "Xe", "H, O"]),
        ({"set": "model.elements=[H]"}, ["data.xyz, frame 0", "O"]),
        ({"set": "data.valid=nowhere.xyz"}, ["nowhere.xyz"]),
        ({"set": "data.limit=1"}, ["1 frames"]),
    ],
)
def test_a_mistake_in_the_training_file_is_named(folder, capsys, change, words):
    if "labels" in change:
        frames = [labelled(rattled(n, count=4), change["labels"]) for n in range(4)]
        write_frames(folder / "data.xyz", frames)
    assignments = [change["set"]] if "set" in change else []
    write_config(folder, *assignments, drop=change.get("drop"))
    assert_refused(folder, capsys, commands(folder)[0], *words)
    if assignments:
        # The same mistake on the command line.
        write_config(folder)
        assert_refused(folder, capsys, [*commands(folder)[0], "--set", *assignments], *words)


def test_a_training_file_that_is_none_is_named(folder, capsys):
    path = folder / "train.yaml"
    for content in ("[1, 2", "just text", ""):
        path.write_text(content, encoding="utf-8")
        assert_refused(folder, capsys, commands(folder)[0], path)
    path.unlink()
    assert_refused(folder, capsys, commands(folder)[0], path, "cannot be read")
    write_config(folder)
    arguments = [*commands(folder)[0], "--set", "epochs"]
    assert_refused(folder, capsys, arguments, "epochs", "a.b=value")


def test_wires_have_no_long_range_sum(folder, capsys):
    wire = labelled(rattled(0, count=4))
    wire.pbc = (True, False, False)
    write_frames(folder / "data.xyz", [labelled(rattled(1, count=4)), wire, wire])
    for arguments in commands(folder):
        assert_refused(folder, capsys, arguments, "data.xyz, frame 1", "one direction only")


# --- models and checkpoints


def model_commands(folder):
    """Every command that reads the model."""
    start = f"model={{start_from: '{folder / 'model'}'}}"
    return [
        *commands(folder)[1:],
        ["info", folder / "model"],
        [*commands(folder)[0], "--set", start],
    ]


def torch_file(folder):
    config = small_config(normalize_features=False)
    params = random_params(build_potential(config), dtype=np.float32)
    return save(folder / "torch.pth", single(config, params))


@pytest.mark.parametrize("name", ["params.safetensors", "config.yaml", "metrics.json"])
def test_a_truncated_model_is_named(folder, capsys, name):
    path = folder / "model" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for arguments in model_commands(folder):
        assert_refused(folder, capsys, arguments, path)


def test_a_model_of_a_newer_format_is_named(folder, capsys):
    path = folder / "model" / "config.yaml"
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(record | {"format": FORMAT_VERSION + 1}), encoding="utf-8")
    for arguments in model_commands(folder):
        assert_refused(folder, capsys, arguments, path, "newer", "update jles")


def test_a_missing_model_is_named(folder, capsys):
    (folder / "model").rename(folder / "elsewhere")
    for arguments in model_commands(folder):
        assert_refused(folder, capsys, arguments, folder / "model", "config.yaml")


def test_a_truncated_torch_file_is_named(folder, capsys):
    path = torch_file(folder)
    whole = path.read_bytes()
    arguments = ["import-torch", path, "-o", folder / "imported"]
    for kept in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert_refused(folder, capsys, arguments, path)
    path.write_bytes(whole)
    assert main([str(argument) for argument in arguments]) == 0
    assert (folder / "imported" / "config.yaml").is_file()


@pytest.mark.long
def test_a_damaged_checkpoint_is_named(folder, capsys, monkeypatch):
    """The largest file of it is cut in half; put back, the run goes on."""
    from jles.train import loop
    from jles.train.log import MetricsLog

    write_config(folder, "model.charges=null", "epochs=2", f"data.valid={folder / 'data.xyz'}")
    arguments = [str(argument) for argument in commands(folder)[0]]

    def stop(self, row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt
        return append(self, row)

    append = MetricsLog.append
    monkeypatch.setattr(loop, "learning_curve", lambda *_: None)
    monkeypatch.setattr(loop, "validation_pictures", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", stop)
        assert main(arguments) == 130
    last = folder / "out" / "checkpoints" / "last"
    largest = max(
        (path for path in last.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    whole = largest.read_bytes()
    largest.write_bytes(whole[: len(whole) // 2])
    assert_refused(folder, capsys, [*arguments, "--resume"], last, "damaged")
    largest.write_bytes(whole)
    assert main([*arguments, "--resume"]) == 0


def test_resuming_what_is_not_there_is_refused(folder, capsys):
    arguments = [*commands(folder)[0], "--resume"]
    assert_refused(folder, capsys, arguments, folder / "out", "nothing to resume")


# --- full disks; training on one is in test_resume.py, predict in test_cli.py


_SMALL_DISK = """
import resource, sys
from jles.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["import-torch", "evaluate"])
def test_a_full_disk_is_told_and_leaves_nothing_half_written(folder, command):
    out = folder / "out"
    if command == "import-torch":
        arguments = [command, torch_file(folder), "-o", out]
    else:
        arguments = commands(folder)[2]
    before = snapshot(folder)
    result = subprocess.run(
        [sys.executable, "-c", _SMALL_DISK, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    # On a slow machine lines of progress stand before the one of the error.
    assert "Traceback" not in result.stderr
    (line,) = [text for text in result.stderr.splitlines() if text.startswith("jles: error: ")]
    assert line.startswith(f"jles: error: {out}")
    assert "free some space" in line
    assert snapshot(folder) == before


def test_places_that_cannot_be_written_are_named(folder, capsys):
    """A file stands where a folder should be."""
    (folder / "out").write_text("mine", encoding="utf-8")
    for arguments in commands(folder)[1:]:
        assert_refused(folder, capsys, arguments, folder / "out")
    assert_refused(folder, capsys, ["demo", "--out", folder / "out"], folder / "out")


def test_a_single_atom_and_an_empty_box_are_no_mistakes(folder):
    """Nothing near: energies and forces are finite."""
    write(folder / "one.xyz", [Atoms("H"), Atoms("OH", [[0, 0, 0], [0, 0, 40]])])
    out = folder / "out.extxyz"
    assert (
        main(["predict", str(folder / "model"), str(folder / "one.xyz"), "-o", str(out)]) == 0
    )
    assert "nan" not in out.read_text(encoding="utf-8").lower()
