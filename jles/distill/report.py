"""The report on a student: errors against the teacher, charges, Born charges, a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import read

from jles.data.frames import Frame, read_frames
from jles.distill.labels import TEACHER_CHARGES, bare
from jles.distill.place import Place
from jles.errors import InputError
from jles.files import write_atomically
from jles.pictures import SECOND, kind_style, new_figure, parity_axis, points, save_figure
from jles.predict.errors import statistics
from jles.predict.model import Model, load_model

RESPONSE_FRAMES = 10
"""Test frames whose dipoles, charges and Born charges the teacher is asked for, and whose Born
charges the student computes."""

_SHOWN = {
    "energy_per_atom": ("meV/atom", 1e3),
    "forces": ("meV/Å", 1e3),
    "stress": ("meV/Å³", 1e3),
    "born_charges": ("e", 1.0),
}


class Tested(NamedTuple):
    """Test frames beside the predictions of a student.

    Attributes:
        pairs: flat (teacher, student) numbers by quantity; eV, angstrom, e.
        elements: atomic number of every atom of all frames.
        charges: latent charges of the student of the same atoms, e; None without charges.
        teacher_charges: of the teacher, e, with NaN where it has none.
        born_elements: atomic numbers of the atoms of the first frames.
        born: their Born charges of the student, e, (atoms, 3, 3); None without.
        teacher_born: those of the teacher; None without.
        notes: remarks needed to read the numbers.
    """

    pairs: dict[str, np.ndarray]
    elements: np.ndarray
    charges: np.ndarray | None
    teacher_charges: np.ndarray
    born_elements: np.ndarray
    born: np.ndarray | None
    teacher_born: np.ndarray | None
    notes: list[str]


def report(place: Place, about: dict, students: dict[int, Path]) -> dict:
    """Writes report.json, report.md and report.png; returns the numbers.

    Args:
        place: of the distillation.
        about: entries for the head of the report.
        students: model directories by the number of their training frames; the largest one is
            the student.
    """
    tested = {size: _test(place, folder) for size, folder in students.items()}
    largest = max(students)
    record = {
        **about,
        "training_frames": largest,
        "test_frames": len(read_frames(place.test)),
        **numbers(tested[largest]),
        "by_size": {
            size: {name: statistics(*pair)["rmse"] for name, pair in one.pairs.items()}
            for size, one in sorted(tested.items())
        },
    }
    draw(place.out / "report.png", tested)
    write_atomically(place.out / "report.md", in_markdown(record))
    text = json.dumps(record, indent=2, ensure_ascii=False)
    write_atomically(place.out / "report.json", text + "\n")
    return record


def _test(place: Place, folder: Path) -> Tested:
    dtype = load_model(folder).training.get("dtype", "float32")
    atoms = read(place.test, ":", format="extxyz")
    return compare(load_model(folder, dtype), atoms, read_frames(place.test))


def compare(model: Model, atoms: Sequence[Atoms], frames: Sequence[Frame]) -> Tested:
    """The predictions of a student beside the labels of the teacher.

    Args:
        model: the student.
        atoms: test frames.
        frames: the same with their labels.
    """
    latent = model.config.charges is not None
    structures = [bare(one) for one in atoms]
    want = ["energy", "forces", *(["charges"] if latent else [])]
    stressed = [n for n, frame in enumerate(frames) if "stress" in frame.labels]
    outs = model.predict(structures, want)
    pairs = {
        "energy_per_atom": _joined(
            (f.labels["energy"] / len(f.numbers), o.energy / len(f.numbers))
            for f, o in zip(frames, outs, strict=True)
        ),
        "forces": _joined(
            (f.labels["forces"], o.forces) for f, o in zip(frames, outs, strict=True)
        ),
    }
    if stressed:
        stresses = model.predict([structures[n] for n in stressed], ("stress",))
        pairs["stress"] = _joined(
            (frames[n].labels["stress"], o.stress)
            for n, o in zip(stressed, stresses, strict=True)
        )
    charges = np.concatenate([_of_atoms(o.charges) for o in outs]) if latent else None
    unknown = [np.full(len(one), np.nan) for one in atoms]
    theirs = [
        one.arrays.get(TEACHER_CHARGES, nothing)
        for one, nothing in zip(atoms, unknown, strict=True)
    ]
    tested = Tested(
        pairs,
        np.concatenate([frame.numbers for frame in frames]),
        charges,
        np.concatenate(theirs),
        np.concatenate([frame.numbers for frame in frames[:RESPONSE_FRAMES]]),
        *_born(model, structures[:RESPONSE_FRAMES], frames[:RESPONSE_FRAMES], latent),
    )
    return _with_sign(tested, model.config.screening.positive is not None)


def _of_atoms(charges: np.ndarray) -> np.ndarray:
    """Charges summed over their channels."""
    return charges if charges.ndim == 1 else charges.sum(axis=1)


def _joined(pairs) -> np.ndarray:
    return np.concatenate([np.stack([np.ravel(x) for x in pair]) for pair in pairs], axis=1)


def _born(model: Model, structures, frames, latent: bool):
    """Born charges of the student and of the teacher, and notes."""
    if not latent:
        return None, None, ["the student has no latent charges"]
    try:
        outs = model.predict(structures, ("born_charges",))
    except InputError as error:
        return None, None, [f"no Born charges: {error}"]
    born = np.concatenate([out.born_charges for out in outs])
    labels = [frame.labels.get("born_charges") for frame in frames]
    if any(label is None for label in labels):
        return born, None, []
    return born, np.concatenate(labels), []


def _with_sign(tested: Tested, is_fixed: bool) -> Tested:
    """The same with the sign of the teacher's charges, which energies cannot tell."""
    if tested.charges is None or is_fixed:
        return tested
    if tested.teacher_born is not None and tested.born is not None:
        overlap = np.sum(tested.born * tested.teacher_born)
    elif np.isfinite(tested.teacher_charges).any():
        overlap = np.nansum(tested.charges * tested.teacher_charges)
    else:
        note = "the sign of all charges is arbitrary: energies and forces do not fix it"
        return tested._replace(notes=[*tested.notes, note])
    sign = -1.0 if overlap < 0.0 else 1.0
    return tested._replace(
        charges=sign * tested.charges, born=None if tested.born is None else sign * tested.born
    )


def numbers(tested: Tested) -> dict:
    """Errors, and charges and Born charges by element."""
    pairs = dict(tested.pairs)
    born, theirs = tested.born, tested.teacher_born
    if born is not None and theirs is not None:
        pairs["born_charges"] = np.stack([theirs.ravel(), born.ravel()])
    record = {"errors": {name: statistics(*pair) for name, pair in pairs.items()}}
    if tested.charges is not None:
        record["charges"] = _by_element(tested.elements, tested.charges, tested.teacher_charges)
    if born is not None:
        reference = None if theirs is None else _isotropic(theirs)
        record["born_charges"] = _by_element(tested.born_elements, _isotropic(born), reference)
    return record | {"notes": tested.notes}


def _isotropic(tensors: np.ndarray) -> np.ndarray:
    return np.trace(tensors, axis1=1, axis2=2) / 3.0


def _by_element(elements, values, theirs=None) -> dict[str, dict]:
    """Mean and standard deviation of a number of every atom, by element."""
    record = {}
    for z in np.unique(elements):
        mine = values[elements == z]
        row = {"mean": float(mine.mean()), "deviation": float(mine.std())}
        known = [] if theirs is None else theirs[elements == z]
        if len(known) and np.isfinite(known).any():
            row["teacher"] = float(np.nanmean(known))
        record[chemical_symbols[z]] = row
    return record


def draw(path: Path, tested: dict[int, Tested]) -> None:
    """Parity of energies and forces, Born charges, and errors against the number of frames."""
    student = tested[max(tested)]
    panels = [_draw_forces, _draw_energies]
    panels += [_draw_born] if student.born is not None else []
    figure, axes = new_figure(4.0, 4.0, columns=len(panels) + (len(tested) > 1))
    for axis, panel in zip(axes, panels, strict=False):
        panel(axis, student)
    if len(tested) > 1:
        _draw_sizes(axes[-1], tested)
    save_figure(figure, path)


def _draw_forces(axis, student: Tested) -> None:
    parity_axis(axis, *student.pairs["forces"], "force", "eV/Å")


def _draw_energies(axis, student: Tested) -> None:
    pair = student.pairs["energy_per_atom"]
    parity_axis(axis, *(1e3 * (pair - pair[0].mean())), "energy per atom", "meV")


def _draw_born(axis, student: Tested) -> None:
    """Born charges against the teacher's, or their distribution."""
    if student.teacher_born is not None:
        pair = student.teacher_born, student.born
        parity_axis(axis, *pair, "Z*", "e", color=None)
    for number, z in enumerate(np.unique(student.born_elements)):
        mine, symbol = student.born_elements == z, chemical_symbols[z]
        color, marker = kind_style(number)
        if student.teacher_born is not None:
            points(axis, pair[0][mine], pair[1][mine], color, label=symbol, marker=marker)
        else:
            values = _isotropic(student.born[mine])
            axis.hist(values, bins=30, color=color, alpha=0.7, label=symbol)
            axis.set(xlabel="Z*, a third of the trace (e)", ylabel="atoms")
    axis.legend(frameon=False, markerscale=2)


def _draw_sizes(axis, tested: dict[int, Tested]) -> None:
    sizes = sorted(tested)
    errors = [1e3 * statistics(*tested[size].pairs["forces"])["rmse"] for size in sizes]
    axis.plot(sizes, errors, "o-", color=SECOND)
    axis.set(xscale="log", yscale="log", xlabel="training frames", ylabel="force RMSE (meV/Å)")


def in_markdown(record: dict) -> str:
    """The report as a page."""
    kelvin = ", ".join(f"{value:g}" for value in record["temperatures_k"])
    lines = [
        "# Distillation",
        "",
        f"- Teacher: `{record['teacher']}`",
        f"- Starts: {record['starts']}, each at {kelvin} K; {record['sampled_frames']} frames",
        f"- Training: {record['training_frames']} frames, picked by {record['picked_by']}",
        f"- Test: {record['test_frames']} frames from the last part of the runs",
        "",
        "## Errors against the teacher",
        "",
        "| quantity | MAE | RMSE | unit | R² |",
        "|---|---|---|---|---|",
        *(_error_row(name, error) for name, error in record["errors"].items()),
    ]
    if len(record["by_size"]) > 1:
        lines += ["", "| training frames | energy RMSE (meV/atom) | force RMSE (meV/Å) |"]
        lines += ["|---|---|---|"]
        for size, one in record["by_size"].items():
            lines += [
                f"| {size} | {1e3 * one['energy_per_atom']:.4g} | {1e3 * one['forces']:.4g} |"
            ]
    for key, title in (("charges", "Latent charges"), ("born_charges", "Born charges")):
        if key in record:
            lines += ["", f"## {title}", "", *_element_table(record[key])]
    if "born_charges" in record:
        lines += [
            "",
            f"The values are thirds of the trace, from up to {RESPONSE_FRAMES} test frames.",
        ]
    if record["notes"]:
        lines += ["", *(f"- Note: {note}" for note in record["notes"])]
    lines += ["", "![Errors and Born charges](report.png)", ""]
    return "\n".join(lines)


def _error_row(name: str, error: dict) -> str:
    unit, scale = _SHOWN[name]
    mae, rmse = (f"{scale * error[key]:.4g}" for key in ("mae", "rmse"))
    r2 = "" if error["r2"] is None else f"{error['r2']:.5f}"
    return f"| {name.replace('_', ' ')} | {mae} | {rmse} | {unit} | {r2} |"


def _element_table(rows: dict[str, dict]) -> list[str]:
    lines = [
        "| element | mean (e) | standard deviation (e) | teacher's mean (e) |",
        "|---|---|---|---|",
    ]
    for symbol, row in rows.items():
        theirs = f"{row['teacher']:.4f}" if "teacher" in row else ""
        lines.append(f"| {symbol} | {row['mean']:.4f} | {row['deviation']:.4f} | {theirs} |")
    return lines
