"""Born charges, field force and current of the imported water_v1, beside energy and forces."""

from dataclasses import replace
from functools import partial

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_model import forces_fn, structure_of

from jles.data.sets import data_set, published_model
from jles.errors import InputError
from jles.interop.torch_import import import_torch
from jles.observables.born_charges import dipole_current, field_force
from jles.predict.model import Model
from jles.predict.outputs import outputs
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import on_device

REPEATS = {192: (1, 1, 1), 1536: (2, 2, 2)}


@pytest.fixture(scope="module")
def water():
    """Model, and a structure of each size."""
    try:
        config, params = import_torch(published_model("water_v1.pth"))
        atoms = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    except InputError as error:
        pytest.skip(str(error))
    structures = {
        size: on_device(structure_of(config, atoms * repeats))
        for size, repeats in REPEATS.items()
    }
    return Model(config, params), structures


@pytest.mark.parametrize("size", REPEATS)
def test_energy_and_forces(water, in_units, size):
    model, structures = water
    in_units(forces_fn(model.potential), model.params, structures[size], rounds=10, atoms=size)


@pytest.mark.parametrize("mode", ["exact", "published"])
@pytest.mark.parametrize("size", REPEATS)
def test_born_charges(water, in_units, size, mode):
    model, structures = water
    evaluate = jax.jit(partial(outputs, model.potential), static_argnums=(3, 4))

    def born(params, structure):
        return evaluate(params, structure, None, frozenset({"born_charges"}), mode)[
            "born_charges"
        ]

    in_units(born, model.params, structures[size], rounds=5, atoms=size)


@pytest.mark.parametrize("size", REPEATS)
def test_field_force(water, in_units, size):
    """Energy, its forces and those of a field, as a step of dynamics needs them."""
    model, structures = water
    field = jnp.array([0.0, 0.0, 0.05], jnp.float32)

    @jax.jit
    def evaluate(params, structure):
        def enthalpy(positions):
            return model.potential.enthalpy_fn(
                params, replace(structure, positions=positions), field
            )

        return jax.value_and_grad(enthalpy)(structure.positions)

    in_units(evaluate, model.params, structures[size], rounds=10, atoms=size)


@pytest.mark.parametrize("size", REPEATS)
def test_field_force_alone(water, in_units, size):
    model, structures = water
    field = jnp.array([0.0, 0.0, 0.05], jnp.float32)

    @jax.jit
    def evaluate(params, structure):
        return field_force(
            Evaluation(model.potential, params, structure).coupling, structure.positions, field
        )

    in_units(evaluate, model.params, structures[size], rounds=10, atoms=size)


@pytest.mark.parametrize("size", REPEATS)
def test_dipole_current(water, in_units, size):
    model, structures = water
    velocities = jnp.asarray(np.random.default_rng(0).normal(size=(size, 3)), jnp.float32)

    @jax.jit
    def evaluate(params, structure):
        coupling = Evaluation(model.potential, params, structure).coupling
        return dipole_current(coupling, structure.positions, velocities)

    in_units(evaluate, model.params, structures[size], rounds=10, atoms=size)
