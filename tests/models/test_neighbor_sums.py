"""Sums over neighbours in blocks of atoms equal the sums over all atoms at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.bloch.weighted import bloch_weighted
from jles.models.backbones import neighbor_sums as module
from jles.models.backbones.neighbor_sums import neighbor_sums
from jles.observables.born_charges import born_charges
from jles.quantities.evaluation import Evaluation
from jles.step_sizes import CPU
from tests.support.small_systems import (
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

ATOMS, NEIGHBORS, ROWS, COLUMNS = 7, 5, 3, 4


def set_block_bytes(monkeypatch, size):
    monkeypatch.setattr(module, "step_sizes", lambda: CPU._replace(block_bytes=size))


@pytest.fixture
def system(rng):
    values = rng.normal(size=(ATOMS, ROWS, COLUMNS))
    index = rng.integers(0, ATOMS, (ATOMS, NEIGHBORS))
    weight = rng.uniform(0.5, 1.5, (ATOMS, NEIGHBORS))
    present = rng.integers(0, 2, (ATOMS, NEIGHBORS))
    distance = rng.uniform(1.0, 3.0, (ATOMS, NEIGHBORS))
    return tuple(map(jnp.asarray, (values, index, weight, distance, present * 1.0)))


RATE = jnp.array([-0.5, 0.0, 0.3, 1.1])


MIXING = np.array([[0.2, -1.0, 0.7], [1.1, 0.3, -0.4], [0.5, 0.6, 0.9]])


def kernel(rate, distance, cut):
    return jnp.exp(-distance[..., None] * rate) * cut[..., None]


def message(rate, values, distance, cut, weight=None):
    """Every edge multiplies the columns by a kernel and mixes the rows."""
    turned = values + distance[..., None, None] * jnp.einsum("rs,insc->inrc", MIXING, values)
    factors = kernel(rate, distance, cut)
    if weight is not None:
        factors = factors * weight[..., None]
    return jnp.einsum("inc,inrc->irc", factors, turned)


def at_once(values, index, weight, rate, distance, cut):
    found = values[index]
    if weight is not None:
        found = bloch_weighted(found, weight)
    return message(rate, found, distance, cut)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_values_and_second_derivatives_do_not_depend_on_blocks(
    system, rng, monkeypatch, rows, weighted
):
    values, index, weight, distance, cut = system
    # Second derivatives are asked for where the wave is zero.
    weight = jnp.ones_like(weight) if weighted else None
    set_block_bytes(monkeypatch, rows * NEIGHBORS * ROWS * COLUMNS * 8)
    cotangent = rng.normal(size=values.shape)
    way = rng.normal(size=values.shape), rng.normal(size=distance.shape)

    def blocks(values, distance):
        return neighbor_sums(values, message, index, weight, RATE, distance, cut)

    def whole(values, distance):
        return at_once(values, index, weight, RATE, distance, cut)

    def all_derivatives(sums):
        def slopes(*at):
            return jax.grad(lambda *at: jnp.vdot(jnp.sin(sums(*at)), cotangent), (0, 1))(*at)

        def everything(*at):
            return sums(*at), jax.jvp(sums, at, way)[1], jax.jvp(slopes, at, way)

        return jax.jit(everything)(values, distance)

    for found, expected in zip(
        *map(jax.tree.leaves, map(all_derivatives, (blocks, whole))), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert np.abs(expected).max() > 0.1


def test_first_derivatives_are_multiplied_by_any_weight(system, rng, monkeypatch):
    values, index, weight, distance, cut = system
    set_block_bytes(monkeypatch, 2 * NEIGHBORS * ROWS * COLUMNS * 8)
    cotangent = rng.normal(size=values.shape)
    way = rng.normal(size=values.shape), rng.normal(size=distance.shape)

    def all_derivatives(sums):
        def of(values, distance):
            return sums(values, message, index, weight, RATE, distance, cut)

        gradient = jax.grad(lambda *at: jnp.vdot(of(*at), cotangent), (0, 1))
        return jax.jvp(of, (values, distance), way), gradient(values, distance)

    def whole(values, _, *rest):
        return at_once(values, *rest)

    for found, expected in zip(
        *map(jax.tree.leaves, map(all_derivatives, (neighbor_sums, whole))), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert np.abs(expected).max() > 0.1


def test_derivatives_of_weighted_derivatives_are_exact(system, rng, monkeypatch):
    """The second derivative by values and wave, and its derivative by the values."""
    values, index, distance, _, cut = system
    set_block_bytes(monkeypatch, 2 * NEIGHBORS * ROWS * COLUMNS * 8)
    way, other = rng.normal(size=(2, *values.shape))

    def weighted_slopes(sums):
        def coupling(values, wave):
            weight = jnp.exp(-wave * distance)
            return jnp.sum(jnp.sin(sums(values, weight)))

        def slope(values, wave):
            return jax.jvp(lambda v: coupling(v, wave), (values,), (way,))[1]

        def wave_slope(values):
            return jax.jvp(lambda wave: slope(values, wave), (0.0,), (1.0,))[1]

        return wave_slope(values), jax.jvp(wave_slope, (values,), (other,))[1]

    found = weighted_slopes(
        lambda v, weight: neighbor_sums(v, message, index, weight, RATE, distance, cut)
    )
    expected = weighted_slopes(lambda v, weight: at_once(v, index, weight, RATE, distance, cut))
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    # By hand: sin' of the sums, times the sums of the slopes weighted by -d.

    def values_of(found):
        return message(RATE, found, distance, cut)

    by_hand = jnp.cos(values_of(values[index])) * values_of(
        -distance[..., None, None] * jnp.asarray(way)[index]
    )
    np.testing.assert_allclose(found[0], jnp.sum(by_hand), rtol=1e-11)
    # The sums do not depend on the wave, so the change is that of the cosine alone.
    change = -jnp.sin(values_of(values[index])) * values_of(jnp.asarray(other)[index])
    change *= values_of(-distance[..., None, None] * jnp.asarray(way)[index])
    np.testing.assert_allclose(found[1], jnp.sum(change), rtol=1e-11)


def test_a_batch_is_a_loop(system, monkeypatch):
    values, index, _, distance, cut = system
    set_block_bytes(monkeypatch, 2 * NEIGHBORS * ROWS * COLUMNS * 8)
    batch = jnp.stack([values, 2.0 * values[::-1]])

    def sums(values):
        return neighbor_sums(values, message, index, None, RATE, distance, cut)

    np.testing.assert_allclose(jax.vmap(sums)(batch), [sums(v) for v in batch], rtol=1e-12)


@pytest.mark.long
def test_slopes_of_born_charges_of_a_model_are_those_of_finite_differences(rng, monkeypatch):
    """In reverse and forward mode, with radial messages in blocks."""
    set_block_bytes(monkeypatch, 3000)
    backbone = small_backbone(
        layers=2, messages=("ar",), n_radial_basis=1, l_max=1, body_order=1
    )
    potential, params = small_model(small_config(backbone=backbone))
    structure = structure_of(rattled(3), potential)
    weights, way = rng.normal(size=(6, 3, 3)), jnp.asarray(rng.normal(size=(6, 3)))

    @jax.jit
    def total(positions):
        coupling = Evaluation(potential, params, structure).coupling
        return jnp.sum(weights * born_charges(coupling, positions))

    places, step = structure.positions, 1e-4
    expected = (total(places + step * way) - total(places - step * way)) / (2 * step)
    backward = jnp.vdot(jax.jit(jax.grad(total))(places), way)
    forward = jax.jit(lambda x: jax.jvp(total, (x,), (way,))[1])(places)
    np.testing.assert_allclose(backward, forward, rtol=1e-10)
    np.testing.assert_allclose(forward, expected, rtol=1e-5)
