"""The directory of a training run: where it is, and whether a run may start or resume there."""

from pathlib import Path

from jles.config import first_difference, from_dict, read_yaml, to_dict
from jles.errors import InputError
from jles.models.store import check_free
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
            f"{now!r}); start a new run instead, from this model if you like (model.start_from)"
        )


def what_to_train(config: TrainConfig) -> dict:
    """Plain values of a config that decide its results; not how and where they are found."""
    values = to_dict(config)
    del values["parallel"], values["data"]["workers"]
    return values


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
