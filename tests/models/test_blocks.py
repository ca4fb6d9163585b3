"""Environments expanded in blocks of atoms are those expanded at once."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.models.backbones import blocks
from jles.models.backbones.blocks import by_blocks, save
from jles.observables.born_charges import born_charges
from jles.quantities.evaluation import Evaluation
from jles.step_sizes import CPU
from tests.support.marks import long
from tests.support.small_systems import (
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)


def set_block_bytes(monkeypatch, size):
    monkeypatch.setattr(blocks, "step_sizes", lambda: CPU._replace(block_bytes=size))


def lengths(vectors, index, factor):
    """A function of vectors that has no derivative where they vanish."""
    distance = save(jnp.sqrt(jnp.sum(vectors**2, axis=-1)))
    return {"sum": jnp.sum(distance * index, axis=1) * factor, "distance": distance}


@pytest.mark.parametrize("atoms_per_block", [1, 3, 7, 50])
def test_values_and_derivatives_do_not_depend_on_blocks(rng, monkeypatch, atoms_per_block):
    set_block_bytes(monkeypatch, 8 * atoms_per_block)
    vectors, factor = rng.normal(size=(7, 4, 3)), rng.normal(size=7)
    index = rng.integers(1, 5, (7, 4))

    def total(how):
        def scalar(vectors, factor):
            found = how(vectors, index, factor)
            return jnp.sum(found["sum"] ** 2) + jnp.sum(jnp.sin(found["distance"]))

        return jax.jit(jax.value_and_grad(scalar, (0, 1)))(vectors, factor)

    found, expected = total(lambda *arrays: by_blocks(lengths, 8, *arrays)), total(lengths)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        long({"layers": 1, "messages": ("bchi",)}),
        long({"layers": 1, "messages": ("ar", "bchi"), "bchi_per_channel": True}),
    ],
)
def test_a_model_does_not_depend_on_blocks(monkeypatch, changes):
    backbone = small_backbone(l_max=1, body_order=2, bchi_hidden=(3,), **changes)
    potential, params = small_model(small_config(backbone=backbone))
    structure = structure_of(rattled(3), potential)

    def everything():
        def derivatives(params, positions):
            def energy(params, positions):
                return potential.energy_fn(params, replace(structure, positions=positions))

            slopes = jax.grad(energy, (0, 1))(params, positions)
            charges = born_charges(Evaluation(potential, params, structure).coupling, positions)
            return energy(params, positions), slopes, charges

        return jax.jit(derivatives)(params, structure.positions)

    expected = everything()
    # One atom a block.
    set_block_bytes(monkeypatch, 1)
    compare = jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        everything(),
        expected,
    )
    assert jax.tree.leaves(compare) == []
