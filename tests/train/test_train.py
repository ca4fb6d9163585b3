"""Training: what a step does, what the loss counts, what a run leaves behind."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jles.data.frames import read_frames
from jles.data.loader import Loader
from jles.errors import InputError
from jles.models.potential import build_potential
from jles.observables.stress import energy_forces_stress
from jles.train.config import OptimizerConfig
from jles.train.log import MetricsLog
from jles.train.losses import Weights, batch_errors, loss_of, root_mean_square
from jles.train.optimizer import at_epoch, build_optimizer, build_plateau, learning_rate
from jles.train.step import build_steps
from tests.support.small_systems import (
    TINY_MODEL,
    labelled,
    mixed_frames,
    rattled,
    small_config,
    write_frames,
)

WITHOUT_CHARGES = TINY_MODEL | {"charges": None}
NO_STRESS = ("energy", "forces")
WITH_STRESS = (*NO_STRESS, "stress")


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
    errors_of = jax.jit(
        lambda s, labels: batch_errors(potential, TOY_PARAMS, s, labels, WITH_STRESS)
    )
    total = sum(np.array(errors_of(*batch[:2])) for batch in loader.epoch(None))
    np.testing.assert_allclose(total[:6], expected, rtol=1e-9)
    assert not total[6:].any()
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
            errors = batch_errors(potential, params, batch.structure, labels, WITH_STRESS)
            return loss_of(errors, Weights(1.0, 2.0, 3.0))

        return jax.value_and_grad(loss)(TOY_PARAMS)

    for clean, spoilt in zip(
        jax.tree.leaves(gradient(labels)), jax.tree.leaves(gradient(garbage)), strict=True
    ):
        np.testing.assert_array_equal(clean, spoilt)
        assert np.all(clean != 0.0)


def test_loss_is_the_weighted_sum_of_mean_squares(partly_labelled):
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    errors = batch_errors(springs(), TOY_PARAMS, batch.structure, batch.labels, WITH_STRESS)
    rmse = root_mean_square(errors)
    expected = (
        3.0 * rmse["energy_per_atom_rmse"] ** 2
        + 5.0 * rmse["forces_rmse"] ** 2
        + 7.0 * rmse["stress_rmse"] ** 2
    )
    np.testing.assert_allclose(loss_of(errors, Weights(3.0, 5.0, 7.0)), expected, rtol=1e-12)


def test_without_stress_no_stress_error_is_reported(partly_labelled):
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    errors = batch_errors(springs(), TOY_PARAMS, batch.structure, batch.labels, NO_STRESS)
    assert set(root_mean_square(errors)) == {"energy_per_atom_rmse", "forces_rmse"}


def test_scheduled_weights_hold_from_their_epoch_on():
    schedule = {0: 1.0, 3: 5.0, 10: 0.5}
    assert [at_epoch(schedule, epoch) for epoch in (0, 2, 3, 9, 10, 99)] == [
        1,
        1,
        5,
        5,
        0.5,
        0.5,
    ]
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
    steps = build_steps(springs(), optimizer, WITH_STRESS)
    weights, before = Weights(1.0, 1.0, 1.0), jax.tree.map(jnp.asarray, TOY_PARAMS)
    state = steps.init(jax.tree.map(jnp.copy, before))
    gradient = jax.jit(
        jax.grad(
            lambda params: loss_of(
                batch_errors(springs(), params, batch.structure, batch.labels, WITH_STRESS),
                weights,
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

    steps = build_steps(springs(spoil), optax.scale(1.0), NO_STRESS)
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

    steps = build_steps(springs(count), build_optimizer(OptimizerConfig()), NO_STRESS)
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
