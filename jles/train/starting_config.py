"""A training file to start from, with sizes that suit the data."""

import typing
from collections.abc import Iterator, Sequence

import yaml

from jles.data.frames import LabelKeys, renamed
from jles.data.survey import Survey
from jles.errors import InputError
from jles.models.backbones.record import BackboneRecord, Choice, Sample
from jles.models.config import BackboneConfig

_FEW_NEIGHBORS, _MANY_NEIGHBORS = 12.0, 60.0
_SHORTEST, _LONGEST = 3.5, 6.0
_STEPS = 40_000
_ATOMS_PER_STEP = 64
_MOST_PER_STEP = 16

_ELECTRONEGATIVE = ("F", "O", "Cl", "N", "Br", "I", "S", "Se", "C", "H")
"""Elements that are usually negative in compounds, the most electronegative first."""


def kinds() -> dict[str, type[BackboneRecord]]:
    """The backbones that a file can be written for, by kind."""
    return {one.__struct_config__.tag: one for one in typing.get_args(BackboneConfig)}


def starting_config(
    kind: str,
    files: Sequence[str],
    data: Survey,
    keys: LabelKeys = LabelKeys(),  # noqa: B008
) -> str:
    """The text of a training file, with comments on the keys that are changed first.

    The cutoff is between 3.5 and 6 angstrom, with 12 to 60 neighbours on average where that
    is possible. A batch has about 64 atoms, and a training about 40,000 steps.

    Args:
        kind: of the backbone.
        files: training files.
        data: their survey.
        keys: names of the labels in the files.

    Raises:
        InputError: no frame has an energy or forces.
    """
    for name in ("energy", "forces"):
        if not data.labels[name]:
            raise InputError(
                f"{', '.join(files)}: no frame has the label {name}, which training needs, as "
                f"{getattr(keys, name)!r} (--labels {name}=KEY gives another name)"
            )
    if data.frames < 2:
        raise InputError(
            f"{', '.join(files)}: has one frame; training needs two at least, one of them to "
            "choose the best epoch"
        )
    record = kinds()[kind]
    sample = _sample(record, data)
    lines = [
        *_header(kind, data),
        *_data(files, data, keys),
        *_model(kind, record, sample, data),
        *_training(record, data),
    ]
    return "\n".join(lines) + "\n"


def _sample(record: type[BackboneRecord], data: Survey) -> Sample:
    """The data as seen with the cutoff of the file."""
    cutoff = record.usual_cutoff
    while cutoff > _SHORTEST and data.neighbors(cutoff) > _MANY_NEIGHBORS:
        cutoff -= 0.5
    while cutoff < _LONGEST and data.neighbors(cutoff) < _FEW_NEIGHBORS:
        cutoff += 0.5
    return Sample(cutoff, data.neighbors(cutoff), len(data.elements), data.frames)


def _header(kind: str, data: Survey) -> Iterator[str]:
    size = f"{data.atoms:.0f} atoms"
    if data.most_atoms > 1.2 * data.atoms:
        size += f" on average, up to {data.most_atoms}"
    labels = ", ".join(
        name if n == data.frames else f"{name} ({n} frames)" for name, n in data.labels.items()
    )
    yield f"# {kind} with latent charges; written by jles init-config, to be edited."
    yield f"# The data: {data.frames} frames of {size}; elements {', '.join(data.elements)}."
    yield f"# Labels: {labels}."
    yield "# Every key is explained in docs/config.md."


def _data(files: Sequence[str], data: Survey, keys: LabelKeys) -> Iterator[str]:
    yield "data:"
    yield _line("train", list(files) if len(files) > 1 else files[0])
    named = {name: getattr(keys, name) for name in renamed(keys)}
    if named:
        yield _line("labels", named)
    yield _line("valid_fraction", _held_out(data), "held out to choose the best epoch")


def _held_out(data: Survey) -> float:
    """Fraction of the frames that is held out: ten frames, or a tenth of many."""
    return min(0.5, max(0.1, round(10 / data.frames, 2)))


def _model(kind: str, record, sample: Sample, data: Survey) -> Iterator[str]:
    cutoff = Choice(sample.cutoff, f"angstrom; {sample.neighbors:.0f} neighbours on average")
    yield "model:"
    yield "  backbone:"
    for key, choice in {
        "kind": Choice(kind, ""),
        "cutoff": cutoff,
        **record.choices(sample),
    }.items():
        yield _line(key, choice.value, choice.comment, indent=4)
    yield "  charges:"
    constrained = data.charged > 0
    total = "shift" if constrained else "free"
    why = "the charges sum to total_charge" if constrained else "shift would fix their sum"
    yield _line("total", total, why, indent=4)
    yield "  # dipoles: {}  # more latent moments; need a backbone of degree 1"
    yield "  # quadrupoles: {}  # need a backbone of degree 2"
    yield "  # polarizability: {}  # induced dipoles"
    if data.crystals:
        keys = f"{{epsilon_infinity: 2.0, positive: {_positive(data.elements)}}}"
        yield f"  # screening: {keys}  # for physical Born charges of crystals"
    yield "  electrostatics:"
    yield _line("sigma", 1.0, "angstrom, width of the latent charges", indent=4)
    yield _line("k_max", 3.5, "1/angstrom; a larger sigma allows a smaller one", indent=4)


def _positive(elements: Sequence[str]) -> str:
    """The element that is most likely positive in a compound of these."""
    ranks = {element: rank for rank, element in enumerate(_ELECTRONEGATIVE)}
    return max(elements, key=lambda element: ranks.get(element, len(ranks)))


def _training(record, data: Survey) -> Iterator[str]:
    batch = int(min(_MOST_PER_STEP, max(1, round(_ATOMS_PER_STEP / data.atoms))))
    batch = min(batch, max(1, data.frames // 10))
    steps = max(1, round((1.0 - _held_out(data)) * data.frames / batch))
    epochs = int(min(2000, max(10, round(_STEPS / steps))))
    late = max(1, round(0.9 * epochs))
    words = f"{batch * data.atoms:.0f} atoms per step; more on a GPU"
    yield _line("batch_size", batch, words, indent=0)
    yield _line("epochs", epochs, f"{epochs * steps} steps", indent=0)
    yield "loss:"
    yield _line("energy", {0: 1.0, late: 10.0}, "error per atom; more weight in the last tenth")
    yield _line("forces", 1.0)
    for name in ("stress", "born_charges", "dipole", "polarizability"):
        if data.labels[name]:
            yield f"  # {name}: 1.0  # {data.labels[name]} frames have it"
    yield "optimizer:"
    yield _line("name", "muon", "or adamw, amsgrad")
    yield _line("learning_rate", record.usual_rate)
    yield _line("warmup_steps", min(100, epochs * steps // 10))
    yield _line("clip_update", 1.0, "largest step of a parameter, in learning rates")


def _line(key: str, value, comment: str = "", indent: int = 2) -> str:
    """One line of YAML, with a comment."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).partition("\n")[0]
    return f"{' ' * indent}{key}: {text}" + (f"  # {comment}" if comment else "")
