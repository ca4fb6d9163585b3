"""Labels: which there are, under which keys, and their statistics by element."""

import difflib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ase.data import chemical_symbols

from jles.data.check.remark import Remark, some
from jles.data.frames import Frame, LabelKeys, absent, missing_label, renamed

_WORDS = {
    "energy": ("energy", "energies"),
    "forces": ("force", "gradient"),
    "stress": ("stress", "virial"),
    "dipole": ("dipole",),
    "born_charges": ("bec", "born", "apt"),
    "polarizability": ("polarizability", "alpha"),
    "total_charge": ("charge",),
}
_NO_LABELS = {"free_energy", "energies", "charges", "initial_charges"}
_LARGE_SUM = 0.02


def unread_keys(seen: Iterable[str], keys: LabelKeys, labels) -> Iterator[Remark]:
    """Values that look like a label that no frame has.

    Args:
        seen: keys of the values in all frames.
        keys: names under which labels are read.
        labels: names of the labels that were found.
    """
    read = {getattr(keys, name) for name in LabelKeys.__struct_fields__}
    for name, words in _WORDS.items():
        if name in labels:
            continue
        near = [
            key
            for key in sorted(set(seen) - read - _NO_LABELS)
            if any(word in key.lower().split("_") for word in words)
            or difflib.get_close_matches(key.lower(), words, n=1, cutoff=0.8)
            or (name in ("energy", "forces") and any(word in key.lower() for word in words))
        ]
        if near:
            yield Remark(
                f"'{near[0]}' is not read, and no frame has '{getattr(keys, name)}': if it is "
                f"the label {name}, write data.labels.{name}: {near[0]} in the training file "
                f"(here: --labels {name}={near[0]}); mind its unit"
            )


def named_labels(
    files: Sequence[str], frames: Sequence[Frame], seen: Iterable[str], keys: LabelKeys
) -> Iterator[Remark]:
    """Keys that were named and that no frame has."""
    for name in absent(renamed(keys), frames):
        yield Remark(missing_label(", ".join(files), name, keys, seen), serious=True)


def missing_labels(frames: Sequence[Frame]) -> Iterator[Remark]:
    """Labels of only a part of the frames, and labels without which nothing is learned."""
    for name in ("energy", "forces"):
        without = [frame.source for frame in frames if name not in frame.labels]
        if len(without) == len(frames):
            yield Remark(
                f"no frame has the label {name}; training needs it unless loss.{name} is 0",
                serious=True,
            )
        elif without:
            yield Remark(f"{len(without)} frames have no {name}: {some(without)}")


def born_charge_sums(frames: Sequence[Frame]) -> Iterator[Remark]:
    """Doubts about Born charges that do not add up to the total charge."""
    off = []
    for frame in frames:
        if "born_charges" not in frame.labels:
            continue
        excess = frame.labels["born_charges"].sum(axis=0) - frame.total_charge * np.eye(3)
        off.append(float(np.max(np.abs(excess))) / len(frame.numbers))
    if off and np.mean(off) > _LARGE_SUM:
        yield Remark(
            f"Born charges break the acoustic sum rule by {np.mean(off):.2g} e per atom on "
            "average (largest component)"
        )


def by_element(frames: Sequence[Frame]) -> list[dict]:
    """Statistics of every element.

    Each has `element`, `atoms`, `force_rms`, `force_max`, `born` and `born_std`. Forces are in
    eV/angstrom, the first per component, the second the longest vector; Born charges are a
    third of the trace, e. Values without labels are NaN.
    """
    rows = []
    for z in sorted({int(z) for frame in frames for z in frame.numbers}):
        forces = _of_element(frames, "forces", z, (3,))
        traces = (
            np.trace(_of_element(frames, "born_charges", z, (3, 3)), axis1=1, axis2=2) / 3.0
        )
        rows.append(
            {
                "element": chemical_symbols[z],
                "atoms": sum(int(np.sum(frame.numbers == z)) for frame in frames),
                "force_rms": _or_nan(lambda f: np.sqrt(np.mean(f**2)), forces),
                "force_max": _or_nan(lambda f: np.linalg.norm(f, axis=1).max(), forces),
                "born": _or_nan(np.mean, traces),
                "born_std": _or_nan(np.std, traces),
            }
        )
    return rows


def _of_element(frames, name: str, z: int, shape) -> np.ndarray:
    parts = [f.labels[name][f.numbers == z] for f in frames if name in f.labels]
    return np.concatenate([np.zeros((0, *shape)), *parts])


def _or_nan(function, values) -> float:
    return float(function(values)) if len(values) else float("nan")
