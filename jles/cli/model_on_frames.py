"""What the commands that run a model over a file share: frames and predictions."""

from argparse import Namespace
from collections.abc import Sequence

from jles.cli.sums import sum_options
from jles.config import from_dict
from jles.data.frames import Frame, LabelKeys
from jles.errors import InputError


def load(arguments: Namespace, path=None):
    """The model of a command line, or the one in `path`, with its moments read as the line says."""
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
    """What the model's training data called its labels: data for it is likely to do the same."""
    return from_dict(LabelKeys, model.label_keys, "label_keys of the model's config.yaml")


def plan(model, frames: Sequence[Frame]) -> None:
    """Lets the model choose few sizes for all frames; errors name the file and the frame."""
    model.plan([atoms_of(model, f) for f in frames], [f.source for f in frames])


def atoms_of(model, frame: Frame):
    """The `ase.Atoms` of a frame, without its labels; its total charge where `model` looks."""
    from ase import Atoms

    key = label_keys(model).total_charge
    info = {key: frame.total_charge} if frame.total_charge else {}
    return Atoms(
        numbers=frame.numbers,
        positions=frame.positions,
        cell=frame.cell,
        pbc=frame.pbc,
        info=info,
    )


def predict_frame(model, frame: Frame, want: Sequence[str], **options):
    """The model's `Prediction` for a frame; options as in `Model.predict`.

    Raises:
        InputError: names the file and the frame.
    """
    try:
        return model.predict(atoms_of(model, frame), want=tuple(want), **options)
    except InputError as error:
        raise InputError(f"{frame.source}: {error}") from None
