"""Every backbone on 192 atoms of water, cutoff 5 angstrom: energy + forces, gradient of a loss.

The models have no long-range part. The gradient is that of a loss of the forces by all
parameters, which is nearly all of a training step of one frame.
"""

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.data.sets import data_set
from jles.errors import InputError
from jles.models.backbones.allegro_config import AllegroConfig
from jles.models.backbones.cace_config import CaceConfig
from jles.models.backbones.mace_config import MaceConfig
from jles.models.backbones.nequip_config import NequipConfig
from jles.models.backbones.painn_config import PainnConfig
from jles.models.config import ModelConfig
from jles.models.potential import build_potential
from jles.observables.stress import energy_and_forces

SUMS = {"cutoff": 5.0, "avg_num_neighbors": 51.5}
BACKBONES = {
    "allegro": AllegroConfig(**SUMS),
    "cace": CaceConfig(5.0),
    "mace, 32 channels": MaceConfig(
        **SUMS, hidden_irreps="32x0e + 32x1o", max_ell=2, correlation=2
    ),
    "nequip, 3 layers, l 1, 32 features": NequipConfig(
        **SUMS, num_layers=3, l_max=1, num_features=32, invariant_neurons=32
    ),
    "nequip, 3 layers": NequipConfig(**SUMS, num_layers=3),
    "nequip, 4 layers": NequipConfig(**SUMS),
    "painn, 2 interactions": PainnConfig(**SUMS, n_interactions=2),
    "painn, 3 interactions": PainnConfig(**SUMS, n_interactions=3),
    "painn, degree 2, 32 channels": PainnConfig(
        **SUMS, n_interactions=2, degree=2, n_atom_basis=32
    ),
}


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    """Energy and forces as a function, parameters, one structure."""
    try:
        atoms = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    except InputError as error:
        pytest.skip(str(error))
    potential = build_potential(ModelConfig(("H", "O"), BACKBONES[request.param], charges=None))

    def evaluate(params, structure):
        return energy_and_forces(lambda moved: potential.energy_fn(params, moved), structure)

    params = potential.init(jax.random.key(0), np.float32)
    return evaluate, params, potential.structure(atoms, np.float32)


def test_energy_and_forces(model, in_units):
    evaluate, params, structure = model
    size = sum(leaf.size for leaf in jax.tree.leaves(params["backbone"]))
    edges = int(np.sum(structure.neighbor_mask))
    in_units(jax.jit(evaluate), params, structure, rounds=30, parameters=size, edges=edges)


def test_gradient_of_a_loss_of_forces(model, in_units):
    evaluate, params, structure = model
    target = jnp.ones_like(structure.positions)

    def loss(params, structure):
        return jnp.mean((evaluate(params, structure)[1] - target) ** 2)

    in_units(jax.jit(jax.grad(loss)), params, structure, rounds=10)
