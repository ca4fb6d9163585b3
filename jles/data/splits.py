"""Setting frames aside for validation."""

from collections.abc import Sequence

import numpy as np

from jles.data.frames import Frame
from jles.errors import InputError


def split_frames(
    frames: Sequence[Frame], validation: float | int, seed: int
) -> tuple[list[Frame], list[Frame]]:
    """Training and validation frames, as `split_places`."""
    train, valid = split_places(len(frames), validation, seed)
    return [frames[n] for n in train], [frames[n] for n in valid]


def split_places(
    count: int, validation: float | int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places of training and validation frames, each in the order of the file; reproducible.

    Args:
        count: number of all frames.
        validation: how many to set aside: a whole number, or a fraction below 1 (at least one
            frame).
        seed: of the draw.

    Raises:
        InputError: a negative number, or one that leaves nothing to train on.
    """
    fraction = isinstance(validation, float) and 0.0 < validation < 1.0
    held = max(1, round(validation * count)) if fraction else int(validation)
    if held != validation and not fraction:
        raise InputError(f"validation must be a whole number or below 1, got {validation}")
    if not 0 <= held < count:
        raise InputError(
            f"validation {validation} asks for {held} of {count} frames; "
            "it must leave at least one for training"
        )
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).permutation(count)[:held]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
