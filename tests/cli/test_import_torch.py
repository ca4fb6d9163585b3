"""`jles import-torch`."""

from argparse import Namespace

from jles.cli import import_torch
from tests.support.messages import message_of


def test_a_model_is_not_overwritten_by_an_import(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.yaml").write_text("mine", encoding="utf-8")
    arguments = Namespace(checkpoint=str(tmp_path / "m.pth"), out=str(model), offsets=[])
    message = message_of(import_torch.run, arguments)
    assert str(model) in message
    assert "already holds a model" in message
    assert (model / "config.yaml").read_text(encoding="utf-8") == "mine"
