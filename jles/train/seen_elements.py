"""Elements of a model that occur in its training data, and in that of `start_from`."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import chemical_symbols

from jles.data.frames import Frame, Outline
from jles.errors import InputWarning
from jles.models.store import read_model
from jles.train.config import ModelSection


def first_training(section: ModelSection) -> dict | None:
    """The record of the training of `start_from`; None for a new model."""
    start = section.start_from
    return None if start is None else read_model(start).training


def elements_record(frames: Sequence[Frame | Outline], before: Mapping | None) -> dict:
    """The elements of the training frames, as a model directory keeps them.

    Args:
        frames: of the training.
        before: the record of the model that the training started from; None for a new model.

    Returns:
        `trained_elements`, chemical symbols by atomic number. Empty if `before` has no such
        record: the elements that this model has seen are not known.
    """
    if before is not None and "trained_elements" not in before:
        return {}
    found = [np.asarray(frame.numbers) for frame in frames]
    seen = {chemical_symbols[z] for z in np.unique(np.concatenate(found))}
    seen |= set(before["trained_elements"]) if before else set()
    return {"trained_elements": sorted(seen, key=chemical_symbols.index)}


def warn_unseen(elements: Sequence[str], record: Mapping) -> None:
    """Warns of elements of the model that are not in the record of `elements_record`."""
    seen = record.get("trained_elements", elements)
    unseen = [symbol for symbol in elements if symbol not in seen]
    if unseen:
        warnings.warn(
            f"model.elements: {', '.join(unseen)} occur in no training frame; the model cannot "
            "predict structures with them",
            InputWarning,
            stacklevel=3,
        )
