"""Scheduled weights and the number of epochs: what is never reached, and how it stretches."""

import warnings
from typing import Any

from jles.errors import InputWarning
from jles.train.config import TrainConfig


def warn_unreached(config: TrainConfig) -> None:
    """Warns if a weight begins after the last epoch and is never used."""
    unreached = [
        f"loss.{name} has a weight from epoch {first} on"
        for name, weights in config.loss.schedules().items()
        for first in sorted(weights)
        if first >= config.epochs
    ]
    if unreached:
        warnings.warn(
            f"{', '.join(unreached)}, which is never reached, since epochs is {config.epochs}; "
            "give the weight an earlier epoch",
            InputWarning,
            stacklevel=3,
        )


def stretched(loss: dict[str, Any], factor: float) -> dict[str, Any]:
    """The section `loss` of a training of `factor` times as many epochs, as plain values.

    Epochs at which weights change are multiplied and stay behind epoch 0. What is not a
    schedule is kept as it is.
    """
    result = dict(loss)
    for name, weights in loss.items():
        if isinstance(weights, dict) and all(isinstance(first, int) for first in weights):
            result[name] = {
                first and max(1, round(factor * first)): weight
                for first, weight in sorted(weights.items())
            }
    return result
