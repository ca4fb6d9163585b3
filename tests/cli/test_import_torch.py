"""`jles import-torch`."""

from argparse import Namespace

import pytest

from jles.cli import import_torch
from jles.cli.import_torch import parse_offsets
from jles.cli.main import main
from jles.errors import InputError
from tests.support.commands import assert_refused
from tests.support.messages import message_of


def test_offsets_are_read_and_bad_ones_named():
    assert parse_offsets(["H=-5.853", "O=-2.9e0"]) == {"H": -5.853, "O": -2.9}
    for wrong in ("H", "=3", "H=", "H=x", "H=nan", "H=inf"):
        with pytest.raises(InputError, match="ELEMENT=eV"):
            parse_offsets([wrong])
    with pytest.raises(InputError, match="twice"):
        parse_offsets(["H=1", "H=2"])


def test_a_model_is_not_overwritten_by_an_import(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.yaml").write_text("mine", encoding="utf-8")
    arguments = Namespace(checkpoint=str(tmp_path / "m.pth"), out=str(model), offsets=[])
    message = message_of(import_torch.run, arguments)
    assert str(model) in message
    assert "already holds a model" in message
    assert (model / "config.yaml").read_text(encoding="utf-8") == "mine"


def test_a_truncated_torch_file_is_named(folder, torch_file, capsys):
    path = torch_file
    whole = path.read_bytes()
    arguments = ["import-torch", path, "-o", folder / "imported"]
    for kept in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert_refused(folder, capsys, arguments, path)
    path.write_bytes(whole)
    assert main([str(argument) for argument in arguments]) == 0
    assert (folder / "imported" / "config.yaml").is_file()
