"""The files of metrics."""

import pytest

from jles.errors import InputError
from jles.train.log import MetricsLog, describe


def test_metrics_files_hold_the_same_rows_and_drop_what_was_cut_off(tmp_path):
    log = MetricsLog(tmp_path)
    assert not log.exists()
    log.start(0)
    rows = [{"epoch": n, "step": 2 * n, "train_loss": 0.1 + n} for n in range(3)]
    for row in rows:
        log.append(row)
    assert log.rows() == rows
    lines = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,train_loss")
    assert [line.split(",")[3] for line in lines[1:]] == ["0.1", "1.1", "2.1"]
    whole = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    (tmp_path / "metrics.jsonl").write_text(whole[:-7], encoding="utf-8")
    assert log.rows() == rows[:2]
    log.start(1)
    assert log.rows() == rows[:1]
    assert len((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 2
    with pytest.raises(KeyError, match="colour"):
        log.append({"epoch": 1, "colour": 3})


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.jsonl"])
def test_metrics_on_a_full_disk_are_an_error_that_names_the_file(tmp_path, name):
    """/dev/full is a disk that is always full."""
    log = MetricsLog(tmp_path)
    log.start(0)
    log.append({"epoch": 0})
    written = (tmp_path / name).read_text(encoding="utf-8")
    (tmp_path / name).rename(tmp_path / "aside")
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(InputError, match=rf"{name}.*No space left.*--resume"):
        log.append({"epoch": 1})
    (tmp_path / name).unlink()
    (tmp_path / "aside").rename(tmp_path / name)
    log.start(1)
    assert (tmp_path / name).read_text(encoding="utf-8") == written
    assert [row["epoch"] for row in log.rows()] == [0]


def test_the_line_of_an_epoch_has_the_errors_of_all_trained_labels():
    row = {"train_loss": 0.1, "train_forces_rmse": 0.02, "train_born_charges_rmse": 0.0312}
    assert describe(row) == "loss 0.1  train 20 meV/Å born charges 0.0312 e"
