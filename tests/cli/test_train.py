"""`jles train`: mistakes in the training file, damaged checkpoints, nothing to resume."""

import shutil

import pytest
import yaml

from jles.cli.main import main
from jles.config import override
from tests.support.commands import assert_refused, commands
from tests.support.small_systems import (
    labelled,
    rattled,
    training_values,
    write_frames,
)


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
        ({"set": "data.valid=nowhere.xyz"}, ["train.yaml.data.valid: nowhere.xyz: no such"]),
        ({"set": "data.train=nowhere.xyz"}, ["train.yaml.data.train: nowhere.xyz: no such"]),
        ({"set": "data.limit=1"}, ["train.yaml.data.valid_fraction (", "1 frames"]),
        ({"set": "model.screening={positive: Zr}"}, ["train.yaml.model.screening.positive: "]),
        (
            {"set": "model.backbone.r_max=3"},
            ["train.yaml.model.backbone.r_max: is another name"],
        ),
        ({"set": "model={start_from: model}"}, ["error: model: "]),
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


@pytest.mark.long
def test_a_damaged_checkpoint_is_named(folder, capsys, monkeypatch):
    """Its largest file is cut in half; with the file restored, the run continues."""
    from jles.train import loop
    from jles.train.log import MetricsLog

    shutil.copy(folder / "data.xyz", folder / "valid.xyz")
    write_config(folder, "model.charges=null", "epochs=2", f"data.valid={folder / 'valid.xyz'}")
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
