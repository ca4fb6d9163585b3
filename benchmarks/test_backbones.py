"""Backbones with latent charges at 192 water atoms, cutoff 5 angstrom, float32.

Energy + forces, and the gradient of a loss of energy and forces with respect to the parameters:
a training step without the optimizer.
"""

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.data.sets import data_set
from jles.errors import InputError
from jles.models.backbones.nequip_config import NequipConfig
from jles.models.config import ModelConfig
from jles.models.potential import build_potential
from jles.observables.stress import energy_and_forces

NEIGHBORS = 51.5
BACKBONES = {
    "nequip, 4 layers, 64 features, l 2": NequipConfig(
        5.0, num_layers=4, l_max=2, num_features=64, avg_num_neighbors=NEIGHBORS
    ),
    "nequip, 3 layers, 64 features, l 2": NequipConfig(
        5.0, num_layers=3, l_max=2, num_features=64, avg_num_neighbors=NEIGHBORS
    ),
    "nequip, 3 layers, 32 features, l 1": NequipConfig(
        5.0,
        num_layers=3,
        l_max=1,
        num_features=32,
        invariant_neurons=32,
        avg_num_neighbors=NEIGHBORS,
    ),
}


@pytest.fixture(scope="module", params=BACKBONES)
def subject(request):
    """Potential, parameters, structure, and what is noted with the time."""
    try:
        atoms = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    except InputError as error:
        pytest.skip(str(error))
    potential = build_potential(ModelConfig(("H", "O"), BACKBONES[request.param]))
    params = potential.init(jax.random.key(0))
    structure = potential.structure(atoms)
    notes = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params["backbone"])),
        "edges": int(np.sum(structure.neighbor_mask)),
    }
    return potential, params, structure, notes


def forces_of(potential, params, structure):
    return energy_and_forces(lambda moved: potential.energy_fn(params, moved), structure)


def test_energy_and_forces(subject, in_units):
    potential, *arguments, notes = subject

    @jax.jit
    def evaluate(params, structure):
        return forces_of(potential, params, structure)

    in_units(evaluate, *arguments, rounds=30, **notes)


def test_gradient_of_a_force_loss(subject, in_units):
    potential, *arguments, notes = subject

    @jax.jit
    def evaluate(params, structure):
        def loss(params):
            energy, forces = forces_of(potential, params, structure)
            return (energy / len(forces)) ** 2 + jnp.mean((forces - 1.0) ** 2)

        return jax.value_and_grad(loss)(params)

    in_units(evaluate, *arguments, rounds=10, **notes)
