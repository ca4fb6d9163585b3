"""What makes a training better: rate, batch, schedule, averaging, weights, precision?

Run:     python experiments/training.py --out results/training [--variants NAME ...]
Needs:   dipeptides-spice (JLES_DATA); one core, one to three minutes a variant.
Writes:  VARIANT/ (models), results.json, table.md and training.png in --out.
Expect:  differences beyond the scatter of the seeds, which the table gives.

Every variant changes one thing in the base: PaiNN of two interactions with latent charges,
trained for twelve epochs on the 495 frames and judged on the 55 frames of val_bec.xyz. Variants
with another backbone change its learning rate, too. The "recommended" variants change one thing
in RECOMMENDED instead. A finished variant is not trained again.
"""

import json
import time
from functools import partial
from pathlib import Path

from common import once, options, run, trained, write_results

from jles.data.sets import data_set
from jles.pictures import ACCENT, GUIDE, new_figure, save_figure

EPOCHS = 12
BACKBONES = {
    "painn": {"n_interactions": 2},
    "nequip": {"num_layers": 3, "l_max": 1, "num_features": 32, "invariant_neurons": 32},
    "mace": {
        "hidden_irreps": "32x0e",
        "last_irreps": "32x0e",
        "max_ell": 2,
        "correlation": 3,
    },
    "cace": {"n_rbf": 6, "n_radial_basis": 8, "l_max": 3, "body_order": 3},
}


def merged(values: dict, changes: dict) -> dict:
    """Nested values with some of them changed."""
    result = dict(values)
    for key, change in changes.items():
        inner = result.get(key)
        nested = isinstance(change, dict) and isinstance(inner, dict)
        result[key] = merged(inner, change) if nested else change
    return result


BASE = {
    "epochs": EPOCHS,
    "batch_size": 4,
    "loss": {"energy": {0: 1.0, 7: 30.0}, "forces": 1.0},
    "optimizer": {"learning_rate": 0.03, "warmup_steps": 100},
}

# What docs/training.md recommends with Adam; `jles init-config` writes Muon.
RECOMMENDED = {
    "epochs": EPOCHS,
    "batch_size": 1,
    "loss": {"energy": {0: 1.0, 10: 10.0}, "forces": 1.0},
    "optimizer": {"learning_rate": 0.02, "warmup_steps": 100, "clip_update": 1.0},
}

# Six epochs each, to compare optimizers.
SHORT = RECOMMENDED | {"epochs": 6, "loss": {"energy": 3.0, "forces": 1.0}}
LARGER_MACE = {"hidden_irreps": "64x0e", "last_irreps": "64x0e"}


def recommended(**changes) -> dict:
    """A variant that changes the recommended settings instead of the base."""
    return {"start": RECOMMENDED, **changes}


def short(kind: str, name: str, rate: float, **changes) -> dict:
    """A variant of six epochs with another optimizer, and other changes."""
    optimizer = {"name": name, "learning_rate": rate}
    changes = {"start": SHORT, "kind": kind, "optimizer": optimizer} | changes
    return merged({"model": {"backbone": LARGER_MACE}} if kind == "mace" else {}, changes)


VARIANTS = {
    "base": {},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "rate 0.005": {"optimizer": {"learning_rate": 0.005}},
    "rate 0.01": {"optimizer": {"learning_rate": 0.01}},
    "rate 0.06": {"optimizer": {"learning_rate": 0.06}},
    "rate 0.1": {"optimizer": {"learning_rate": 0.1}},
    "no warm-up": {"optimizer": {"warmup_steps": 0}},
    "constant rate": {"optimizer": {"schedule": "constant"}},
    "amsgrad": {"optimizer": {"name": "amsgrad"}},
    "batch 2": {"batch_size": 2},
    "batch 1": {"batch_size": 1},
    "batch 8": {"batch_size": 8},
    "rate 0.03, steps bounded": {"optimizer": {"clip_update": 1.0}},
    "rate 0.1, steps bounded": {"optimizer": {"learning_rate": 0.1, "clip_update": 1.0}},
    "average 0": {"optimizer": {"ema": 0.0}},
    "average 0.999": {"optimizer": {"ema": 0.999}},
    "weight decay 0.01": {"optimizer": {"weight_decay": 0.01}},
    "clip 1": {"optimizer": {"clip_norm": 1.0}},
    "energy weight 1": {"loss": {"energy": 1.0}},
    "energy weight 30": {"loss": {"energy": 30.0}},
    "no charges": {"model": {"charges": None}},
    "dipoles": {"model": {"dipoles": {}}},
    "sigma 0.7": {"model": {"electrostatics": {"sigma": 0.7}}},
    "sigma 1.5": {"model": {"electrostatics": {"sigma": 1.5}}},
    "cutoff 5": {"model": {"backbone": {"cutoff": 5.0, "avg_num_neighbors": 23.0}}},
    "3 interactions": {"model": {"backbone": {"n_interactions": 3}}},
    "float64": {"dtype": "float64"},
    "nequip, rate 0.005": {"kind": "nequip", "optimizer": {"learning_rate": 0.005}},
    "nequip, rate 0.02": {"kind": "nequip", "optimizer": {"learning_rate": 0.02}},
    "mace, rate 0.005": {"kind": "mace", "optimizer": {"learning_rate": 0.005}},
    "mace, rate 0.02": {"kind": "mace", "optimizer": {"learning_rate": 0.02}},
    "cace, rate 0.01": {"kind": "cace", "optimizer": {"learning_rate": 0.01}},
    "recommended": recommended(),
    "recommended, seed 1": recommended(seed=1),
    "recommended, seed 2": recommended(seed=2),
    "recommended, amsgrad": recommended(optimizer={"name": "amsgrad"}),
    "recommended, constant rate": recommended(optimizer={"schedule": "constant"}),
    "recommended, steps": recommended(optimizer={"schedule": "step", "step_epochs": 3}),
    "recommended, sigma 0.7": recommended(model={"electrostatics": {"sigma": 0.7}}),
    "recommended, sigma 1.5": recommended(model={"electrostatics": {"sigma": 1.5}}),
    "recommended, k_max 5": recommended(model={"electrostatics": {"k_max": 5.0}}),
    "recommended, float64": recommended(dtype="float64"),
    "recommended, dipoles": recommended(model={"dipoles": {}}),
    "recommended, no charges": recommended(model={"charges": None}),
    "cace, rate 0.03": {"kind": "cace", "optimizer": {"learning_rate": 0.03}},
    "six epochs, cace, adamw": short("cace", "adamw", 0.02),
    "six epochs, cace, muon": short("cace", "muon", 0.02),
    "six epochs, painn, adamw": short("painn", "adamw", 0.02),
    "six epochs, painn, muon": short("painn", "muon", 0.02),
    "six epochs, nequip, adamw": short("nequip", "adamw", 0.02),
    "six epochs, nequip, muon": short("nequip", "muon", 0.04),
    "six epochs, mace, adamw": short("mace", "adamw", 0.02),
    "six epochs, mace, muon, rate 0.01": short("mace", "muon", 0.01),
    "six epochs, mace, muon": short("mace", "muon", 0.02),
    "six epochs, mace, muon, rate 0.05": short("mace", "muon", 0.05),
    "six epochs, painn, muon, seed 1": short("painn", "muon", 0.02, seed=1),
    "six epochs, painn, muon, huber 0.1": short(
        "painn", "muon", 0.02, loss={"huber": {"forces": 0.1}}
    ),
    "six epochs, painn, muon, huber 0.03": short(
        "painn", "muon", 0.02, loss={"huber": {"forces": 0.03}}
    ),
    "six epochs, painn, muon, sigma 0.7": short(
        "painn", "muon", 0.02, model={"electrostatics": {"sigma": 0.7}}
    ),
    "six epochs, painn, muon, sigma 1.5": short(
        "painn", "muon", 0.02, model={"electrostatics": {"sigma": 1.5}}
    ),
    "six epochs, painn, muon, float64": short("painn", "muon", 0.02, dtype="float64"),
}
"""What each variant changes in the base, or in `start`; `kind` is another backbone."""


def settings(changes: dict) -> dict:
    """The training settings of a variant."""
    changes = dict(changes)
    kind, start = changes.pop("kind", "painn"), changes.pop("start", BASE)
    backbone = {"kind": kind, "cutoff": 4.0, **BACKBONES[kind]}
    if kind != "cace":
        backbone["avg_num_neighbors"] = 16.0
    same = {
        "data": {
            "train": str(data_set("dipeptides-spice/train.xyz")),
            "valid": str(data_set("dipeptides-spice/val_bec.xyz")),
        },
        "model": {
            "backbone": backbone,
            "charges": {"total": "shift"},
            "electrostatics": {"sigma": 1.0, "k_max": 3.14159},
        },
        "checkpoint_every": EPOCHS,
    }
    return merged(same | start, changes)


def train(name: str, out: Path, smoke: bool) -> dict:
    """Trains a variant; its validation errors, by epoch and at the best one."""
    start = time.process_time()
    trained(settings(VARIANTS[name]), out / name, smoke)
    seconds = time.process_time() - start
    lines = (out / name / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "valid_forces_rmse" in row]
    best = min(rows, key=lambda row: row["valid_forces_rmse"])
    return {
        "force_rmse_mev_per_angstrom": [1e3 * row["valid_forces_rmse"] for row in rows],
        "best": 1e3 * best["valid_forces_rmse"],
        "energy_rmse_mev_per_atom": 1e3 * best["valid_energy_per_atom_rmse"],
        "train_force_rmse": 1e3 * rows[-1]["train_forces_rmse"],
        "first_epoch_loss": json.loads(lines[0])["train_loss"],
        "processor_seconds": seconds,
    }


def table(results: dict) -> str:
    """The results as a table in Markdown."""
    lines = [
        (
            "| variant | force RMSE (meV/Å) | energy RMSE (meV/atom) | training force RMSE | "
            "processor time (s) |"
        ),
        "|---|---|---|---|---|",
    ]
    for name, row in results.items():
        lines.append(
            f"| {name} | {row['best']:.0f} | {row['energy_rmse_mev_per_atom']:.1f} | "
            f"{row['train_force_rmse']:.0f} | {row['processor_seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(path, results: dict) -> None:
    """Force errors of all variants beside that of the base."""
    figure, (axis,) = new_figure(6.0, 0.22 * len(results) + 1.0)
    names = list(results)[::-1]
    axis.barh(names, [results[name]["best"] for name in names], color=ACCENT, height=0.6)
    if "base" in results:
        axis.axvline(results["base"]["best"], color=GUIDE, linewidth=1.0)
    axis.set_xlabel("force RMSE on validation frames (meV/Å)")
    axis.tick_params(labelsize=8)
    save_figure(figure, path)


def main(chosen):
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.variants or (list(VARIANTS)[:2] if chosen.smoke else VARIANTS):
        once(chosen.out / f"{name}.json", partial(train, name, chosen.out, chosen.smoke))
    files = {name: chosen.out / f"{name}.json" for name in VARIANTS}
    results = {name: json.loads(f.read_text()) for name, f in files.items() if f.is_file()}
    (chosen.out / "table.md").write_text(table(results))
    draw(chosen.out / "training.png", results)
    write_results(chosen.out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/training")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all")
    run(main, parser)
