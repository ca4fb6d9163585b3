"""Training: what a step does, what the loss counts, what a run leaves behind."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jles
from jles.cli.main import main
from jles.config import from_dict
from jles.data.frames import read_frames
from jles.data.loader import Loader
from jles.errors import InputError
from jles.models.potential import build_potential
from jles.models.store import read_model
from jles.observables.stress import energy_forces_stress
from jles.train import loop
from jles.train.config import DataConfig, LossConfig, OptimizerConfig, TrainConfig
from jles.train.log import MetricsLog
from jles.train.losses import Errors, Weights, batch_errors, loss_of, root_mean_square
from jles.train.optimizer import at_epoch, build_optimizer, build_plateau, learning_rate
from jles.train.prepare import load_frames, prepare
from jles.train.step import build_steps
from tests.small_systems import (
    TINY_MODEL,
    labelled,
    mixed_frames,
    rattled,
    small_config,
    training_values,
    write_frames,
)

WITHOUT_CHARGES = TINY_MODEL | {"charges": None}


def springs(wrap=lambda energy_fn: energy_fn):
    """A potential of springs between neighbours: two parameters, quickly compiled."""

    def energy_fn(params, structure):
        positions, cell = structure.positions, structure.cell
        shift = structure.neighbor_shift.astype(cell.dtype) @ cell
        vectors = positions[structure.neighbor_index] + shift - positions[:, None]
        squared = jnp.sum(vectors**2, axis=-1) * structure.neighbor_mask
        atoms = jnp.sum(structure.mask)
        return params["spring"][0] * jnp.sum(squared) + params["offset"][0] * atoms

    return build_potential(small_config(charges=None))._replace(energy_fn=wrap(energy_fn))


TOY_PARAMS = {"spring": np.array([0.3]), "offset": np.array([-0.2])}


def frames_of(atoms_list, tmp_path):
    return read_frames(write_frames(tmp_path / "frames.xyz", atoms_list))


def loader_of(frames, batch_size=4, **options):
    options = {"cutoff": 3.0, "k_max": None, "dtype": np.float64} | options
    return Loader(frames, batch_size=batch_size, **options)


# --- the loss


@pytest.fixture
def partly_labelled(tmp_path):
    """Four frames: everything; energy alone; forces alone; a cluster."""
    return frames_of(
        [
            labelled(rattled(0, count=4)),
            labelled(rattled(1, count=3), ("energy",)),
            labelled(rattled(2, count=5), ("forces",)),
            labelled(rattled(3, count=2, pbc=False)),
        ],
        tmp_path,
    )


def test_errors_are_sums_over_what_is_labelled(partly_labelled):
    """Against a plain loop over frames; the fifth structure of the batch is filler."""
    loader = loader_of([*partly_labelled, partly_labelled[0]], batch_size=3, max_buckets=1)
    potential, expected = springs(), np.zeros(6)
    derivatives = jax.vmap(
        lambda one: energy_forces_stress(lambda s: potential.energy_fn(TOY_PARAMS, s), one)
    )
    for frame in [*partly_labelled, partly_labelled[0]]:
        (one,) = loader_of([frame], batch_size=1).epoch(None)
        out = jax.tree.map(lambda leaf: np.asarray(leaf[0]), derivatives(one.structure))
        labels, count = frame.labels, len(frame.numbers)
        if "energy" in labels:
            expected[0] += ((out.energy - labels["energy"]) / count) ** 2
            expected[3] += 1
        if "forces" in labels:
            expected[1] += np.sum((out.forces[:count] - labels["forces"]) ** 2)
            expected[4] += 3 * count
        if "stress" in labels:
            expected[2] += np.sum((out.stress - labels["stress"]) ** 2)
            expected[5] += 9
    errors_of = jax.jit(lambda s, labels: batch_errors(potential, TOY_PARAMS, s, labels, True))
    total = sum(np.array(errors_of(*batch[:2])) for batch in loader.epoch(None))
    np.testing.assert_allclose(total, expected, rtol=1e-9)
    assert expected[3:].tolist() == [4, 3 * (4 + 5 + 2 + 4), 18]


def test_a_missing_label_has_no_effect_whatever_stands_in_its_place(partly_labelled):
    potential = springs()
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    labels = batch.labels
    garbage = replace(
        labels,
        energy=np.where(labels.has_energy > 0, labels.energy, 1e6),
        forces=np.where(labels.has_forces[:, None, None] > 0, labels.forces, -1e6),
        stress=np.where(labels.has_stress[:, None, None] > 0, labels.stress, 1e6),
    )

    @jax.jit
    def gradient(labels):
        def loss(params):
            errors = batch_errors(potential, params, batch.structure, labels, True)
            return loss_of(errors, Weights(1.0, 2.0, 3.0))

        return jax.value_and_grad(loss)(TOY_PARAMS)

    for clean, spoilt in zip(
        jax.tree.leaves(gradient(labels)), jax.tree.leaves(gradient(garbage)), strict=True
    ):
        np.testing.assert_array_equal(clean, spoilt)
        assert np.all(clean != 0.0)


def test_loss_is_the_weighted_sum_of_mean_squares(partly_labelled):
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    errors = batch_errors(springs(), TOY_PARAMS, batch.structure, batch.labels, True)
    rmse = root_mean_square(errors)
    expected = (
        3.0 * rmse["energy_per_atom_rmse"] ** 2
        + 5.0 * rmse["forces_rmse"] ** 2
        + 7.0 * rmse["stress_rmse"] ** 2
    )
    np.testing.assert_allclose(loss_of(errors, Weights(3.0, 5.0, 7.0)), expected, rtol=1e-12)


def test_without_stress_no_stress_error_is_reported(partly_labelled):
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    errors = batch_errors(springs(), TOY_PARAMS, batch.structure, batch.labels, False)
    assert set(root_mean_square(errors)) == {"energy_per_atom_rmse", "forces_rmse"}


def test_scheduled_weights_hold_from_their_epoch_on():
    schedule = {0: 1.0, 3: 5.0, 10: 0.5}
    assert [at_epoch(schedule, epoch) for epoch in (0, 2, 3, 9, 10, 99)] == [1, 1, 5, 5, 0.5, 0.5]
    assert at_epoch(2.5, 7) == 2.5


# --- the optimizer


def adam_by_hand(gradients, amsgrad, clip, decay, params):
    """Updates (to be multiplied by minus the learning rate) of one array."""
    first = second = largest = np.zeros_like(params)
    for t, gradient in enumerate(gradients, 1):
        norm = np.sqrt(np.sum(gradient**2))
        factor = clip / norm if clip is not None and norm > clip else 1.0
        first = 0.9 * first + 0.1 * factor * gradient
        second = 0.999 * second + 0.001 * (factor * gradient) ** 2
        corrected = second / (1 - 0.999**t)
        largest = np.maximum(largest, corrected)
        scale = np.sqrt(largest if amsgrad else corrected) + 1e-8
        yield first / (1 - 0.9**t) / scale + decay * params


@pytest.mark.parametrize("name", ["adamw", "amsgrad"])
@pytest.mark.parametrize(("clip", "decay"), [(None, 0.0), (1.0, 0.0), (1.0, 0.1)])
def test_optimizer_follows_its_formula(name, clip, decay, rng):
    config = OptimizerConfig(name=name, clip_norm=clip, weight_decay=decay)
    optimizer = build_optimizer(config)
    params = {"table": rng.normal(size=(3, 2))}
    gradients = [scale * rng.normal(size=(3, 2)) for scale in (5.0, 0.1, 0.1, 3.0, 0.01)]
    expected = adam_by_hand(gradients, name == "amsgrad", clip, decay, params["table"])
    state = optimizer.init(params)
    for gradient, update in zip(gradients, expected, strict=True):
        updates, state = optimizer.update({"table": gradient}, state, params)
        np.testing.assert_allclose(updates["table"], update, rtol=1e-6)


def test_weight_decay_spares_biases():
    optimizer = build_optimizer(OptimizerConfig(weight_decay=0.5))
    params = {"bias": jnp.ones(3), "kernel": jnp.ones((3, 2))}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["bias"], 0.0)
    np.testing.assert_allclose(updates["kernel"], 0.5)


def test_learning_rate_schedules():
    def rates(epochs, step=lambda epoch: 1000, scale=1.0, **options):
        config = OptimizerConfig(learning_rate=0.1, **options)
        return [learning_rate(config, step(e), e, 10, scale) for e in epochs]

    assert rates([0, 5, 9], schedule="constant") == [0.1] * 3
    np.testing.assert_allclose(
        rates([0, 2, 3, 6], schedule="step", step_epochs=3, factor=0.5), [0.1, 0.1, 0.05, 0.025]
    )
    np.testing.assert_allclose(
        rates([0, 5, 10], schedule="cosine", min_scale=0.01), [0.1, 0.0505, 0.001]
    )
    np.testing.assert_allclose(rates([4], schedule="plateau", scale=0.25), [0.025])
    warm = rates([0, 1, 2, 3, 4], lambda epoch: epoch, schedule="constant", warmup_steps=4)
    np.testing.assert_allclose(warm, [0.025, 0.05, 0.075, 0.1, 0.1])


def test_plateau_lowers_the_rate_only_when_the_loss_stalls():
    config = OptimizerConfig(schedule="plateau", factor=0.5, patience=3, min_scale=0.2)
    plateau = build_plateau(config)
    state, scales = plateau.init(), []
    for loss in [4.0, 3.0, 2.0, 1.0, *[1.0] * 12]:
        state = plateau.update(state, jnp.asarray(loss))
        scales.append(float(state.scale))
    assert scales[:6] == [1.0] * 6
    # Every `patience` stalled validations halve it, down to the floor.
    assert scales[6:9] == [0.5] * 3
    assert scales[-1] == 0.25 or scales[-1] == 0.2
    assert min(scales) >= 0.2


def one_batch(tmp_path):
    (batch,) = loader_of(frames_of(mixed_frames(3), tmp_path), 3, max_buckets=1).epoch(None)
    return batch


def test_a_step_moves_by_the_rate_and_the_average_follows(tmp_path):
    batch = one_batch(tmp_path)
    optimizer = build_optimizer(OptimizerConfig(clip_norm=None))
    steps = build_steps(springs(), optimizer, with_stress=True)
    weights, before = Weights(1.0, 1.0, 1.0), jax.tree.map(jnp.asarray, TOY_PARAMS)
    state = steps.init(jax.tree.map(jnp.copy, before))
    gradient = jax.jit(
        jax.grad(
            lambda params: loss_of(
                batch_errors(springs(), params, batch.structure, batch.labels, True), weights
            )
        )
    )(before)
    state, loss, errors = steps.train(state, batch.structure, batch.labels, weights, 0.02, 0.75)
    for name, start in before.items():
        moved = start - 0.02 * np.sign(gradient[name])  # Adam's first step has unit length
        np.testing.assert_allclose(state.params[name], moved, rtol=1e-6)
        np.testing.assert_allclose(
            state.averaged[name], 0.75 * start + 0.25 * state.params[name], rtol=1e-12
        )
    np.testing.assert_allclose(loss, loss_of(errors, weights))
    again = steps.evaluate(before, batch.structure, batch.labels)
    np.testing.assert_allclose(again, errors, rtol=1e-12)


def test_a_gradient_that_is_not_finite_shows_in_the_loss(tmp_path):
    """Else it would spoil the parameters while the loss still looks healthy."""
    batch = one_batch(tmp_path)

    def spoil(energy_fn):
        # sqrt has value 0 and no derivative at 0.
        return lambda params, structure: (
            energy_fn(params, structure) + jnp.sqrt(0.0 * params["spring"][0])
        )

    steps = build_steps(springs(spoil), optax.scale(1.0), False)
    state = steps.init(jax.tree.map(jnp.asarray, TOY_PARAMS))
    _, loss, errors = steps.train(
        state, batch.structure, batch.labels, Weights(1.0, 1.0, 0.0), 0.1, 0.0
    )
    assert np.isfinite(loss_of(errors, Weights(1.0, 1.0, 0.0)))
    assert np.isnan(loss)


@pytest.mark.parametrize("max_buckets", [1, 3])
def test_an_epoch_over_mixed_sizes_compiles_once_per_bucket(max_buckets, tmp_path):
    sizes = [(n, n % 3 > 0) for n in range(2, 9)]
    frames = frames_of([labelled(rattled(n, count=n, pbc=pbc)) for n, pbc in sizes], tmp_path)
    loader = loader_of(frames, 2, k_max=2.0, max_buckets=max_buckets)
    traces = []

    def count(energy_fn):
        def counted(params, structure):
            traces.append(structure.positions.shape)
            return energy_fn(params, structure)

        return counted

    steps = build_steps(springs(count), build_optimizer(OptimizerConfig()), False)
    state = steps.init(jax.tree.map(jnp.asarray, TOY_PARAMS))
    for epoch in range(3):
        for batch in loader.epoch((0, epoch)):
            weights, rate = Weights(1.0, 10.0**-epoch, 0.0), 0.1 / (1 + epoch)
            state, _, _ = steps.train(
                state, batch.structure, batch.labels, weights, rate, 0.9 * epoch / 2
            )
    assert len(loader.sizes) <= max_buckets
    assert steps.train._cache_size() == len(traces) == len(loader.sizes)


# --- metrics


def test_metrics_files_hold_the_same_rows_and_drop_what_was_cut_off(tmp_path):
    log = MetricsLog(tmp_path)
    assert not log.exists()
    log.start(0)
    rows = [{"epoch": n, "step": 2 * n, "train_loss": 0.1 + n} for n in range(3)]
    for row in rows:
        log.append(row)
    assert log.rows() == rows
    lines = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,train_loss")
    assert [line.split(",")[3] for line in lines[1:]] == ["0.1", "1.1", "2.1"]
    whole = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    (tmp_path / "metrics.jsonl").write_text(whole[:-7], encoding="utf-8")
    assert log.rows() == rows[:2]
    log.start(1)
    assert log.rows() == rows[:1]
    assert len((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 2
    with pytest.raises(KeyError, match="colour"):
        log.append({"epoch": 1, "colour": 3})


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.jsonl"])
def test_metrics_on_a_full_disk_are_an_error_that_names_the_file(tmp_path, name):
    """/dev/full is a disk that is always full."""
    log = MetricsLog(tmp_path)
    log.start(0)
    log.append({"epoch": 0})
    written = (tmp_path / name).read_text(encoding="utf-8")
    (tmp_path / name).rename(tmp_path / "aside")
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(InputError, match=rf"{name}.*No space left.*--resume"):
        log.append({"epoch": 1})
    (tmp_path / name).unlink()
    (tmp_path / "aside").rename(tmp_path / name)
    log.start(1)
    assert (tmp_path / name).read_text(encoding="utf-8") == written
    assert [row["epoch"] for row in log.rows()] == [0]


# --- whole runs


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures take most of the time of a run this small."""
    monkeypatch.setattr(loop, "learning_curve", lambda *_: None)
    monkeypatch.setattr(loop, "validation_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on crystals and clusters in one bucket, with stress from epoch 2 on."""
    folder = tmp_path_factory.mktemp("run")
    values = training_values(
        write_frames(folder / "train.xyz", mixed_frames(6)),
        write_frames(folder / "valid.xyz", mixed_frames(3, seed=50)),
        epochs=8,
        batch_size=6,
        loss={"energy": {0: 1.0, 4: 3.0}, "forces": 1.0, "stress": {0: 0.0, 2: 10.0}},
        optimizer={"learning_rate": 0.03, "ema": 0.5, "schedule": "constant"},
    )
    config = from_dict(TrainConfig, values, "train.yaml")
    out = loop.train(config, folder / "out")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    return SimpleNamespace(folder=folder, config=config, out=out, rows=rows, values=values)


def test_a_run_learns(run):
    forces = [row["train_forces_rmse"] for row in run.rows]
    assert min(forces[-2:]) < 0.7 * forces[0]
    assert [row["epoch"] for row in run.rows] == list(range(8))


def test_the_loss_is_weighted_as_scheduled(run):
    """One batch an epoch, so that its errors and its loss belong together."""
    for row in run.rows:
        energy, stress = (1.0 if row["epoch"] < 4 else 3.0), (10.0 if row["epoch"] > 1 else 0.0)
        expected = (
            energy * row["train_energy_per_atom_rmse"] ** 2
            + row["train_forces_rmse"] ** 2
            + stress * row["train_stress_rmse"] ** 2
        )
        np.testing.assert_allclose(row["train_loss"], expected, rtol=1e-5)


def test_a_run_leaves_a_model_and_all_that_belongs_to_it(run):
    names = {path.name for path in run.out.iterdir()}
    assert names == {
        "README.md",
        "checkpoints",
        "config.yaml",
        "learning_curve.png",
        "metrics.csv",
        "metrics.json",
        "metrics.jsonl",
        "params.safetensors",
        "parity.png",
        "train.yaml",
    }
    for name in ("learning_curve.png", "parity.png"):
        assert (run.out / name).read_bytes().startswith(b"\x89PNG")
    stored = read_model(run.out)
    assert stored.training["frames"] == 6
    assert stored.training["labels"] == ["energy", "forces", "stress"]
    best = min(run.rows, key=lambda row: row["valid_loss"])
    assert stored.training["best_epoch"] == best["epoch"] + 1
    assert stored.metrics["valid"]["forces_rmse"] == best["valid_forces_rmse"]


def test_recorded_errors_are_those_of_the_saved_model(run):
    """Recomputed by predict, frame by frame, from the files alone; offsets included."""
    model = jles.load(run.out)
    recorded = read_model(run.out).metrics["valid"]
    energy, forces, stress = [], [], []
    from ase.io import read

    for atoms in read(run.folder / "valid.xyz", ":"):
        want = ("energy", "forces", "stress") if atoms.pbc.all() else ("energy", "forces")
        out = model.predict(atoms, want)
        energy.append((out.energy - atoms.get_potential_energy()) / len(atoms))
        forces.append((out.forces - atoms.get_forces()).ravel())
        if atoms.pbc.all():
            stress.append((out.stress - atoms.get_stress(voigt=False)).ravel())
    for name, errors in (
        ("energy_per_atom_rmse", np.array(energy)),
        ("forces_rmse", np.concatenate(forces)),
        ("stress_rmse", np.concatenate(stress)),
    ):
        expected = np.sqrt(np.mean(errors**2))
        np.testing.assert_allclose(recorded[name], expected, rtol=2e-3, err_msg=name)


def test_element_energies_are_fitted_to_the_training_frames(run):
    energies = read_model(run.out).config.element_energies
    assert energies["O"] == pytest.approx(-430.0, abs=2.0)
    assert energies["H"] == pytest.approx(-13.0, abs=2.0)


def test_feature_statistics_are_measured_and_never_trained(run):
    params = read_model(run.out).params
    prepared = prepare(run.config)
    for name in ("mean", "scale"):
        np.testing.assert_array_equal(params["features"][name], prepared.params["features"][name])
    features_fn = jax.jit(jax.vmap(prepared.potential.features_fn, (None, 0)))
    blocks = []
    for batch in prepared.train_loader.epoch(None):
        features = features_fn(prepared.params, batch.structure)
        blocks.append(np.asarray(features, np.float64)[batch.structure.mask])
    values = np.concatenate(blocks)
    normal = (values - params["features"]["mean"]) * params["features"]["scale"]
    np.testing.assert_allclose(normal.mean(axis=0), 0.0, atol=1e-4)
    # All entries vary here; together they make a vector of length one on average.
    np.testing.assert_allclose(normal.std(axis=0), normal.shape[1] ** -0.5, rtol=1e-3)
    np.testing.assert_allclose(np.mean(np.sum(normal**2, axis=1)), 1.0, rtol=1e-3)


@pytest.mark.usefixtures("no_pictures")
def test_fine_tuning_starts_from_the_model_given(run, tmp_path):
    """With a vanishing rate nothing changes: parameters, element energies, errors."""
    values = run.values | {
        "model": {"start_from": str(run.out)},
        "loss": {"energy": 1.0, "forces": 1.0},
        "epochs": 1,
        "optimizer": {"learning_rate": 1e-30, "ema": 0.0},
    }
    config = from_dict(TrainConfig, values, "tune.yaml")
    loop.train(config, tmp_path / "tuned")
    before, after = read_model(run.out), read_model(tmp_path / "tuned")
    assert after.config == before.config
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_array_equal(old, new)
    for name in ("energy_per_atom_rmse", "forces_rmse"):
        old, new = (stored.metrics["valid"][name] for stored in (before, after))
        np.testing.assert_allclose(new, old, rtol=1e-5)


def test_an_unlabelled_run_of_another_file_fits_the_rest(tmp_path):
    """One file may have what another lacks; a label that neither has is an error."""
    energies = write_frames(tmp_path / "e.xyz", [labelled(rattled(0), ("energy",))])
    forces = write_frames(tmp_path / "f.xyz", [labelled(rattled(1), ("forces",))])
    values = training_values([energies, forces], [forces, energies], model=WITHOUT_CHARGES)
    prepared = prepare(from_dict(TrainConfig, values, "x"))
    assert len(prepared.train_frames) == 2
    values["loss"] = {"energy": 1.0, "forces": 1.0, "stress": 1.0}
    with pytest.raises(InputError, match=r"e\.xyz.*'stress'"):
        prepare(from_dict(TrainConfig, values, "x"))


def test_seeds_choose_the_parameters_and_the_frames_held_out(tmp_path):
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(n, count=4)) for n in range(8)])

    def held_out(**changes):
        frames = load_frames(DataConfig(train, valid_fraction=0.25, **changes), ("energy",))[1]
        return [frame.source for frame in frames]

    assert held_out() == held_out()
    assert held_out() != held_out(split_seed=1)
    assert len(held_out()) == len(held_out(limit=7)) == 2
    assert all(int(source.split()[-1]) < 5 for source in held_out(limit=5, split_seed=1))
    values = training_values(train, train, model=WITHOUT_CHARGES)
    trees = [
        prepare(from_dict(TrainConfig, values | {"seed": seed}, "x")).params for seed in (0, 1)
    ]
    for name in ("sender_embedding", "radial_mixing_0"):
        assert not np.any(trees[0]["backbone"][name] == trees[1]["backbone"][name])


@pytest.mark.usefixtures("no_pictures")
def test_checkpoints_may_come_before_the_first_validation(tmp_path):
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(0, count=3))])
    values = training_values(train, train, model=WITHOUT_CHARGES, validate_every=3)
    out = loop.train(from_dict(TrainConfig, values, "x"), tmp_path / "out")
    rows = MetricsLog(out).rows()
    assert ["valid_loss" in row for row in rows] == [False, False, True]
    assert read_model(out).training["best_epoch"] == 3


@pytest.mark.usefixtures("no_pictures")
def test_a_loss_that_is_not_finite_stops_the_run_which_can_go_on(tmp_path, monkeypatch, capsys):
    """In epoch 2 the rate explodes; the frames are named, the last checkpoint is whole."""
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(n, count=4)) for n in range(3)])
    values = training_values(train, train, model=WITHOUT_CHARGES)
    config, out = tmp_path / "c.yaml", tmp_path / "out"
    config.write_text(json.dumps(values), encoding="utf-8")

    def explode(optimizer, step, epoch, *rest):
        return 1e30 if epoch == 1 else learning_rate(optimizer, step, epoch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", explode)
        assert main(["train", str(config), "--out", str(out)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert "epoch 2" in lines[0]
    assert "t.xyz, frame" in lines[0]
    assert not (out / "params.safetensors").exists()
    (row,) = MetricsLog(out).rows()
    assert main(["train", str(config), "--out", str(out), "--resume"]) == 0
    rows = MetricsLog(out).rows()
    assert rows[0] == row
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert all(math.isfinite(row["valid_loss"]) for row in rows)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(read_model(out).params))


def test_a_filler_is_not_named():
    frames = [SimpleNamespace(source=f"x.xyz, frame {n}") for n in range(3)]
    message = loop._not_finite(0, SimpleNamespace(frames=np.array([1, -1])), frames)
    assert "frame 1" in message
    assert "frame 2" not in message


def test_validation_errors_that_are_not_finite_stop_a_run():
    fine = Errors(*[np.float32(1.0)] * 6)
    loop._check_validation(fine, 3)
    for bad in (math.nan, math.inf):
        with pytest.raises(InputError, match=r"epoch 4.*validation"):
            loop._check_validation(fine._replace(forces=np.float32(bad)), 3)


def test_a_place_that_is_taken_is_refused(run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.out.rglob("*")}
    with pytest.raises(InputError, match="already holds a run"):
        loop.train(run.config, run.out)
    changed = replace(run.config, loss=LossConfig(energy=7.0), seed=3)
    with pytest.raises(InputError, match=r"another config.*loss\.energy was.*now 7\.0"):
        loop.train(changed, run.out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in run.out.rglob("*")} == before
    with pytest.raises(InputError, match="nothing to resume"):
        loop.train(run.config, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.yaml").write_text("format: 1", encoding="utf-8")
    with pytest.raises(InputError, match="already holds a model"):
        loop.train(run.config, tmp_path / "model")
