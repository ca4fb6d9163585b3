"""A new model with initial charges of its elements consists of constant charges."""

import jax
import numpy as np
import pytest

from jles.errors import InputError
from jles.models.config import DirectCharges
from jles.models.potential import build_potential
from jles.predict.model import Model
from jles.units import COULOMB_CONSTANT
from tests.support.small_systems import rattled, small_backbone, small_config

INITIAL = {"H": 0.6, "O": -0.6}
CHARGES = DirectCharges((4,), total="shift", initial=INITIAL)


@pytest.fixture(scope="module")
def potential():
    config = small_config(
        charges=CHARGES,
        backbone=small_backbone(l_max=1, body_order=2),
        electrostatics={"cutoff": "sharp"},
    )
    return build_potential(config)


def smeared_energy(atoms, charges, k_max, sigma):
    """The energy of constant smeared charges, summed over all waves up to k_max."""
    reciprocal = 2.0 * np.pi * np.linalg.inv(atoms.cell.array).T
    span = np.arange(-8, 9)
    waves = np.stack(np.meshgrid(span, span, span), -1).reshape(-1, 3) @ reciprocal
    squares = np.sum(waves**2, axis=1)
    kept = (squares > 1e-9) & (squares <= k_max**2)
    waves, squares = waves[kept], squares[kept]
    structure_factor = np.exp(1j * waves @ atoms.positions.T) @ charges
    form = np.exp(-(sigma**2) * squares / 2.0) / squares
    factor = 2.0 * np.pi * COULOMB_CONSTANT / atoms.get_volume()
    return factor * form @ np.abs(structure_factor) ** 2


def test_an_untrained_model_has_the_initial_charges_and_their_energy_alone(potential):
    model = Model(potential.config, potential.init(jax.random.key(3), np.float64), "float64")
    frames = [rattled(1), rattled(2)]
    out = model.predict(frames, want=("energy", "charges", "born_charges"))
    charges = np.array([INITIAL[symbol] for symbol in frames[0].symbols])
    for found in out:
        np.testing.assert_allclose(found.charges, charges, atol=1e-12)
        constant = charges[:, None, None] * np.eye(3)
        np.testing.assert_allclose(found.born_charges, constant, atol=1e-10)
    sums = potential.config.electrostatics
    expected = [smeared_energy(atoms, charges, sums.k_max, sums.sigma) for atoms in frames]
    # The self energy is the same in both frames.
    np.testing.assert_allclose(
        out[1].energy - out[0].energy, expected[1] - expected[0], rtol=1e-9
    )


def test_element_charges_and_read_out_have_gradients_at_the_start(potential):
    params = potential.init(jax.random.key(3), np.float64)
    structure = potential.structure(rattled(1), np.float64)
    slope = jax.jit(jax.grad(potential.energy_fn))(params, structure)["charges"]
    assert np.all(np.abs(slope["elements"]) > 1e-6)
    assert np.any(np.abs(slope["surroundings"]["linear"]["kernel"]) > 1e-6)


@pytest.mark.parametrize(
    ("initial", "words"),
    [
        ({"H": 0.0, "O": 0.0}, "charges are zero"),
        ({"H": 0.3}, "give one charge (e) to each element of the model: H, O"),
        ({"H": 0.3, "O": -0.3, "N": 0.1}, "give one charge (e) to each element"),
        ({"H": 0.3, "Ox": -0.3}, "'Ox' is not a chemical symbol"),
    ],
)
def test_initial_charges_that_cannot_be_used_are_refused(initial, words):
    with pytest.raises(InputError) as caught:
        small_config(charges={"initial": initial})
    assert words in str(caught.value)
    assert "charges.initial: " in str(caught.value)


def test_initial_charges_are_for_one_channel():
    with pytest.raises(InputError, match="initial: needs channels 1, got 2"):
        DirectCharges(channels=2, initial=INITIAL)
