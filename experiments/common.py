"""What every experiment does: train once (or go on), and write its numbers with their origin."""

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path

import jax
import numpy as np

from jles.cli.evaluate import statistics
from jles.config import from_dict
from jles.files import write_atomically
from jles.predict.model import Model, load_model
from jles.train.config import TrainConfig
from jles.train.loop import train


def arguments(description: str, default_out: str) -> argparse.Namespace:
    """`--out`, the one flag of an experiment."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path(default_out))
    return parser.parse_args()


def trained(values: dict, out: Path) -> Model:
    """The model of these training settings: loaded if it is done, resumed if it was cut short."""
    if not (out / "config.yaml").is_file():
        config = from_dict(TrainConfig, values, str(out))
        start = time.monotonic()
        train(config, out, resume=(out / "metrics.jsonl").is_file())
        seconds = time.monotonic() - start
        write_atomically(out / "seconds.txt", f"{seconds:.0f}\n")
    return load_model(out, values.get("dtype", "float32"))


def training_seconds(out: Path) -> float | None:
    """How long a training of `trained` took (its last leg, where it was resumed)."""
    file = out / "seconds.txt"
    return float(file.read_text()) if file.is_file() else None


def error_of(pairs) -> dict[str, float]:
    """RMSE, MAE and R2 of all numbers of (reference, predicted) pairs together."""
    reference, predicted = (
        np.concatenate([np.ravel(x) for x in part]) for part in zip(*pairs, strict=True)
    )
    row = statistics(reference, predicted)
    return {name: row[name] for name in ("rmse", "mae", "r2")}


def write_results(out: Path, results: dict) -> None:
    """`results.json`: the numbers, and where they were made."""
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
    write_atomically(
        out / "results.json", json.dumps({**results, "made": made}, indent=2) + "\n"
    )
    print(json.dumps(results, indent=2))
