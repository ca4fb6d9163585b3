"""`jles evaluate`: errors of everything the data has labels for: table, JSON, pictures."""

import json
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jles.errors import InputError


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
}


def run(arguments: Namespace) -> None:
    """Prints the table; writes `metrics.json` and a parity picture for every label."""
    import jles
    from jles.cli.frames import label_keys, plan
    from jles.data.frames import check_elements, read_frames
    from jles.files import write_atomically
    from jles.follow import follow
    from jles.pictures import parity_picture

    model = jles.load(arguments.model, dtype=arguments.dtype)
    frames = read_frames(arguments.data, label_keys(model))
    check_elements(frames, model.config.numbers, f"of the model {arguments.model}")
    plan(model, frames)
    pairs, notes = compare(model, follow(frames, "frame"))
    if not pairs:
        found = sorted({name for frame in frames for name in frame.labels}) or ["none"]
        raise InputError(
            f"{arguments.data}: no label that this model predicts (energy, forces, stress of "
            f"crystals, dipole of clusters); labels found: {', '.join(found)}"
        )
    errors = {name: statistics(*pair) for name, pair in pairs.items()}
    record = {
        "model": str(arguments.model),
        "data": str(arguments.data),
        "frames": len(frames),
        "dtype": arguments.dtype,
        "units": {name: QUANTITIES[name].unit for name in errors},
        "errors": errors,
        "notes": notes,
    }
    out = Path(arguments.out)
    write_atomically(out / "metrics.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    for name, (reference, predicted) in pairs.items():
        title, unit, *_ = QUANTITIES[name]
        parity_picture(out / f"parity_{name}.png", title, unit, reference, predicted)
    show(errors, notes)
    print(f"{out}/: metrics.json and {len(pairs)} parity picture(s)")


def compare(model, frames) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Flat (reference, predicted) of every label that data and model share, and notes."""
    from jles.cli.frames import predict_frame
    from jles.cli.predict import wanted

    collected: dict[str, list] = {name: [] for name in QUANTITIES}
    for frame in frames:
        names = [name for name in wanted(model.config, frame) if name in frame.labels]
        if not names:
            continue
        # Always everything: each set of quantities would be compiled for itself.
        prediction = predict_frame(model, frame, wanted(model.config, frame))
        for name in names:
            pair = np.stack([np.ravel(frame.labels[name]), np.ravel(getattr(prediction, name))])
            if name == "energy":
                collected["energy_per_atom"].append(pair / len(frame.numbers))
            else:
                collected[name].append(pair)
    pairs = {name: np.concatenate(parts, axis=1) for name, parts in collected.items() if parts}
    notes = []
    if "energy_per_atom" in pairs:
        reference, predicted = pairs["energy_per_atom"]
        shift = np.mean(predicted - reference)
        pairs["energy_per_atom_shifted"] = np.stack([reference, predicted - shift])
        notes.append(f"mean error of the energy, removed where shifted: {1e3 * shift:.4g} meV/atom")
    if "dipole" in pairs and np.sum(np.prod(pairs["dipole"], axis=0)) < 0.0:
        pairs["dipole"][1] *= -1.0
        notes.append("all latent charges change sign for the dipole: their sign is arbitrary")
    return {name: tuple(pairs[name]) for name in QUANTITIES if name in pairs}, notes


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
