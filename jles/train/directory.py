"""The directory of a training run: where it is, and whether a run may start or resume there."""

from collections.abc import Mapping
from pathlib import Path

from jles.config import first_difference, from_dict, read_yaml, to_dict
from jles.errors import InputError
from jles.files import write_atomically
from jles.models.store import check_free
from jles.strict_yaml import to_yaml
from jles.train.checkpoints import Checkpoints
from jles.train.config import TrainConfig
from jles.train.log import MetricsLog


def run_directory(config: TrainConfig, out: str | None, source: str) -> Path:
    """The folder of a run: `--out`, else the config's `out`, else `runs/` + the file's name."""
    return Path(out or config.out or Path("runs") / Path(source).stem)


def check_directory(config: TrainConfig, out: Path, log: MetricsLog, resume: bool) -> None:
    """Refuses to overwrite a run or a model, and to resume with another config.

    Raises:
        InputError: names the directory and the first key that differs.
    """
    if not resume:
        if log.exists() or (out / "checkpoints").exists():
            raise InputError(f"{out}: already holds a run; give --resume or another --out")
        check_free(out)
        return
    stored_file = out / "train.yaml"
    if not stored_file.is_file():
        raise InputError(f"{out}: nothing to resume here (it has no train.yaml)")
    stored = from_dict(TrainConfig, read_yaml(stored_file), str(stored_file))
    changed = first_difference(what_to_train(stored), what_to_train(config))
    if changed:
        name, before, now = changed
        raise InputError(
            f"{stored_file}: --resume with another config ({name} was {before!r}, now "
            f"{now!r}); start a new run, from this model if you like (model.start_from), or "
            f"give {stored_file} as CONFIG"
        )


def check_data(out: Path, digests: Mapping[str, str], resume: bool) -> None:
    """Writes what the data of a new run are, or compares it with the data to resume with.

    Nothing is compared in a run of an earlier version, which wrote no digests.

    Args:
        out: directory of the run.
        digests: of the training and validation frames, by file.
        resume: whether the run continues.

    Raises:
        InputError: a file has changed; names it.
    """
    file = out / "digests.yaml"
    if not resume:
        write_atomically(file, to_yaml(dict(digests)))
        return
    before = read_yaml(file) if file.is_file() else digests
    for name in sorted({*before, *digests}):
        if before.get(name) != digests.get(name):
            raise InputError(
                f"{name}: --resume with other data than {out} began with; put the file back, "
                "or start a new run with another --out"
            )


def check_metrics(out: Path, log: MetricsLog, best_epoch: int) -> None:
    """Refuses to continue without the metrics of the best epoch, which the model keeps.

    Raises:
        InputError: they are not there.
    """
    if best_epoch >= 0 and all(row["epoch"] != best_epoch for row in log.rows()):
        raise InputError(
            f"{out / 'metrics.jsonl'}: has no row of epoch {best_epoch + 1}, the best of the "
            "run; put the file back, or start a new run with another --out"
        )


def what_to_train(config: TrainConfig) -> dict:
    """Plain values of a config that decide its results; not how and where they are found."""
    values = to_dict(config)
    del values["parallel"], values["data"]["workers"]
    return values


def after_interrupt(out: Path) -> str:
    """What `--resume` would do in the directory of an interrupted run."""
    folders = (out / "checkpoints" / name for name in ("last", "within"))
    if any(path.name.isdigit() for folder in folders for path in folder.glob("*")):
        return "; continue with --resume"
    if (out / "train.yaml").is_file():
        return "; there is no checkpoint yet, and --resume starts from the beginning"
    return ""


def has_checkpoint(
    config: TrainConfig, out: Path, log: MetricsLog, checkpoints: Checkpoints
) -> bool:
    """True if there is a checkpoint to resume from.

    A run killed before its first checkpoint starts again from the beginning. Its metrics may
    already hold the epochs that the checkpoint would have followed.

    Raises:
        InputError: the run had a checkpoint, and it is gone.
    """
    if any(checkpoints.newest(name) is not None for name in ("last", "within")):
        return True
    had_one = checkpoints.newest("best") is not None or (out / "config.yaml").exists()
    rows = len(log.rows())
    if had_one or rows > config.checkpoint_every:
        raise InputError(
            f"{out / 'checkpoints' / 'last'}: no checkpoint, yet the run has metrics of {rows} "
            "epochs; put it back, or start a new run with another --out"
        )
    return False
