"""Setting frames aside for validation."""

from collections.abc import Sequence

import numpy as np

from jles.data.frames import Frame
from jles.errors import InputError


def split_frames(
    frames: Sequence[Frame], validation: float | int, seed: int
) -> tuple[list[Frame], list[Frame]]:
    """Training and validation frames, each in the order of the file; reproducible.

    Args:
        frames: all of them.
        validation: how many to set aside: a whole number, or a fraction below 1 (at least one
            frame).
        seed: of the draw.

    Raises:
        InputError: a negative number, or one that leaves nothing to train on.
    """
    fraction = isinstance(validation, float) and 0.0 < validation < 1.0
    count = max(1, round(validation * len(frames))) if fraction else int(validation)
    if count != validation and not fraction:
        raise InputError(f"validation must be a whole number or below 1, got {validation}")
    if not 0 <= count < len(frames):
        raise InputError(
            f"validation {validation} asks for {count} of {len(frames)} frames; "
            "it must leave at least one for training"
        )
    chosen = set(np.random.default_rng(seed).permutation(len(frames))[:count].tolist())
    return (
        [frame for n, frame in enumerate(frames) if n not in chosen],
        [frame for n, frame in enumerate(frames) if n in chosen],
    )
