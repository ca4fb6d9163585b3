"""Running a model over the frames of a file, as several commands do."""

from argparse import Namespace
from collections.abc import Mapping, Sequence

import numpy as np

from jles.cli.sums import sum_options
from jles.config import from_dict
from jles.data.frames import Frame, LabelKeys
from jles.errors import InputError

_MOST_NOTES = 3


def load(arguments: Namespace, path=None):
    """The model of a command line, or that in `path`, with the screening options applied."""
    import jles
    from jles.models.config import ScreeningConfig
    from jles.predict.model import load_model

    path = arguments.model if path is None else path
    epsilon, positive = arguments.epsilon_infinity, arguments.positive
    sums = sum_options(arguments)
    model = jles.load(path, dtype=arguments.dtype, electrostatics=sums)
    if epsilon is None and positive is None:
        return model
    own = model.config.screening
    try:
        screening = ScreeningConfig(
            own.epsilon_infinity if epsilon is None else epsilon,
            own.positive if positive is None else positive,
        )
        return load_model(path, arguments.dtype, screening, sums)
    except InputError as error:
        raise InputError(f"--epsilon-infinity or --positive: {error}") from None


def label_keys(model) -> LabelKeys:
    """Names of the labels in the training data of the model, used to read other data for it."""
    return from_dict(LabelKeys, model.label_keys, "label_keys of the model's config.yaml")


def plan(model, frames: Sequence[Frame]) -> None:
    """Plans few sizes for all frames; errors name the file and the frame."""
    model.plan([atoms_of(model, f) for f in frames], [f.source for f in frames])


def atoms_of(model, frame: Frame):
    """The `ase.Atoms` of a frame without labels, with total charge and state for `model`."""
    from ase import Atoms

    keys = label_keys(model)
    info = {keys.total_charge: frame.total_charge} if frame.has("total_charge") else {}
    atoms = Atoms(
        numbers=frame.numbers,
        positions=frame.positions,
        cell=frame.cell,
        pbc=frame.pbc,
        info=info,
    )
    if frame.state is not None and model.config.has_labels:
        by_atom = np.shape(frame.state) == frame.numbers.shape
        (atoms.arrays if by_atom else atoms.info)[keys.state] = frame.state
    return atoms


def note_lines(notes: Mapping[str, Sequence[str]], where: str, rest: str = "") -> list[str]:
    """Notes of predictions in lines; of many notes those of most frames.

    Numbers in a note make it another one in every frame.

    Args:
        notes: the frames of every note.
        where: the model.
        rest: where the other notes are, in words.
    """
    lines = []
    for note, sources in sorted(notes.items(), key=lambda item: -len(item[1]))[:_MOST_NOTES]:
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        lines.append(f"{sources[0]}{more}, {where}: {note}")
    if len(notes) > _MOST_NOTES:
        lines.append(f"and {len(notes) - _MOST_NOTES} more notes{rest}")
    return lines


def predict_frame(model, frame: Frame, want: Sequence[str], **options):
    """The model's `Prediction` for a frame; options as in `Model.predict`.

    Raises:
        InputError: names the file and the frame.
    """
    try:
        return model.predict(atoms_of(model, frame), want=tuple(want), **options)
    except InputError as error:
        raise InputError(f"{frame.source}: {error}") from None
