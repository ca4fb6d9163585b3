"""The loss: which errors count, and with which weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.observables.stress import energy_forces_stress
from jles.train.losses import (
    Weights,
    batch_errors,
    differences,
    huber,
    loss_of,
    root_mean_square,
)
from tests.support.small_systems import (
    labelled,
    rattled,
)
from tests.support.training import SPRING_PARAMS, frames_of, loader_of, springs

NO_STRESS = ("energy", "forces")


WITH_STRESS = (*NO_STRESS, "stress")


@partial(jax.jit, static_argnums=2)
def errors_of(structure, labels, needed=WITH_STRESS):
    return batch_errors(springs(), SPRING_PARAMS, structure, labels, needed)


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
    derivatives = jax.jit(
        jax.vmap(
            lambda one: energy_forces_stress(
                lambda s: potential.energy_fn(SPRING_PARAMS, s), one
            )
        )
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
    found = [errors_of(*batch[:2]) for batch in loader.epoch(None)]
    squares, counts, losses = (
        sum(np.array(part) for part in parts) for parts in zip(*found, strict=True)
    )
    np.testing.assert_allclose([*squares[:3], *counts[:3]], expected, rtol=1e-9)
    np.testing.assert_array_equal(losses, squares)
    assert not squares[3:].any()
    assert not counts[3:].any()
    assert expected[3:].tolist() == [4, 3 * (4 + 5 + 2 + 4), 18]


def test_a_missing_label_has_no_effect_whatever_stands_in_its_place(partly_labelled):
    potential = springs()
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    labels = batch.labels
    spoilt = {}
    for name, value in labels.values.items():
        has = np.expand_dims(labels.has[name], tuple(range(1, value.ndim)))
        spoilt[name] = np.where(has > 0, value, -1e6)
    garbage = labels._replace(values=spoilt)

    @jax.jit
    def gradient(labels):
        def loss(params):
            errors = batch_errors(potential, params, batch.structure, labels, WITH_STRESS)
            return loss_of(errors, Weights(1.0, 2.0, 3.0))

        return jax.value_and_grad(loss)(SPRING_PARAMS)

    for clean, spoilt in zip(
        jax.tree.leaves(gradient(labels)), jax.tree.leaves(gradient(garbage)), strict=True
    ):
        np.testing.assert_array_equal(clean, spoilt)
        assert np.all(clean != 0.0)


def test_loss_is_the_weighted_sum_of_mean_squares(partly_labelled):
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    errors = errors_of(batch.structure, batch.labels)
    rmse = root_mean_square(errors)
    expected = (
        3.0 * rmse["energy_per_atom_rmse"] ** 2
        + 5.0 * rmse["forces_rmse"] ** 2
        + 7.0 * rmse["stress_rmse"] ** 2
    )
    np.testing.assert_allclose(loss_of(errors, Weights(3.0, 5.0, 7.0)), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huber_is_the_square_within_its_threshold_and_linear_beyond(dtype):
    threshold = 0.5
    errors = np.linspace(-2.0, 2.0, 41).astype(dtype)
    value, slope, curvature = (jax.vmap(f)(errors) for f in _derivatives(threshold))
    inside = np.abs(errors) < threshold
    np.testing.assert_allclose(value[inside], errors[inside] ** 2, rtol=1e-6)
    linear = threshold**2 + 2.0 * threshold * (np.abs(errors) - threshold)
    np.testing.assert_allclose(value[~inside], linear[~inside], rtol=1e-6)
    np.testing.assert_allclose(slope, 2.0 * np.clip(errors, -0.5, 0.5), rtol=1e-6)
    away = np.abs(np.abs(errors) - threshold) > 1e-3
    np.testing.assert_allclose(curvature[away], 2.0 * inside[away])
    assert value.dtype == dtype


def _derivatives(threshold):
    first = jax.grad(lambda error: huber(error, threshold))
    return (lambda error: huber(error, threshold)), first, jax.grad(first)


def test_thresholds_change_the_loss_and_leave_the_squared_errors(partly_labelled):
    """The loss of one label is a plain sum over its errors; the others keep their squares."""
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    arguments = springs(), SPRING_PARAMS, batch.structure, batch.labels, WITH_STRESS
    plain, changed, found = jax.jit(
        lambda: (
            batch_errors(*arguments),
            batch_errors(*arguments, {"forces": 0.1}),
            differences(*arguments)["forces"],
        )
    )()
    assert jnp.max(jnp.abs(found)) > 0.1
    np.testing.assert_array_equal(changed.squares, plain.squares)
    np.testing.assert_allclose(changed.losses.forces, jnp.sum(huber(found, 0.1)), rtol=1e-12)
    assert changed.losses.forces < plain.losses.forces
    assert changed.losses._replace(forces=0) == plain.squares._replace(forces=0)


def test_without_stress_no_stress_error_is_reported(partly_labelled):
    (batch,) = loader_of(partly_labelled, max_buckets=1).epoch(None)
    errors = errors_of(batch.structure, batch.labels, NO_STRESS)
    assert set(root_mean_square(errors)) == {"energy_per_atom_rmse", "forces_rmse"}
