"""`jles evaluate`: errors of all labelled quantities, as table, JSON and pictures."""

import json
from argparse import Namespace
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from jles.cli.model_on_frames import (
    atoms_of,
    label_keys,
    load,
    note_lines,
    plan,
    predict_frame,
)
from jles.cli.predict import outputs_of
from jles.data.frames import check_elements
from jles.data.shards.stored import open_frames
from jles.electrostatics.multipoles import traceless
from jles.errors import InputError
from jles.files import write_atomically
from jles.follow import follow
from jles.lock import only_writer
from jles.pictures import born_charge_picture, parity_picture
from jles.predict.errors import statistics
from jles.predict.phonopy_born import check_born_file, write_prediction
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.quantity import Quantity
from jles.units import pretty


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        quantity: what is compared.
        title: in words.
        pair: flat (reference, predicted), in the unit of the quantity.
    """

    quantity: Quantity
    title: str
    pair: np.ndarray

    @property
    def unit(self) -> str:
        """Of the quantity, as people write it."""
        return pretty(self.quantity.unit)


class Comparison(NamedTuple):
    """Rows by name; elements of the atoms whose Born charges are compared; remarks."""

    rows: dict[str, Row]
    elements: np.ndarray
    notes: list[str]


def run(arguments: Namespace) -> None:
    """Prints the table; writes `metrics.json` and a parity picture for every label.

    With `--phonopy-born` the structure needs no labels: without any, only BORN is written.
    """
    model = load(arguments)
    frames = open_frames(arguments.data, label_keys(model))
    check_elements(frames, model.config.numbers, f"of the model {arguments.model}")
    out = Path(arguments.out)
    if (out / "config.yaml").exists():
        raise InputError(f"{out}: holds a model or a run; give another --out")
    with only_writer(out):
        _evaluate(model, frames, out, arguments)


def _evaluate(model, frames, out: Path, arguments: Namespace) -> None:
    born = None
    if arguments.phonopy_born:
        born = check_born_file(model.config, [frame.pbc for frame in frames], arguments.data)
    plan(model, frames)
    is_labelled = any(compared(model.config, frame) for frame in frames)
    if not is_labelled and born is None:
        raise InputError(_missing_labels(frames, arguments.data))
    print(f"results will be in {out}/", flush=True)
    if born is not None:
        _write_born(model, frames[0], born, out, arguments.born_mode)
    if not is_labelled:
        print(f"nothing to compare: {_missing_labels(frames, arguments.data)}")
        return
    comparison = compare(model, follow(frames, "frame"), arguments.born_mode)
    rows, _, notes = comparison
    errors = {name: statistics(*row.pair) for name, row in rows.items()}
    record = {
        "model": str(arguments.model),
        "data": str(arguments.data),
        "frames": len(frames),
        "dtype": arguments.dtype,
        "units": {name: row.unit for name, row in rows.items()},
        "errors": errors,
        "born_charges_by_element": by_element(comparison),
        "notes": notes,
    }
    write_atomically(
        out / "metrics.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    )
    count = draw(out, comparison)
    show(rows, errors, notes)
    print(f"{out}/: metrics.json and {count} parity picture(s)")


def _write_born(model, frame, want, out: Path, born_mode: str) -> None:
    prediction = predict_frame(model, frame, want, born_mode=born_mode)
    out.mkdir(parents=True, exist_ok=True)
    write_prediction(out / "BORN", model.config, atoms_of(model, frame), prediction)
    for note in prediction.notes:
        print(f"note: {frame.source}, {model.where}: {note}")
    print(f"{out / 'BORN'}: Born charges for phonopy")


def _missing_labels(frames, data: str) -> str:
    """Says that no label can be compared."""
    found = sorted({name for frame in frames for name in frame.labels}) or ["none"]
    known = ", ".join(dict.fromkeys(q.label.name for q in QUANTITIES.values() if q.label))
    return (
        f"{data}: no label that this model predicts for these structures "
        f"({known}); labels found: {', '.join(found)}"
    )


def draw(out: Path, comparison: Comparison) -> int:
    """A parity picture of every quantity; of Born charges one that distinguishes elements."""
    drawn = {
        name: row
        for name, row in comparison.rows.items()
        if not name.startswith("born_charges_")
    }
    for name, row in drawn.items():
        path = out / f"parity_{name}.png"
        if name == "born_charges":
            tensors = row.pair.reshape(2, -1, 3, 3)
            born_charge_picture(path, comparison.elements, *tensors)
        else:
            parity_picture(path, row.title, row.unit, *row.pair)
    return len(drawn)


def compare(model, frames, born_mode: str = "exact") -> Comparison:
    """Everything that data and model share; the notes are those of the predictions, too."""
    collected, elements, remarks = defaultdict(list), [], defaultdict(list)
    for frame in frames:
        labelled = compared(model.config, frame)
        if not labelled:
            continue
        # Always everything: each set of quantities would be compiled for itself.
        want = wanted(model.config, frame)
        prediction = predict_frame(model, frame, want, born_mode=born_mode)
        for note in prediction.notes:
            remarks[note].append(frame.source)
        for name in labelled:
            pair = _pair(QUANTITIES[name], prediction, frame, atoms_of(model, frame))
            collected[name].append((pair, frame))
        if "born_charges" in labelled:
            elements.append(frame.numbers)
    sign, notes = _sign(collected, model.config.screening.positive is not None)
    notes += note_lines(remarks, model.where)
    rows = {}
    for name, quantity in QUANTITIES.items():
        if name in collected:
            rows |= _rows(quantity, collected[name], sign, notes)
    return Comparison(rows, np.concatenate(elements) if elements else np.zeros(0, int), notes)


def wanted(config, frame) -> list[str]:
    """Quantities of a frame that cost little, and those that it has labels for."""
    usual = outputs_of(config, frame)
    return usual + [
        name
        for name, quantity in QUANTITIES.items()
        if quantity.output == "asked"
        and _is_labelled(quantity, frame)
        and not quantity.refuse(config, frame.pbc)
    ]


def compared(config, frame) -> list[str]:
    """Those of the wanted quantities of a frame that it has labels for."""
    names = wanted(config, frame)
    return [name for name in names if _is_labelled(QUANTITIES[name], frame)]


def _is_labelled(quantity: Quantity, frame) -> bool:
    return quantity.label is not None and quantity.label.name in frame.labels


def _pair(quantity: Quantity, prediction, frame, atoms) -> np.ndarray:
    """Flat (reference, predicted) of one frame."""
    label = quantity.label
    reference = frame.labels[label.name]
    if label.traceless:
        reference = traceless(reference)
    if label.of_prediction:
        value = label.of_prediction(prediction, atoms)
    else:
        value = getattr(prediction, quantity.name)
    pair = np.stack([np.ravel(reference), np.ravel(value)])
    return pair / len(atoms) if label.per_atom else pair


def _rows(quantity: Quantity, collected, sign: float, notes: list[str]) -> dict[str, Row]:
    """Rows of a quantity from the pairs of all frames; remarks are added to the notes."""
    label, factors = quantity.label, np.array([[1.0], [sign if quantity.odd else 1.0]])
    pairs = [pair * factors for pair, _ in collected]
    if label.modulo_quantum:
        pairs = [
            nearest_branch(pair, frame.cell, frame.pbc)
            for pair, (_, frame) in zip(pairs, collected, strict=True)
        ]
    pair = np.concatenate(pairs, axis=1)
    name = quantity.name + ("_per_atom" if label.per_atom else "")
    parts = {name: (label.title, pair)}
    if label.per_atom:
        reference, predicted = pair
        shift = np.mean(predicted - reference)
        parts[f"{name}_shifted"] = (
            f"{label.title}, shifted",
            np.stack([reference, predicted - shift]),
        )
        unit, scale = label.shown
        notes.append(
            f"mean error of the {quantity.name}, removed where shifted: "
            f"{scale * shift:.4g} {pretty(unit)}/atom"
        )
    if label.by_component:
        tensors, diagonal = pair.reshape(2, -1, 3, 3), np.eye(3, dtype=bool)
        for part, chosen in (("diagonal", diagonal), ("off-diagonal", ~diagonal)):
            parts[f"{name}_{part.replace('-', '_')}"] = (
                f"{label.title}, {part}",
                tensors[:, :, chosen].reshape(2, -1),
            )
        factor = np.vdot(*pair) / max(np.vdot(pair[1], pair[1]), 1e-300)
        notes.append(f"{name} times {factor:.3f} would fit best")
    return {part: Row(quantity, *row) for part, row in parts.items()}


def _sign(collected, is_fixed: bool) -> tuple[float, list[str]]:
    """The one sign of all latent moments that fits the data, unless the model fixes it."""
    overlap = 0.0
    for name, pairs in collected.items():
        quantity = QUANTITIES[name]
        if quantity.odd and not quantity.label.modulo_quantum:
            products = sum(float(np.sum(np.prod(pair, axis=0))) for pair, _ in pairs)
            size = sum(float(np.sum(pair[0] ** 2)) for pair, _ in pairs)
            overlap += products / size if size else 0.0
    if is_fixed or overlap >= 0.0:
        return 1.0, []
    return -1.0, ["all latent moments change sign for this comparison: their sign is arbitrary"]


def nearest_branch(pair: np.ndarray, cell: np.ndarray, pbc) -> np.ndarray:
    """(reference, predicted) dipoles, e angstrom, the prediction modulo the quantum."""
    reference, predicted = pair
    periodic = cell[np.asarray(pbc, bool)]
    quanta = np.round((predicted - reference) @ np.linalg.pinv(periodic))
    return np.stack([reference, predicted - quanta @ periodic])


def by_element(comparison: Comparison) -> dict[str, dict]:
    """Errors of the Born charges of every element; empty without Born charges."""
    if "born_charges" not in comparison.rows:
        return {}
    tensors = comparison.rows["born_charges"].pair.reshape(2, -1, 9)
    return {
        chemical_symbols[z]: statistics(
            *(part[comparison.elements == z].ravel() for part in tensors)
        )
        for z in np.unique(comparison.elements)
    }


def show(rows: dict[str, Row], errors: dict[str, dict], notes: list[str]) -> None:
    """Prints a table of the errors."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("")
    for column in ("numbers", "MAE", "RMSE", "unit", "R²"):
        table.add_column(column, justify="right")
    for name, error in errors.items():
        quantity = rows[name].quantity
        unit, scale = quantity.label.shown or (quantity.unit, 1.0)
        r2 = "" if error["r2"] is None else f"{error['r2']:.5f}"
        mae, rmse = (f"{scale * error[key]:.4g}" for key in ("mae", "rmse"))
        table.add_row(rows[name].title, str(error["count"]), mae, rmse, pretty(unit), r2)
    Console().print(table)
    for note in notes:
        print(note)
