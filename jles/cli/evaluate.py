"""`jles evaluate`: errors of everything the data has labels for: table, JSON, pictures."""

import json
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jles.errors import InputError
from jles.units import EPSILON0


class Quantity(NamedTuple):
    """How a label is named and shown; `shown` numbers of `shown_unit` make one of `unit`."""

    title: str
    unit: str
    shown_unit: str
    shown: float


QUANTITIES = {
    "energy_per_atom": Quantity("energy per atom", "eV", "meV", 1e3),
    "energy_per_atom_shifted": Quantity("energy per atom, shifted", "eV", "meV", 1e3),
    "forces": Quantity("forces", "eV/Å", "meV/Å", 1e3),
    "stress": Quantity("stress", "eV/Å³", "meV/Å³", 1e3),
    "dipole": Quantity("dipole", "e Å", "e Å", 1.0),
    "polarization": Quantity("polarization, modulo the quantum", "e Å", "e Å", 1.0),
    "quadrupole": Quantity("quadrupole, traceless", "e Å²", "e Å²", 1.0),
    "born_charges": Quantity("Born charges", "e", "e", 1.0),
    "born_charges_diagonal": Quantity("Born charges, diagonal", "e", "e", 1.0),
    "born_charges_off_diagonal": Quantity("Born charges, off-diagonal", "e", "e", 1.0),
    "polarizability": Quantity("polarizability", "e Å²/V", "e Å²/V", 1.0),
    "polarizability_diagonal": Quantity("polarizability, diagonal", "e Å²/V", "e Å²/V", 1.0),
    "polarizability_off_diagonal": Quantity(
        "polarizability, off-diagonal", "e Å²/V", "e Å²/V", 1.0
    ),
}
TENSORS = ("born_charges", "polarizability")
SIGNED = ("dipole", "polarization", "quadrupole", *(n for n in QUANTITIES if "born" in n))
"""What changes sign with all latent moments."""


class Comparison(NamedTuple):
    """Flat (reference, predicted) by quantity; elements of the Born charges' atoms; remarks."""

    pairs: dict[str, np.ndarray]
    elements: np.ndarray
    notes: list[str]


def run(arguments: Namespace) -> None:
    """Prints the table; writes `metrics.json` and a parity picture for every label."""
    from jles.cli.model_on_frames import label_keys, load, plan
    from jles.data.frames import check_elements, read_frames
    from jles.files import write_atomically
    from jles.follow import follow

    model = load(arguments)
    frames = read_frames(arguments.data, label_keys(model))
    check_elements(frames, model.config.numbers, f"of the model {arguments.model}")
    plan(model, frames)
    comparison = compare(model, follow(frames, "frame"), arguments.born_mode)
    pairs, _, notes = comparison
    if not pairs:
        found = sorted({name for frame in frames for name in frame.labels}) or ["none"]
        raise InputError(
            f"{arguments.data}: no label that this model predicts (energy, forces, stress of "
            "crystals, dipole, quadrupole of clusters, born_charges, polarizability); labels "
            f"found: {', '.join(found)}"
        )
    errors = {name: statistics(*pair) for name, pair in pairs.items()}
    record = {
        "model": str(arguments.model),
        "data": str(arguments.data),
        "frames": len(frames),
        "dtype": arguments.dtype,
        "units": {name: QUANTITIES[name].unit for name in errors},
        "errors": errors,
        "born_charges_by_element": by_element(comparison),
        "notes": notes,
    }
    out = Path(arguments.out)
    write_atomically(
        out / "metrics.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    )
    count = draw(out, comparison)
    show(errors, notes)
    print(f"{out}/: metrics.json and {count} parity picture(s)")


def draw(out: Path, comparison: Comparison) -> int:
    """A parity picture of every quantity; of Born charges one with the elements told apart."""
    from jles.pictures import born_charge_picture, parity_picture

    pairs = comparison.pairs
    drawn = [name for name in pairs if not name.startswith("born_charges_")]
    for name in drawn:
        title, unit, *_ = QUANTITIES[name]
        path = out / f"parity_{name}.png"
        if name == "born_charges":
            tensors = pairs[name].reshape(2, -1, 3, 3)
            born_charge_picture(path, comparison.elements, *tensors)
        else:
            parity_picture(path, title, unit, *pairs[name])
    return len(drawn)


def compare(model, frames, born_mode: str = "exact") -> Comparison:
    """Everything that data and model share."""
    from jles.cli.model_on_frames import predict_frame
    from jles.cli.predict import has, wanted
    from jles.electrostatics.multipoles import traceless

    collected: dict[str, list] = {name: [] for name in QUANTITIES}
    elements, config = [], model.config
    for frame in frames:
        usual = list(wanted(config, frame))
        for name in ("born_charges", "polarizability"):
            if name in frame.labels and has(config, frame, name):
                usual.append(name)
        labels = dict(frame.labels)
        if "polarization" in usual and "dipole" in labels:
            labels["polarization"] = labels.pop("dipole")
        if "quadrupole" in labels:
            # Codes give the second moment of the charge, whose trace no read-out has.
            labels["quadrupole"] = traceless(labels["quadrupole"])
        names = [name for name in usual if name in labels]
        if not names:
            continue
        # Always everything: each set of quantities would be compiled for itself.
        prediction = predict_frame(model, frame, usual, born_mode=born_mode)
        for name in names:
            value = getattr(prediction, name)
            if name == "polarizability" and prediction.epsilon_infinity is not None:
                # A label is that of all electrons, seen by the model or not.
                value = polarizability_of(prediction.epsilon_infinity, frame.cell)
            pair = np.stack([np.ravel(labels[name]), np.ravel(value)])
            if name == "energy":
                collected["energy_per_atom"].append(pair / len(frame.numbers))
            elif name == "polarization":
                collected[name].append((pair, frame.cell, frame.pbc))
            else:
                collected[name].append(pair)
            if name == "born_charges":
                elements.append(frame.numbers)
    sign, notes = _sign(collected, config.screening.positive is not None)
    collected["polarization"] = [
        nearest_branch(pair * [[1.0], [sign]], *lattice) * [[1.0], [sign]]
        for pair, *lattice in collected["polarization"]
    ]
    pairs = {name: np.concatenate(parts, axis=1) for name, parts in collected.items() if parts}
    for name in TENSORS:
        if name in pairs:
            pairs |= _components(name, pairs[name])
    for name in set(SIGNED) & set(pairs):
        pairs[name] = pairs[name] * [[1.0], [sign]]
    if "energy_per_atom" in pairs:
        reference, predicted = pairs["energy_per_atom"]
        shift = np.mean(predicted - reference)
        pairs["energy_per_atom_shifted"] = np.stack([reference, predicted - shift])
        notes.append(
            f"mean error of the energy, removed where shifted: {1e3 * shift:.4g} meV/atom"
        )
    for name in TENSORS:
        if name in pairs:
            reference, predicted = pairs[name]
            factor = np.vdot(reference, predicted) / max(np.vdot(predicted, predicted), 1e-300)
            notes.append(f"{name} times {factor:.3f} would fit best")
    ordered = {name: pairs[name] for name in QUANTITIES if name in pairs}
    return Comparison(
        ordered, np.concatenate(elements) if elements else np.zeros(0, int), notes
    )


def polarizability_of(epsilon: np.ndarray, cell: np.ndarray) -> np.ndarray:
    r""":math:`(\epsilon_\infty - 1)\epsilon_0 V` of a cell, e angstrom^2/V."""
    return (epsilon - np.eye(3)) * EPSILON0 * abs(np.linalg.det(cell))


def _sign(collected, is_fixed: bool) -> tuple[float, list[str]]:
    """The one sign of all latent moments that fits the data, unless the model fixes it."""
    overlap = 0.0
    for name in ("dipole", "quadrupole", "born_charges"):
        products = sum(float(np.sum(np.prod(pair, axis=0))) for pair in collected[name])
        size = sum(float(np.sum(pair[0] ** 2)) for pair in collected[name])
        overlap += products / size if size else 0.0
    if is_fixed or overlap >= 0.0:
        return 1.0, []
    return -1.0, ["all latent moments change sign for this comparison: their sign is arbitrary"]


def nearest_branch(pair: np.ndarray, cell: np.ndarray, pbc) -> np.ndarray:
    """(reference, predicted) dipoles, e angstrom, with whole quanta taken off the prediction."""
    reference, predicted = pair
    periodic = cell[np.asarray(pbc, bool)]
    quanta = np.round((predicted - reference) @ np.linalg.pinv(periodic))
    return np.stack([reference, predicted - quanta @ periodic])


def _components(name: str, pair: np.ndarray) -> dict[str, np.ndarray]:
    tensors = pair.reshape(2, -1, 3, 3)
    diagonal = np.eye(3, dtype=bool)
    return {
        f"{name}_diagonal": tensors[:, :, diagonal].reshape(2, -1),
        f"{name}_off_diagonal": tensors[:, :, ~diagonal].reshape(2, -1),
    }


def by_element(comparison: Comparison) -> dict[str, dict]:
    """Errors of the Born charges of every element; empty without Born charges."""
    from ase.data import chemical_symbols

    if "born_charges" not in comparison.pairs:
        return {}
    tensors = comparison.pairs["born_charges"].reshape(2, -1, 9)
    return {
        chemical_symbols[z]: statistics(
            *(part[comparison.elements == z].ravel() for part in tensors)
        )
        for z in np.unique(comparison.elements)
    }


def statistics(reference: np.ndarray, predicted: np.ndarray) -> dict[str, float | int | None]:
    """MAE, RMSE and R² (null where all references are equal) of `count` numbers."""
    error = predicted - reference
    spread = np.sum((reference - np.mean(reference)) ** 2)
    return {
        "count": int(error.size),
        "mae": float(np.mean(np.abs(error))),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "r2": float(1.0 - np.sum(error**2) / spread) if spread > 0.0 else None,
    }


def show(errors: dict[str, dict], notes: list[str]) -> None:
    """Prints a table of the errors."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("")
    for column in ("numbers", "MAE", "RMSE", "unit", "R²"):
        table.add_column(column, justify="right")
    for name, row in errors.items():
        title, _, unit, scale = QUANTITIES[name]
        r2 = "" if row["r2"] is None else f"{row['r2']:.5f}"
        mae, rmse = (f"{scale * row[key]:.4g}" for key in ("mae", "rmse"))
        table.add_row(title, str(row["count"]), mae, rmse, unit, r2)
    Console().print(table)
    for note in notes:
        print(note)
