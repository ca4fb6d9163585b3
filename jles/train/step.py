"""One optimisation step and one validation step, as pure functions."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from jaxtyping import Array

from jles.compiling import quick_options
from jles.meshes import any_mesh, on_several_devices, spec_of
from jles.models.potential import Potential
from jles.step_sizes import step_sizes, use_step_sizes
from jles.train.losses import (
    LABELS,
    NO_THRESHOLDS,
    Errors,
    PerLabel,
    batch_errors,
    label_counts,
    loss_of,
)
from jles.train.parallel import Devices


class TrainState(NamedTuple):
    """The arrays that a step changes."""

    params: dict
    averaged: dict
    optimizer: optax.OptState


class Steps(NamedTuple):
    """Compiled functions of a run.

    Attributes:
        init: `params -> TrainState`.
        train: `(state, batch, labels, weights, learning_rate, decay) -> (state, loss, Errors)`;
            `decay` is that of the averaged parameters; the loss is NaN if its gradient is
            not finite.
        evaluate: `(params, batch, labels) -> Errors`.
    """

    init: Callable
    train: Callable
    evaluate: Callable


def _is_finite(gradient) -> Array:
    """Whether the norm of a gradient is finite; one array compiles faster than many."""
    flat = ravel_pytree(gradient)[0]
    return jnp.isfinite(jnp.sum(flat**2))


def _as_the_state(state, *_):
    """Shardings of the results: the state keeps its own, the rest is on all devices."""
    return jax.tree.map(spec_of, state), PartitionSpec(), PartitionSpec()


def build_steps(
    potential: Potential,
    optimizer: optax.GradientTransformation,
    needed: Collection[str],
    devices: Devices = Devices(),  # noqa: B008 (immutable)
    accumulate: int = 1,
    remat: bool = False,
    thresholds: Mapping[str, float] = NO_THRESHOLDS,
    quick: bool = False,
) -> Steps:
    """The steps of a training, compiled once per batch shape; weights and rates are traced.

    Args:
        potential: the model.
        optimizer: as `build_optimizer` makes it.
        needed: labels to train on. No others are computed, except energy and forces in
            `evaluate`.
        devices: share the batches that the steps are given (`Devices.spread`); the state is on
            each of them (`Devices.everywhere`).
        accumulate: parts of a device's batch that are computed one after the other, in the
            memory of one part; it divides the batch. A CPU takes every structure by itself.
        remat: compute intermediate arrays of the backbone again in derivatives, instead of
            keeping them.
        thresholds: of Huber's loss, by label.
        quick: compile `train` with `quick_options`.
    """
    shown = tuple(name for name in LABELS if name in {"energy", "forces", *needed})

    def init(params):
        # A step donates its state, so its arrays must not share buffers with any other.
        first, average = (jax.tree.map(jnp.copy, params) for _ in range(2))
        return TrainState(first, average, optimizer.init(params))

    def loss_fn(params, batch, labels, weights, counts):
        with use_step_sizes(step_sizes()._replace(recompute=remat)):
            errors = batch_errors(potential, params, batch, labels, needed, thresholds)
        return loss_of(errors, weights, counts), errors

    gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def gradient_in_turn(parts, params, batch_and_labels, weights, counts):
        """Equal to `gradient_fn`, one part after the other, in the memory of one part."""

        def add_one(total, part):
            return jax.tree.map(
                jnp.add, total, gradient_fn(params, *part, weights, counts)
            ), None

        split = jax.tree.map(
            lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), batch_and_labels
        )
        zero = jnp.zeros((), batch_and_labels[1].values["energy"].dtype)
        none = PerLabel(*[zero] * len(LABELS))
        start = (zero, Errors(none, none, none)), jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(add_one, start, split)[0]

    @devices.total
    def total_gradient(params_and_weights, batch_and_labels, add):
        """((loss, Errors), gradient) of a batch, each a sum over its structures."""
        (params, weights), (batch, labels) = params_and_weights, batch_and_labels
        counts = add(label_counts(batch, labels, needed))
        # The compiler shares a batch that was sharded by the caller.
        alone = step_sizes().batch_in_turn and not on_several_devices(batch.positions)
        parts = len(batch.positions) if alone else accumulate
        if parts == 1:
            return add(gradient_fn(params, batch, labels, weights, counts))
        return add(gradient_in_turn(parts, params, (batch, labels), weights, counts))

    @devices.total
    def total_errors(params, batch_and_labels, add):
        return add(batch_errors(potential, params, *batch_and_labels, shown, thresholds))

    @partial(jax.jit, donate_argnums=0, compiler_options=quick_options() if quick else {})
    @any_mesh(_as_the_state)
    def train(state, batch, labels, weights, learning_rate, decay):
        (loss, errors), gradient = total_gradient((state.params, weights), (batch, labels))
        # A gradient can be infinite where the loss is finite, and would spoil the parameters.
        loss = jnp.where(_is_finite(gradient), loss, jnp.nan)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
        updates = jax.tree.map(lambda u: (-learning_rate * u).astype(u.dtype), updates)
        params = optax.apply_updates(state.params, updates)
        averaged = optax.incremental_update(params, state.averaged, 1.0 - decay)
        return TrainState(params, averaged, optimizer_state), loss, errors

    @jax.jit
    @any_mesh()
    def evaluate(params, batch, labels):
        return total_errors(params, (batch, labels))

    return Steps(init, train, evaluate)
