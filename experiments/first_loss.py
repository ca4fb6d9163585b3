"""How far is a new model from predicting zero, and what do its first steps do?

Run:     python experiments/first_loss.py --out results/first_loss
Needs:   dipeptides-spice (JLES_DATA); one core, eight minutes, most of it compilation.
Writes:  results.json and table.md in --out.
Expect:  first losses within ten times the mean square of the labels, for every backbone.

A model that predicts zero has the mean square of the labels as its loss: forces, and energies
per atom without the element energies, both with the weight one. The loss of a new model is
given as a multiple of this, for a tenth of the training frames and three seeds. The second part
makes twenty steps with CACE and its published message-passing layer at a learning rate of 1e-2,
with and without warm-up. A model that was measured is not measured again.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import once, options, run, shortened, write_results

from jles.cache_folder import use_compilation_cache
from jles.config import from_dict, read_yaml
from jles.data.sets import data_set
from jles.train.config import OptimizerConfig, TrainConfig
from jles.train.feature_statistics import feature_statistics
from jles.train.losses import Weights, loss_of
from jles.train.optimizer import build_optimizer, learning_rate
from jles.train.prepare import Prepared, prepare
from jles.train.step import build_steps

NEEDED = "energy", "forces"
WEIGHTS = Weights(energy=1.0, forces=1.0)
LAYER = "cace, the published layer"
SEEDS, STEPS = (0, 1, 2), 20

CACE = {"kind": "cace", "cutoff": 4.0, "l_max": 3, "body_order": 3, "n_rbf": 6}
PUBLISHED = {
    "kind": "cace",
    "cutoff": 4.0,
    "l_max": 4,
    "body_order": 3,
    "n_radial_basis": 12,
    "layers": 1,
    "messages": ["bchi"],
}


def models() -> dict[str, dict]:
    """Model sections of training files, by name."""
    folder = Path(__file__).parent / "configs"
    found = {
        kind: read_yaml(folder / f"{kind}_dipeptides.yaml")["model"]
        for kind in ("mace", "nequip", "allegro", "painn")
    }
    for name, backbone in {"cace": CACE, LAYER: PUBLISHED}.items():
        found[name] = found["painn"] | {"backbone": backbone}
    return found


def prepared(model: dict, smoke: bool) -> Prepared:
    """A new model of this section and batches of a tenth of the training frames."""
    values = {
        "data": {
            "train": str(data_set("dipeptides-spice/train.xyz")),
            "valid_fraction": 0.9,
            "max_buckets": 1,
        },
        "model": model,
        "epochs": 1,
        "loss": {"energy": 1.0, "forces": 1.0},
    }
    values = shortened(values) if smoke else values
    return prepare(from_dict(TrainConfig, values, "first_loss.py"))


def new_params(new: Prepared, seed: int) -> dict:
    """Parameters of a new model with another seed."""
    init = jax.jit(new.potential.init, static_argnums=1)  # compiled by `prepare` already
    params = init(jax.random.key(seed), jnp.dtype("float32"))
    if new.potential.config.normalize_features:
        params["features"] = feature_statistics(new.potential, params, new.train_loader)
    return params


def mean_square(batches) -> float:
    """The loss of a model that predicts zero."""
    energies, forces = [], []
    for batch in batches:
        for n in np.flatnonzero(batch.frames >= 0):
            mask = np.asarray(batch.structure.mask[n])
            energies.append(float(batch.labels.values["energy"][n]) / mask.sum())
            forces.append(np.ravel(batch.labels.values["forces"][n][mask]))
    return float(np.mean(np.square(energies)) + np.mean(np.square(np.concatenate(forces))))


def first_losses(new: Prepared, seeds) -> list[float]:
    """Losses of new models over the mean square of the labels."""
    batches = list(new.train_loader.epoch())
    steps = build_steps(new.potential, build_optimizer(OptimizerConfig()), NEEDED)
    found = []
    for seed in seeds:
        params = new_params(new, seed)
        errors = [steps.evaluate(params, b.structure, b.labels) for b in batches]
        total = jax.tree.map(lambda *one: sum(one), *errors)
        found.append(float(loss_of(total, WEIGHTS)) / mean_square(batches))
    return found


def first_steps(new: Prepared, seeds) -> dict:
    """Losses of the first steps over that of the first one, for every seed."""
    found = {}
    steps = build_steps(new.potential, build_optimizer(OptimizerConfig()), NEEDED)
    batches = list(new.train_loader.epoch((0, 0)))
    for warmup in (0, 100):
        config = OptimizerConfig(learning_rate=1e-2, warmup_steps=warmup)
        rows = []
        for seed in seeds:
            state, losses = steps.init(new_params(new, seed)), []
            for step in range(STEPS):
                batch = batches[step % len(batches)]
                rate = learning_rate(config, step, 0, 1, 1.0)
                state, loss, _ = steps.train(
                    state, batch.structure, batch.labels, WEIGHTS, rate, 0.99
                )
                losses.append(float(loss))
            rows.append((np.array(losses) / losses[0]).round(3).tolist())
        found[f"warm-up of {warmup} steps"] = rows
    return found


def measured(name: str, model: dict, chosen) -> dict:
    """The first losses of one model, and its first steps if it is `LAYER`."""
    new, seeds = prepared(model, chosen.smoke), SEEDS[:1] if chosen.smoke else SEEDS
    record = {"first losses": first_losses(new, seeds)}
    if name == LAYER:
        record["first steps"] = first_steps(new, seeds)
    return record


def table(results: dict) -> str:
    """First losses in Markdown."""
    lines = ["| backbone | first loss / mean square of the labels |", "|---|---|"]
    for name, record in results.items():
        ratios = ", ".join(f"{value:.2f}" for value in record["first losses"])
        lines.append(f"| {name} | {ratios} |")
    return "\n".join(lines) + "\n"


def main(chosen):
    use_compilation_cache()
    chosen.out.mkdir(parents=True, exist_ok=True)
    results = {
        name: once(chosen.out / f"{name}.json", partial(measured, name, model, chosen))
        for name, model in models().items()
    }
    write_results(chosen.out, results)
    (chosen.out / "table.md").write_text(table(results), encoding="utf-8")


if __name__ == "__main__":
    run(main, options(__doc__, "results/first_loss"))
