"""Which backbone, with which latent moments, on which kind of system?

Run:     python experiments/backbones.py --out results/backbones [--budget SECONDS]
Needs:   dipeptides-spice, water-rpbe-d3, ionic-crystals-phonopy, 4g-hdnnp-n2p2 (JLES_DATA);
         one core, two to six minutes a model with --budget 60 (default 100), seconds of
         processor time.
Writes:  SYSTEM/BACKBONE/MOMENTS/ (models), results.json, table.md and pictures in --out.
Expect:  latent moments lower the errors where long-range interactions matter.

Every backbone trains for the same processor time on a system, without compilation: a model with
latent charges is timed first and gives the number of epochs, for all moments. A finished model
is not trained again; give --backbones, --moments and --systems to train a part. Data, held-out
frames and errors are those of ladder.py.
"""

import json
import time
from functools import partial
from pathlib import Path

import jax
import ladder
from common import once, options, run, trained, write_results

from jles.cache_folder import use_compilation_cache
from jles.config import from_dict
from jles.models.cost import flops_per_atom
from jles.pictures import PALETTE, new_figure, save_figure
from jles.predict.model import load_model
from jles.train.config import TrainConfig
from jles.train.losses import Weights
from jles.train.optimizer import build_optimizer
from jles.train.prepare import prepare
from jles.train.step import build_steps
from jles.train.training_frames import needed_labels

BACKBONES = {
    "cace": {"n_rbf": 6, "n_radial_basis": 8, "l_max": 3, "body_order": 3},
    "mace": {
        "hidden_irreps": "16x0e + 16x1o",
        "last_irreps": "16x0e + 16x1o + 16x2e",
        "max_ell": 2,
        "correlation": 2,
    },
    "nequip": {"num_layers": 3, "l_max": 2, "last_l_max": 2, "num_features": 16},
    "allegro": {
        "num_layers": 2,
        "l_max": 2,
        "num_scalar_features": 32,
        "num_tensor_features": 8,
    },
    "painn": {"n_atom_basis": 64, "n_interactions": 2, "degree": 2},
}

RATES = {"cace": 2e-2, "mace": 2e-2, "nequip": 2e-2, "painn": 2e-2, "allegro": 1e-2}
"""Learning rates, see training.py."""

MOMENTS = {
    "short range": {"charges": None},
    "q": {},
    "q+u+Q": ladder.RUNGS["q+u+Q"],
    "q+u+Q+kappa+alpha": ladder.RUNGS["q+u+Q+kappa+alpha"],
}

# Average number of neighbours within the cutoff of ladder.py.
SYSTEMS = {"dipeptides": 20.0, "water": 38.0, "MgO": 56.0, "Au2-MgO": 43.0}
FASTEST, LONGEST = 3, 2000
TIMED = 8
"""Steps timed for every shape of batches."""


def settings(system: str, backbone: str, moments: str, epochs: int) -> dict:
    """The training settings of one model."""
    values = ladder.settings(system, "q")
    sizes = {"kind": backbone, "cutoff": values["model"]["backbone"]["cutoff"]}
    sizes |= BACKBONES[backbone]
    if backbone != "cace":
        sizes["avg_num_neighbors"] = SYSTEMS[system]
    model = {key: value for key, value in values["model"].items() if key != "backbone"}
    every = max(1, epochs // 12)
    return values | {
        "model": model | {"backbone": sizes} | MOMENTS[moments],
        "epochs": epochs,
        "batch_size": 1,
        "loss": {"energy": {0: 1.0, max(1, round(0.8 * epochs)): 10.0}, "forces": 1.0},
        "optimizer": {
            "learning_rate": RATES[backbone],
            "warmup_steps": 100,
            "clip_update": 1.0,
        },
        "validate_every": every,
        "checkpoint_every": every,
    }


def seconds_an_epoch(system: str, backbone: str) -> float:
    """Processor time of an epoch of training a model with latent charges."""
    config = from_dict(TrainConfig, settings(system, backbone, "q", 1), "settings")
    prepared = prepare(config)
    steps = build_steps(
        prepared.potential,
        build_optimizer(config.optimizer),
        needed_labels(config),
        quick=config.model.backbone.compiles_quickly,
    )

    def step(state, batch):
        state, loss, _ = steps.train(state, batch.structure, batch.labels, weights, 1e-3, 0.99)
        loss.block_until_ready()
        return state

    weights = Weights(energy=1.0, forces=1.0)
    state, spent, same = steps.init(prepared.params), 0.0, {}
    for batch in prepared.train_loader.epoch():
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch.structure))
        same.setdefault(shapes, []).append(batch)
    for batches in same.values():
        state = step(state, batches[0])
        start = time.process_time()
        for _ in range(TIMED):
            state = step(state, batches[0])
        spent += len(batches) * (time.process_time() - start) / TIMED
    return spent


def epochs_within(budget: float, system: str, backbone: str, place: Path) -> int:
    """The epochs of a training of this processor time; it is measured once."""
    measure = partial(seconds_an_epoch, system, backbone)
    epochs = round(budget / once(place / "seconds_an_epoch.json", measure))
    return min(LONGEST, max(FASTEST, epochs))


def train(system: str, backbone: str, moments: str, place: Path, budget: float | None) -> dict:
    """Trains and scores one model; no budget for a smoke run."""
    smoke = budget is None
    epochs = 2 if smoke else epochs_within(budget, system, backbone, place.parent)
    model = place / "model"
    start = time.process_time()
    trained(settings(system, backbone, moments, epochs), model, smoke)
    record = {"epochs": epochs, "processor_seconds": time.process_time() - start}
    record |= ladder.score(model, system, 2 if smoke else None)
    return record | sizes_of(load_model(model), SYSTEMS[system])


def sizes_of(model, neighbors: float) -> dict:
    """Number of parameters, and millions of operations an atom for energy and forces."""
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
        "megaflops": flops_per_atom(model.config, round(neighbors)) / 1e6,
    }


def scores(out: Path) -> dict:
    """Scores of all models in a folder, by system, backbone and moments."""
    found = {}
    for system in SYSTEMS:
        for backbone in BACKBONES:
            for moments in MOMENTS:
                path = out / system / backbone / moments / "score.json"
                if path.is_file():
                    row = json.loads(path.read_text())
                    found.setdefault(system, {}).setdefault(backbone, {})[moments] = row
    return found


def table(results: dict) -> str:
    """All scores as a Markdown table."""
    lines = [
        (
            "| system | backbone | moments | energy RMSE (meV/atom) | force RMSE (meV/Å) "
            "| dipole R² | Born charges RMSE (e) | parameters | epochs | training time (s) |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for system, backbones in results.items():
        for backbone, rows in backbones.items():
            for moments, row in rows.items():
                dipole = f"{row['dipole']['r2']:.3f}" if "dipole" in row else ""
                born = row.get("born_charges", {}).get("rmse")
                lines.append(
                    f"| {system} | {backbone} | {moments} | {row['energy_rmse']:.2f} "
                    f"| {row['force_rmse']:.1f} | {dipole} "
                    f"| {'' if born is None else f'{born:.3f}'} | {row['parameters']} "
                    f"| {row['epochs']} | {row['processor_seconds']:.0f} |"
                )
    return "\n".join(lines) + "\n"


def picture(path: Path, results: dict) -> None:
    """Force errors of all models: one panel a system, one line a backbone."""
    figure, axes = new_figure(columns=max(2, len(results)), width=3.4, height=3.4)
    for axis, (system, backbones) in zip(axes, results.items(), strict=False):
        for number, backbone in enumerate(BACKBONES):
            rows = backbones.get(backbone, {})
            places = [n for n, moments in enumerate(MOMENTS) if moments in rows]
            errors = [rows[moments]["force_rmse"] for moments in MOMENTS if moments in rows]
            axis.plot(
                places, errors, "osD^v"[number] + "-", color=PALETTE[number], label=backbone
            )
        axis.set_xticks(
            range(len(MOMENTS)), ["none", "q", "q+u+Q", "all"], rotation=0, fontsize=9
        )
        axis.set(title=system, xlabel="latent moments", ylim=(0, None))
    axes[0].set_ylabel("force RMSE (meV/Å)")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False
    )
    save_figure(figure, path)


def main(chosen):
    use_compilation_cache()
    wanted = [
        (system, backbone, moments)
        for moments in chosen.moments
        for system in chosen.systems
        for backbone in chosen.backbones
    ]
    if chosen.smoke:
        wanted = [("dipeptides", name, "q") for name in BACKBONES]
    if chosen.only_scored:
        wanted = []
    for system, backbone, moments in wanted:
        budget = None if chosen.smoke else chosen.budget
        place = chosen.out / system / backbone / moments
        one = partial(train, system, backbone, moments, place, budget)
        once(place / "score.json", one)
    results = scores(chosen.out)
    write_results(chosen.out, results)
    (chosen.out / "table.md").write_text(table(results), encoding="utf-8")
    picture(chosen.out / "force_errors.png", results)


if __name__ == "__main__":
    parser = options(__doc__, "results/backbones")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=BACKBONES)
    parser.add_argument("--moments", nargs="+", default=list(MOMENTS), choices=MOMENTS)
    parser.add_argument("--budget", type=float, default=100.0, help="processor time, s a model")
    parser.add_argument("--only-scored", action="store_true", help="train nothing")
    run(main, parser)
