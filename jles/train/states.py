"""Charge and spin states of the training frames: what a model cannot tell apart."""

from collections.abc import Mapping, Sequence

from jles.data.frames import Frame, LabelKeys, Outline
from jles.errors import ConfigError, InputError
from jles.models.config import ModelConfig
from jles.models.state import checked_labels, reduced_formula
from jles.models.state_config import SAME_CHARGE


def check_states(
    model: ModelConfig, frames: Sequence[Frame | Outline], keys: LabelKeys
) -> None:
    """Refuses frames whose charge or label the model cannot see.

    Frames of the same atoms and different total charge have different energies, so a model
    whose energy does not depend on the charge cannot learn both. Frames of other atoms may have
    other charges: their composition tells them apart.

    Raises:
        InputError: two such frames, labels that are named but not read, or a frame without
            labels or with one that the model does not know; the frames are named.
    """
    if not model.has_labels and keys.state != LabelKeys().state:
        raise ConfigError(
            f"data.labels.state is '{keys.state}', but model.state.labels is empty: no label "
            "is read; list those that occur, or take the key out"
        )
    if model.has_labels:
        for frame in frames:
            # Those of stored frames are checked by `check_labels` when they are read.
            if isinstance(frame, Frame):
                check_labels(model, frame, keys)
    if model.sees_charge:
        return
    first: dict[tuple, Frame | Outline] = {}
    for frame in frames:
        other = first.setdefault(tuple(sorted(frame.numbers.tolist())), frame)
        if abs(other.total_charge - frame.total_charge) > SAME_CHARGE:
            raise InputError(
                f"{frame.source}: total charge {frame.total_charge:g} e; {other.source} has "
                f"the same atoms and {other.total_charge:g} e, but the model does not see it: "
                "set model.state, or model.charges.total to shift"
            )


def check_labels(model: ModelConfig, frame: Frame, keys: LabelKeys) -> None:
    """Refuses a frame without labels of its atoms, or with one that the model does not know.

    Raises:
        InputError: names the frame, the atom and the label.
    """
    try:
        checked_labels(frame.state, len(frame.numbers), model.state, keys.state)
    except InputError as error:
        raise InputError(f"{frame.source}: {error}") from None


def charges_record(frames: Sequence[Frame | Outline], before: Mapping = {}) -> dict:
    """The charges of the training, as a model directory keeps them.

    Args:
        frames: of the training.
        before: the record of the model that the training started from.

    Returns:
        `total_charges`, every charge once, e; `charges_by_formula`, the charges per reduced
        formula of those formulas that occur with a charge.
    """
    charges = {float(q) for q in before.get("total_charges", ())}
    by_formula: dict[str, set[float]] = {}
    for formula, found in before.get("charges_by_formula", {}).items():
        by_formula[formula] = set(found)
    for frame in frames:
        charge = float(frame.total_charge) + 0.0
        formula, units = reduced_formula(frame.numbers)
        charges.add(charge)
        by_formula.setdefault(formula, set()).add(charge / units)
    return {
        "total_charges": sorted(charges),
        "charges_by_formula": {
            formula: sorted(found) for formula, found in by_formula.items() if found != {0.0}
        },
    }
