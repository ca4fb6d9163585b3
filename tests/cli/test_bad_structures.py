"""Structures that every command refuses, in one line that names file and frame."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from jles.cli.main import main
from tests.support.commands import assert_one_line_error, assert_refused, commands
from tests.support.small_systems import (
    labelled,
    rattled,
    write_frames,
)


def spoil(change):
    """Four valid frames, of which the third is changed."""
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
    """The atom lies on a periodic image of another atom."""
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
    if command == 1 and words[1] in ("'forces'", "'energy'"):
        # Labels are not read.
        assert main(list(map(str, arguments))) == 0
        return
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


def test_wires_have_no_long_range_sum(folder, capsys):
    wire = labelled(rattled(0, count=4))
    wire.pbc = (True, False, False)
    write_frames(folder / "data.xyz", [labelled(rattled(1, count=4)), wire, wire])
    for arguments in commands(folder):
        assert_refused(folder, capsys, arguments, "data.xyz, frame 1", "one direction only")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_an_element_the_model_has_not_seen_is_named(command, model_path, tmp_path, capsys):
    path = tmp_path / "salt.xyz"
    write(path, [molecule("H2O"), Atoms("NaCl", [[0, 0, 0], [0, 0, 2.4]])], format="extxyz")
    out = tmp_path / "out.extxyz"
    assert main([command, str(model_path), str(path), "--out", str(out)]) == 2
    assert_one_line_error(capsys, str(path), "frame 1", "Na", "H, O")
    assert not out.exists()
