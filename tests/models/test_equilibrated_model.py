"""Models whose charges come from electronegativity and hardness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.models.config import EquilibratedCharges
from jles.observables.stress import energy_and_forces
from jles.predict.model import Model
from tests.support.small_systems import rattled, small_backbone, small_config, small_model

CONFIG = small_config(
    backbone=small_backbone(l_max=1, body_order=2),
    charges=EquilibratedCharges(hidden=(4,)),
)


@pytest.fixture(scope="module")
def model():
    return Model(CONFIG, small_model(CONFIG)[1], "float64")


EVERYTHING = ("energy", "forces", "charges")  # one set: one compilation


@pytest.mark.parametrize(("pbc", "total"), [(True, -1.0), (False, 0.0)])
@pytest.mark.long
def test_charges_sum_to_the_total_and_padding_has_none(model, pbc, total):
    atoms = rattled(0, pbc=pbc)
    atoms.info["total_charge"] = total
    charges = model.predict(atoms, want=EVERYTHING).charges
    np.testing.assert_allclose(charges.sum(), total, atol=1e-9)
    assert np.ptp(charges) > 1e-3
    structure = model.structure(atoms)
    padded = model.potential.charges_fn(model.params, structure)[len(atoms) :]
    assert padded.size == 0 or not np.any(padded)


@pytest.mark.long
def test_forces_are_finite_differences(model):
    atoms, step = rattled(1), 1e-4
    forces = model.predict(atoms, want=EVERYTHING).forces
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[2, 0] += sign * step
        energies.append(model.predict(moved, want=EVERYTHING).energy)
    found = -(energies[0] - energies[1]) / (2 * step)
    np.testing.assert_allclose(found, forces[2, 0], rtol=1e-6, atol=1e-8)


@pytest.mark.long
def test_a_force_loss_has_the_right_gradient(model):
    """Derivatives through the linear solve, as training on forces needs them."""
    structure = model.structure(rattled(2))

    @jax.jit
    def loss(params):
        _, forces = energy_and_forces(lambda s: model.potential.energy_fn(params, s), structure)
        return jnp.sum(forces**2)

    direction = jax.tree.map(jnp.ones_like, model.params)
    # Constants of the training set: not trained, so without a gradient.
    direction["features"] = jax.tree.map(jnp.zeros_like, direction["features"])
    gradient = jax.grad(loss)(model.params)
    slope = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(gradient))
    step = 1e-5
    ends = (
        loss(jax.tree.map(lambda p, d, s=sign: p + s * step * d, model.params, direction))
        for sign in (1, -1)
    )
    np.testing.assert_allclose(slope, np.subtract(*map(float, ends)) / (2 * step), rtol=1e-5)


def test_several_channels_are_refused():
    with pytest.raises(TypeError, match="channels"):
        EquilibratedCharges(channels=2)
