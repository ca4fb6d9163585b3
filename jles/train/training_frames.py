"""The training and validation frames of a run: where they are read, and what they must have."""

import warnings
from collections.abc import Sequence

import numpy as np

from jles.config import under_key
from jles.data.frames import (
    Frame,
    LabelKeys,
    Outline,
    absent,
    digests,
    read_frames,
    renamed,
)
from jles.data.selections import first_common
from jles.data.shards.layout import is_shards
from jles.data.shards.stored import StoredFrames, only_shards
from jles.data.splits import split_places
from jles.errors import ConfigError, InputError, InputWarning
from jles.train.config import DataConfig, TrainConfig
from jles.train.losses import LABELS
from jles.train.optimizer import at_epoch

Frames = list[Frame] | StoredFrames
"""Frames in memory, or in shards."""


def digests_of(*sets: Frames) -> dict[str, str]:
    """A short digest of every file or directory of shards, by its name."""
    stored = [frames for frames in sets if isinstance(frames, StoredFrames)]
    found = digests([one for frames in sets if isinstance(frames, list) for one in frames])
    return found | {str(frames.folder): frames.digest() for frames in stored}


def kinds_of(frames: Frames) -> Sequence[Frame | Outline]:
    """Frames whose elements, cells, charges and labels are those of all of them."""
    return frames.distinct() if isinstance(frames, StoredFrames) else frames


def needed_labels(config: TrainConfig) -> tuple[str, ...]:
    """Labels whose weight is positive at some epoch."""
    return tuple(
        name
        for name, weights in config.loss.schedules().items()
        if any(weight for first, weight in weights.items() if first < config.epochs)
    )


def judging_labels(config: TrainConfig) -> tuple[str, ...]:
    """Labels with a weight in the last epoch, by which the best epoch is chosen.

    Raises:
        InputError: there is none.
    """
    last = config.epochs - 1
    names = tuple(name for name in LABELS if at_epoch(getattr(config.loss, name), last))
    if not names:
        raise ConfigError(
            f"loss: every label has weight 0 in the last epoch ({last}), whose weights decide "
            "which epoch is the best; give one a weight there"
        )
    return names


def load_frames(
    data: DataConfig, need: tuple[str, ...], judging: tuple[str, ...] | None = None
) -> tuple[Frames, Frames]:
    """Training and validation frames of a run.

    Args:
        data: which they are.
        need: labels of the training frames.
        judging: labels by which the best epoch is chosen; those of `need` by default.

    Raises:
        InputError: as `read_frames`; no training frame has a label of `need`, or no validation
            frame has one of `judging`; a named total charge or state that no frame has.
    """
    judging = need if judging is None else judging
    train = _read("train", data.train, data.labels)
    for name in need:
        if not _have(train, name):
            raise InputError(_no_label(data, name, train, to_list(data.train)))
    if data.limit is not None:
        train = _take(train, np.arange(min(data.limit, len(train))))
    if data.valid:
        valid = _read("valid", data.valid, data.labels)
    else:
        try:
            places = split_places(len(train), data.valid_fraction, data.split_seed)
        except InputError as error:
            files = _listed(to_list(data.train))
            raise ConfigError(f"data.valid_fraction ({files}): {error}") from None
        train, valid = (_take(train, part) for part in places)
    _check_named(data, train, valid)
    for name in need:
        if not _have(train, name):
            raise InputError(_no_label(data, name, train, to_list(data.train)))
    if judging and not any(_have(valid, name) for name in judging):
        raise InputError(
            f"validation data ({_listed(to_list(data.valid or data.train))}): none of the "
            f"{len(valid)} frames has {' or '.join(judging)} (labels with a weight in the last "
            "epoch), so the best epoch cannot be found"
        )
    return train, valid


def warn_overlap(data: DataConfig) -> None:
    """Warns of the first validation file with frames that are also trained on, by the names."""
    file = first_common(to_list(data.valid), to_list(data.train))
    if file is not None:
        warnings.warn(
            f"data.valid: {file} has frames that data.train also names; their errors say "
            "nothing about new frames. Name others, or leave out valid to hold some out",
            InputWarning,
            stacklevel=3,
        )


def _read(key: str, files, labels: LabelKeys) -> Frames:
    """The frames of files, or those of one directory of shards."""
    files = to_list(files)
    with under_key(f"data.{key}"):
        frames = only_shards(files)
        if frames is None:
            return [frame for file in files for frame in read_frames(file, labels)]
    for name, stored in frames.index.keys.items():
        named = getattr(labels, name, stored)
        if named not in (stored, getattr(LabelKeys(), name, stored)):
            raise ConfigError(
                f"data.labels.{name} is '{named}', but {files[0]} was built with '{stored}'; "
                "take the key out, or build the shards again with --labels"
            )
    return frames


def _check_named(data: DataConfig, train: Frames, valid: Frames) -> None:
    """Refuses a key of total charge or state that is named and that no frame has.

    Shards were checked when they were built.
    """
    if isinstance(train, StoredFrames):
        return
    frames = [*train, *(valid if isinstance(valid, list) else ())]
    files = [file for file in to_list(data.train) + to_list(data.valid) if not is_shards(file)]
    named = set(renamed(data.labels)) & {"total_charge", "state"}
    for name in absent(sorted(named), frames):
        lacking = _lacking(files, data.labels, name)
        if len(lacking) == len(files):
            raise ConfigError(f"data.labels.{name}: {_listed(lacking, '; ')}")


def _lacking(files: Sequence[str], labels: LabelKeys, name: str) -> list[str]:
    """What is wrong with each of the files in which no frame has the label."""
    found = []
    for file in files:
        try:
            read_frames(file, labels, (name,))
        except InputError as error:
            found.append(str(error))
    return found


def _take(frames: Frames, places: np.ndarray) -> Frames:
    if isinstance(frames, StoredFrames):
        return frames.take(places)
    return [frames[n] for n in places]


def to_list(files) -> list[str]:
    """One or several file names as a list."""
    return [files] if isinstance(files, str) else list(files)


def _have(frames: Frames, name: str) -> bool:
    """True if some frame has the label; stress counts for crystals only."""
    return any(name in f.labels and (name != "stress" or f.pbc.all()) for f in kinds_of(frames))


def _no_label(data: DataConfig, name: str, frames: Frames, files: list[str]) -> str:
    """Names the files that lack a label, or says that only unused frames have it."""
    if isinstance(frames, StoredFrames):
        labels = sorted({key for frame in kinds_of(frames) for key in frame.labels})
        return (
            f"{frames.folder}: none of the {len(frames)} training frames has the label {name}; "
            f"they have {', '.join(labels) or 'none'}; loss.{name} has a weight, so training "
            "needs it"
        )
    lacking = _lacking(files, data.labels, name)
    if len(lacking) == len(files):
        return f"{_listed(lacking, '; ')}; loss.{name} has a weight, so training needs it"
    of_crystals = ", periodic in all directions," if name == "stress" else ""
    return (
        f"training data ({_listed(files)}): none of the {len(frames)} frames left by "
        f"data.limit and the held-out part{of_crystals} has '{getattr(data.labels, name)}' "
        f"(the label {name}), but others have; "
        f"change data.limit or data.split_seed, or set loss.{name} to 0"
    )


def _listed(texts: list[str], separator: str = ", ", most: int = 4) -> str:
    rest = [f"and {len(texts) - most} more files"] if len(texts) > most else []
    return separator.join([*texts[:most], *rest])
