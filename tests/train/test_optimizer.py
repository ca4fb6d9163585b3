"""The optimizer and its schedules against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.train.config import OptimizerConfig
from jles.train.optimizer import at_epoch, build_optimizer, build_plateau, learning_rate


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
        scale = np.sqrt(largest if amsgrad else corrected) + 1e-12
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


@pytest.mark.parametrize("kinds", [(), (3,)])
def test_muon_gives_all_directions_of_a_matrix_the_same_weight(kinds, rng):
    """Singular values of the first update are alike, whatever those of the gradient.

    The root mean square of an update is then 0.2 if the matrix has full rank.
    """
    rows, columns = 12, 16
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0][:rows]
    matrix = left @ np.diag(np.geomspace(1e-1, 10.0, rows)) @ right
    maps = np.multiply.outer(np.ones(kinds), matrix)
    gradient = {"kernel": jnp.asarray(np.moveaxis(maps, -2, 0))}
    optimizer = build_optimizer(OptimizerConfig(name="muon", clip_norm=None))
    params = jax.tree.map(jnp.zeros_like, gradient)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    found = np.moveaxis(np.asarray(updates["kernel"]), 0, -2).reshape(-1, rows, columns)
    for one in found:
        values = np.linalg.svd(one, compute_uv=False) / (0.2 * np.sqrt(columns))
        assert 0.6 < values.min() <= values.max() < 1.3
        # The directions are those of the gradient.
        turned = left.T @ one @ right.T
        np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-6)


def test_muon_moves_everything_but_matrices_like_adam(rng):
    """Biases, tables of few elements and read-outs, in the first step.

    With Nesterov's momentum the average is 0.9 m / (1 - 0.9²) + 0.1 g / (1 - 0.9), m = 0.1 g.
    """
    shapes = {
        "bias": (16,), "table": (4, 16), "readout": (16, 1), "scale": (), "embedding": (9, 16),
        "radial_mixing_0": (12, 12, 9), "memory_0_1": (12, 9), "product_0_3": (9, 4, 16),
    }  # fmt: skip
    gradient = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
    optimizer = build_optimizer(OptimizerConfig(name="muon", clip_norm=None))
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    for name, update in updates.items():
        expected = (0.09 / 0.19 + 1.0) * jnp.sign(gradient[name])
        np.testing.assert_allclose(update, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "amsgrad", "muon"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_labels_make_the_same_steps(name, dtype, rng):
    """Steps do not depend on the unit of the loss, down to gradients of 1e-8."""
    optimizer = build_optimizer(OptimizerConfig(name=name, clip_norm=None))
    params = {"table": jnp.ones((8, 9), dtype)}
    ordinary = tiny = optimizer.init(params)
    for _ in range(3):
        gradient = {"table": jnp.asarray(rng.normal(size=(8, 9)), dtype)}
        expected, ordinary = optimizer.update(gradient, ordinary, params)
        scaled = jax.tree.map(lambda leaf: 1e-8 * leaf, gradient)
        updates, tiny = optimizer.update(scaled, tiny, params)
        np.testing.assert_allclose(updates["table"], expected["table"], rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "amsgrad", "muon"])
def test_no_parameter_moves_by_more_than_the_bound(name, rng):
    params = {"table": rng.normal(size=(8, 9))}
    plain = build_optimizer(OptimizerConfig(name=name, clip_norm=None))
    bounded = build_optimizer(OptimizerConfig(name=name, clip_norm=None, clip_update=0.2))
    free = kept = plain.init(params)
    assert jax.tree.structure(free) == jax.tree.structure(bounded.init(params))
    largest = 0.0
    for scale in (1.0, 1.0, 0.1, 100.0, 1.0):
        gradient = {"table": scale * rng.normal(size=(8, 9))}
        updates, free = plain.update(gradient, free, params)
        found, kept = bounded.update(gradient, kept, params)
        np.testing.assert_allclose(found["table"], np.clip(updates["table"], -0.2, 0.2))
        largest = max(largest, float(jnp.max(jnp.abs(updates["table"]))))
    assert largest > 0.2


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
