"""Trains on hidden point charges with and without latent charges, and compares."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jles.config import from_dict
from jles.demo.point_charges import make_frames
from jles.errors import InputError
from jles.files import atomic_path, write_atomically
from jles.lock import only_writer
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure
from jles.predict.model import Model, load_model
from jles.train.config import TrainConfig
from jles.train.loop import train

RUNS = ("with_charges", "without_charges")
MARKER = ".jles-demo"

SETTINGS = {
    "model": {
        "backbone": {
            "cutoff": 4.0,
            "l_max": 3,
            "body_order": 3,
            "n_rbf": 6,
            "n_radial_basis": 8,
            "n_atom_basis": 2,
        },
        "electrostatics": {"sigma": 1.0, "k_max": 5.0},
    },
    "batch_size": 1,
    "loss": {"energy": 10.0, "forces": 1.0},
    "optimizer": {"learning_rate": 2e-2, "weight_decay": 0.02},
    "validate_every": 50,
    "checkpoint_every": 100,
}
"""Training settings of the demo and of the point-charge experiments."""


class Found(NamedTuple):
    """Hidden charges and forces beside their predictions, on test structures.

    Attributes:
        truth: hidden charges, e, (structures, atoms).
        charges: recovered, e, with the overall sign of the truth; None without latent charges.
        reference: forces, eV/angstrom.
        forces: predicted.
    """

    truth: np.ndarray
    charges: np.ndarray | None
    reference: np.ndarray
    forces: np.ndarray

    @property
    def charge_mae(self) -> float:
        """Mean absolute error of the recovered charges, e."""
        return float(np.mean(np.abs(self.charges - self.truth)))

    @property
    def force_mae(self) -> float:
        """Mean absolute error of force components, eV/angstrom."""
        return float(np.mean(np.abs(self.forces - self.reference)))


def run_demo(out, dtype: str = "float32", epochs: int = 1000, frames: int = 10) -> dict:
    """Makes data, trains, compares and draws; returns the numbers of `summary.json`.

    Args:
        out: directory for data, runs, `summary.json` and `demo.png`; an earlier demo there is
            replaced, anything else is refused.
        dtype: of the models.
        epochs: of each training.
        frames: training configurations.

    Raises:
        InputError: `out` holds something that is not a demo, or another process writes there.
    """
    out = Path(out)
    _check_place(out)
    with only_writer(out):
        return _run_demo(out, dtype, epochs, frames)


def _run_demo(out: Path, dtype: str, epochs: int, frames: int) -> dict:
    _clear(out)
    print(f"making {frames} + 10 + 20 configurations of 128 hidden charges", flush=True)
    made = make_frames(frames + 30, seed=1)
    parts = {
        "train": made[:frames],
        "valid": made[frames : frames + 10],
        "test": made[frames + 10 :],
    }
    from ase.io import write

    for name, chosen in parts.items():
        with atomic_path(out / f"{name}.xyz") as temporary:
            write(temporary, chosen, format="extxyz")
    models = {
        name: train_point_charges(
            out / name,
            settings(
                out / "train.xyz",
                out / "valid.xyz",
                latent=name == "with_charges",
                epochs=epochs,
                dtype=dtype,
            ),
        )
        for name in RUNS
    }
    found = {name: compare(model, parts["test"]) for name, model in models.items()}
    summary = summarize(found)
    write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    draw(out / "demo.png", found)
    report(summary)
    print(f"models, pictures and numbers are in {out}")
    return summary


def _check_place(out: Path) -> None:
    # A file of its own: a folder of somebody's data may well hold a train.xyz.
    if out.exists() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise InputError(f"{out}: is not empty and not an earlier demo; give another --out")


def _clear(out: Path) -> None:
    for name in RUNS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
    write_atomically(
        out / MARKER, "written by jles demo, which replaces everything beside this file\n"
    )


def settings(
    train_file, valid_file, *, latent: bool, epochs: int, dtype: str = "float32"
) -> dict:
    """The training file of the demo, as nested values, for these structures."""
    values = SETTINGS | {
        "data": {"train": str(train_file), "valid": str(valid_file)},
        "epochs": epochs,
        "dtype": dtype,
    }
    if not latent:
        values["model"] = SETTINGS["model"] | {"charges": None}
    return values


def train_point_charges(out: Path, values: dict) -> Model:
    """Trains on energies and forces alone."""
    print(f"training {out.name.replace('_', ' ')}: {out}", flush=True)
    train(from_dict(TrainConfig, values, "point charges"), out)
    return load_model(out, values["dtype"])


def compare(model: Model, frames) -> Found:
    """Predictions of `model` beside the hidden charges and the exact forces of `frames`."""
    latent = model.config.charges is not None
    results = model.predict(frames, want=("forces", "charges") if latent else ("forces",))
    truth = np.array([atoms.arrays["charge_ref"] for atoms in frames])
    charges = None
    if latent:
        charges = np.array([result.charges for result in results])
        # Energies and forces cannot tell the overall sign (docs/conventions.md, section 7).
        charges = charges * np.sign(np.sum(charges * truth))
    reference = np.array([atoms.get_forces() for atoms in frames])
    forces = np.array([result.forces for result in results])
    return Found(truth, charges, reference, forces)


def summarize(found: dict[str, Found]) -> dict:
    """Plain numbers: e and meV/angstrom."""
    with_charges = found["with_charges"]
    return {
        "charge_mae_e": with_charges.charge_mae,
        "mean_charge_positive_e": float(with_charges.charges[with_charges.truth > 0].mean()),
        "mean_charge_negative_e": float(with_charges.charges[with_charges.truth < 0].mean()),
        "force_mae_with_mev_per_angstrom": 1e3 * with_charges.force_mae,
        "force_mae_without_mev_per_angstrom": 1e3 * found["without_charges"].force_mae,
    }


def report(summary: dict) -> None:
    """The numbers as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Hidden charges, found from energies and forces")
    table.add_column("on configurations not trained on")
    table.add_column("value", justify="right")
    rows = (
        ("mean recovered charge, true +1 e", summary["mean_charge_positive_e"], "e"),
        ("mean recovered charge, true -1 e", summary["mean_charge_negative_e"], "e"),
        ("charge error (MAE)", summary["charge_mae_e"], "e"),
        ("force error with charges (MAE)", summary["force_mae_with_mev_per_angstrom"], "meV/Å"),
        ("force error without (MAE)", summary["force_mae_without_mev_per_angstrom"], "meV/Å"),
    )
    for name, value, unit in rows:
        table.add_row(name, f"{value:.4g} {unit}")
    Console().print(table)


def draw(path, found: dict[str, Found]) -> None:
    """Histograms of errors: recovered charges left, forces with and without charges right."""
    figure, (left, right) = new_figure(columns=2, width=4.6, height=3.8)
    _draw_charges(left, found["with_charges"])
    _draw_forces(right, found)
    save_figure(figure, path)


def _draw_charges(axis, one: Found) -> None:
    """Recovered minus true charge, by the sign of the true charge."""
    error = one.charges - one.truth
    spread = 1.5 * np.quantile(np.abs(error), 0.995)
    axis.axvline(0.0, color=INK, linewidth=0.8, zorder=0.9)
    for value, color in ((1.0, ACCENT), (-1.0, SECOND)):
        axis.hist(
            error[one.truth == value],
            bins=np.linspace(-spread, spread, 61),
            color=color,
            alpha=0.7,
            label=f"true charge {value:+.0f} e",
        )
    axis.set(xlabel="recovered minus true charge (e)", ylabel="particles")
    axis.locator_params(axis="x", nbins=5)
    axis.set_title(f"hidden charges: MAE {one.charge_mae:.2g} e", fontsize=9)
    axis.legend(frameon=False, fontsize=8)


def _draw_forces(axis, found: dict[str, Found]) -> None:
    """Absolute errors of force components; logarithmic, since the two differ by decades."""
    errors = {name: 1e3 * np.abs(one.forces - one.reference) for name, one in found.items()}
    high = max(error.max() for error in errors.values())
    low = min(np.quantile(error, 0.01) for error in errors.values())
    bins = np.geomspace(max(low, 1e-4 * high), high, 61)
    for name, color in zip(RUNS, (ACCENT, SECOND), strict=True):
        label = f"{name.replace('_', ' ')}: MAE {1e3 * found[name].force_mae:.4g} meV/Å"
        axis.hist(errors[name].ravel(), bins=bins, color=color, alpha=0.7, label=label)
    axis.set_xscale("log")
    axis.set(xlabel="absolute force error (meV/Å)", ylabel="force components")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])
    axis.legend(frameon=False, fontsize=8, loc="upper left")
