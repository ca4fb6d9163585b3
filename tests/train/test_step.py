"""One optimisation step: what it changes, and how often it is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jles.step_sizes import ACCELERATOR, use_step_sizes
from jles.train.config import OptimizerConfig
from jles.train.losses import (
    LABELS,
    Weights,
    batch_errors,
    label_counts,
    loss_of,
)
from jles.train.optimizer import build_optimizer
from jles.train.step import build_steps
from tests.support.small_systems import (
    labelled,
    mixed_frames,
    rattled,
)
from tests.support.training import (
    RESPONSE_PARAMS,
    SPRING_PARAMS,
    frames_of,
    linear_responses,
    loader_of,
    response_loader,
    springs,
)

NO_STRESS = ("energy", "forces")
THRESHOLDS = {"forces": 1e-3, "born_charges": 1e-3}
"""Of Huber's loss; below most errors."""


WITH_STRESS = (*NO_STRESS, "stress")


def one_batch(tmp_path):
    (batch,) = loader_of(frames_of(mixed_frames(3), tmp_path), 3, max_buckets=1).epoch(None)
    return batch


def test_a_step_moves_by_the_rate_and_the_average_follows(tmp_path):
    batch = one_batch(tmp_path)
    optimizer = build_optimizer(OptimizerConfig(clip_norm=None))
    steps = build_steps(springs(), optimizer, WITH_STRESS)
    weights, before = Weights(1.0, 1.0, 1.0), jax.tree.map(jnp.asarray, SPRING_PARAMS)
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
    """Otherwise it would spoil the parameters while the loss still looks good."""
    batch = one_batch(tmp_path)

    def spoil(energy_fn):
        # sqrt has value 0 and no derivative at 0.
        return lambda params, structure: (
            energy_fn(params, structure) + jnp.sqrt(0.0 * params["spring"][0])
        )

    steps = build_steps(springs(spoil), optax.scale(1.0), NO_STRESS)
    state = steps.init(jax.tree.map(jnp.asarray, SPRING_PARAMS))
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
    state = steps.init(jax.tree.map(jnp.asarray, SPRING_PARAMS))
    for epoch in range(3):
        for batch in loader.epoch((0, epoch)):
            weights, rate = Weights(1.0, 10.0**-epoch, 0.0), 0.1 / (1 + epoch)
            state, _, _ = steps.train(
                state, batch.structure, batch.labels, weights, rate, 0.9 * epoch / 2
            )
    assert len(loader.sizes) <= max_buckets
    assert steps.train._cache_size() == len(traces) == len(loader.sizes)


def same_leaves(first, second, rtol=0.0, atol=0.0):
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def test_a_step_sees_the_same_loss_in_turn_as_together(response_frames):
    """On a CPU structures come one after the other; every label at once."""
    structure, labels, *_ = next(iter(response_loader(response_frames).epoch(None)))
    steps = build_steps(linear_responses([]), optax.sgd(1.0), LABELS, thresholds=THRESHOLDS)
    weights, start = (
        Weights(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        jax.tree.map(jnp.asarray, RESPONSE_PARAMS),
    )

    def loss(params):
        of = linear_responses([]), params, structure, labels, LABELS, THRESHOLDS
        return loss_of(batch_errors(*of), weights)

    together, gradient = jax.jit(jax.value_and_grad(loss))(start)
    state, in_turn, errors = steps.train(
        steps.init(start), structure, labels, weights, 1e-3, 0.0
    )
    assert all(float(count) > 0 for count in label_counts(structure, labels, LABELS))
    assert all(getattr(errors.losses, n) < getattr(errors.squares, n) for n in THRESHOLDS)
    same_leaves(steps.evaluate(start, structure, labels), errors, rtol=1e-12)
    np.testing.assert_allclose([in_turn, loss_of(errors, weights)], together, rtol=1e-12)
    moved = jax.tree.map(lambda leaf, slope: leaf + 1e-3 * slope, start, gradient)
    same_leaves(state.params, moved, rtol=1e-9)


def test_the_parts_of_a_batch_add_up_to_it(response_frames):
    """On accelerators, which take a batch, or the parts of `accumulate`, at once.

    So they do if the layers are computed again for derivatives.
    """
    structure, labels, *_ = next(
        iter(response_loader(response_frames, batch_size=4).epoch(None))
    )
    start = jax.tree.map(jnp.asarray, RESPONSE_PARAMS)
    results = []
    for parts in (1, 2):
        steps = build_steps(
            linear_responses([]),
            optax.sgd(1.0),
            NO_STRESS,
            accumulate=parts,
            remat=parts == 2,
            thresholds={"forces": 1e-3},
        )
        with use_step_sizes(ACCELERATOR):
            results.append(
                steps.train(steps.init(start), structure, labels, Weights(1.0, 2.0), 0.1, 0.0)
            )
    same_leaves(*results, rtol=1e-12)
