"""What the experiments share: options, training, molecular dynamics, errors and results."""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ase.io
import jax
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from jles.config import from_dict
from jles.data.sets import MissingDataError, data_set, published_model
from jles.dynamics.config import MdConfig
from jles.dynamics.run import run_md
from jles.files import write_atomically
from jles.interop.torch_import import import_torch
from jles.models.config import ScreeningConfig
from jles.predict.errors import statistics
from jles.predict.model import Model, load_model
from jles.train.config import LossConfig, TrainConfig
from jles.train.loop import train

SKIPPED = 77
"""Exit status of a script whose data are missing."""


# Options


def options(description: str, out: str) -> argparse.ArgumentParser:
    """The options of every experiment: `--out`, by default the folder `out`, and `--smoke`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help=f"folder for all results (default: {out})")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny sizes, in a temporary folder without --out"
    )
    parser.set_defaults(default_out=Path(out))
    return parser


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Runs an experiment on the options of the command line.

    Missing data end it with one line and the exit status `SKIPPED`.
    """
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if chosen.out is None:
            chosen.out = Path(temporary) if chosen.smoke else chosen.default_out
        try:
            main(chosen)
        except MissingDataError as error:
            print(f"skipped: {error}", file=sys.stderr)
            sys.exit(SKIPPED)


# Training


def settings_of_few(files: dict, model: dict, epochs: int) -> dict:
    """Training settings for about a hundred frames, from their files `train` and `valid`.

    Args:
        files: as of `divided`.
        model: settings of the backbone and the latent moments.
        epochs: passes through the frames.
    """
    return {
        "data": {"train": files["train"], "valid": files["valid"], "max_buckets": 1},
        "model": {"electrostatics": {"sigma": 1.0, "k_max": 3.14159}, **model},
        "epochs": epochs,
        "batch_size": 1,
        "loss": {"energy": {0: 1.0, int(0.9 * epochs): 10.0}, "forces": 1.0},
        "optimizer": {
            "name": "muon", "learning_rate": 4e-2, "warmup_steps": 100, "clip_update": 1.0,
        },
        "validate_every": 5,
        "checkpoint_every": 5,
    }  # fmt: skip


def trained(values: dict, out: Path, smoke: bool = False) -> Model:
    """The model of these training settings: loaded if finished, resumed if interrupted."""
    if smoke:
        values = shortened(values)
    if not (out / "config.yaml").is_file():
        config = from_dict(TrainConfig, values, str(out))
        start = time.monotonic()
        train(config, out, resume=(out / "metrics.jsonl").is_file())
        seconds = time.monotonic() - start
        write_atomically(out / "seconds.txt", f"{seconds:.0f}\n")
    return load_model(out, values.get("dtype", "float32"))


def shortened(values: dict) -> dict:
    """The same training with a small network, four frames and two epochs."""
    model, data = dict(values["model"]), values["data"] | {"limit": 4, "max_buckets": 1}
    if "backbone" in model:
        small = {}
        if model["backbone"].get("kind", "cace") == "cace":
            degree = 2 if "quadrupoles" in model else 1
            small = {"l_max": degree, "body_order": 2, "n_rbf": 4, "n_radial_basis": 4}
        cutoff = min(model["backbone"]["cutoff"], 3.5)
        model["backbone"] = model["backbone"] | small | {"cutoff": cutoff}
    if "valid" not in data:
        data["valid_fraction"] = 0.5
    schedules = from_dict(LossConfig, values["loss"], "loss").schedules()
    loss = values["loss"] | {
        name: {0: weights[0], 1: weights[max(weights)]}
        for name, weights in schedules.items()
        if len(weights) > 1
    }
    short = {"epochs": 2, "validate_every": 1, "checkpoint_every": 2}
    return values | short | {"model": model, "data": data, "loss": loss}


def divided(file: str, test: int, valid: int, out: Path) -> tuple[dict[str, str], list[Atoms]]:
    """Files of training and validation frames of a data set, in `out`, and its test frames."""
    frames = ase.io.read(data_set(file), ":")
    order = np.random.default_rng(0).permutation(len(frames))
    parts = {"valid": order[test : test + valid], "train": order[test + valid :]}
    out.mkdir(parents=True, exist_ok=True)
    files = {name: str(out / f"{name}.extxyz") for name in parts}
    for name, chosen in parts.items():
        ase.io.write(files[name], [frames[n] for n in chosen], format="extxyz")
    return files, [frames[n] for n in order[:test]]


def training_seconds(out: Path) -> float | None:
    """Seconds a training by `trained` took; of a resumed one, those of its last part."""
    file = out / "seconds.txt"
    return float(file.read_text()) if file.is_file() else None


# Molecular dynamics


def imported(
    name: str,
    dtype: str = "float32",
    screening: ScreeningConfig | None = None,
    long_range_weight: float | None = None,
) -> Model:
    """A published model; `screening` converts its latent moments to physical ones."""
    config, params = import_torch(published_model(name), long_range_weight=long_range_weight)
    if screening is not None:
        config = config.replace(screening=screening)
    return Model(config, params, dtype, name)


def duration(picoseconds: float, timestep: float) -> dict:
    """The keys of an md config for the length of a run; the time step is in fs."""
    return {"steps": round(1e3 * picoseconds / timestep), "timestep": timestep}


def simulated(model: Model, start: Atoms, config: dict, out: Path) -> Atoms:
    """The last state of a run: read if the run is finished, resumed if it was interrupted."""
    final = out / "final.extxyz"
    if not final.is_file():
        interrupted = (out / "checkpoint").is_dir()
        run_md(model, start, from_dict(MdConfig, config, str(out)), out, resume=interrupted)
    return ase.io.read(final)


def settled(
    model: Model,
    start: Atoms,
    length: dict,
    temperature: float,
    out: Path,
    friction: float = 20.0,
    **more,
) -> Atoms:
    """The last state of a run with a Langevin thermostat; `length` comes from `duration`."""
    ensemble = {"kind": "langevin", "temperature": temperature, "friction": friction}
    return simulated(model, start, {**length, "ensemble": ensemble, **more}, out)


# Errors, times, results


def once(file: Path, measure: Callable):
    """What `measure()` returns (JSON); if the file has it from an earlier run, it is read."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(measure()))
    return json.loads(file.read_text())


def to_atoms(frame) -> Atoms:
    """A frame of a data file without its labels."""
    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


def error_of(pairs) -> dict[str, float]:
    """RMSE, MAE and R2 over all numbers of (reference, predicted) pairs."""
    reference, predicted = (
        np.concatenate([np.ravel(x) for x in part]) for part in zip(*pairs, strict=True)
    )
    row = statistics(reference, predicted)
    return {name: row[name] for name in ("rmse", "mae", "r2")}


def born_errors(numbers, reference, predicted) -> dict:
    """Errors of Born charges (e): of all, by component and by element.

    `best_factor` is the factor on the predicted charges that fits the reference best.
    """
    diagonal = np.eye(3, dtype=bool)
    record = error_of([(reference, predicted)])
    record["diagonal"] = error_of([(reference[:, diagonal], predicted[:, diagonal])])
    record["off_diagonal"] = error_of([(reference[:, ~diagonal], predicted[:, ~diagonal])])
    for z in np.unique(numbers):
        chosen = numbers == z
        record[chemical_symbols[z]] = error_of([(reference[chosen], predicted[chosen])])
    record["best_factor"] = float(np.vdot(reference, predicted) / np.vdot(predicted, predicted))
    return record


def born_errors_on(frames: list[Atoms], model: Model, **options) -> dict:
    """`born_errors` of a model on frames with DFT Born charges in the array `bec`.

    The options are those of `Model.predict`.
    """
    return born_errors(
        *born_arrays(frames, model.predict(frames, ("born_charges",), **options))
    )


def born_arrays(frames: list[Atoms], outs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elements, DFT Born charges (array `bec`) and predicted ones, e, of all atoms."""
    return (
        np.concatenate([atoms.numbers for atoms in frames]),
        np.concatenate([atoms.arrays["bec"].reshape(-1, 3, 3) for atoms in frames]),
        np.concatenate([out.born_charges for out in outs]),
    )


def fastest(function: Callable, *arguments, rounds: int = 5) -> float:
    """Seconds of the fastest call, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def write_results(out: Path, results: dict) -> None:
    """Writes `results.json`: the numbers with the commit, machine and date that gave them."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    made = {
        "commit": commit,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
    }
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**results, "made": made}, indent=2)
    write_atomically(out / "results.json", text + "\n")
    print(json.dumps(results, indent=2))
