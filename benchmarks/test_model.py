"""The imported water_v1 at 192 atoms: energy + forces, a training step, the long-range share.

The published torch code takes 2.5 units for energy + forces and 11 for a training step of two
frames (../shared/models/README.md).
"""

from dataclasses import replace

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.data.frames import read_frames
from jles.data.loader import Loader
from jles.data.sets import data_set, published_model
from jles.electrostatics.multipoles import Multipoles
from jles.errors import InputError
from jles.interop.torch_import import import_torch
from jles.models.enthalpy import long_range_interaction
from jles.models.potential import build_potential, without_long_range
from jles.observables.stress import energy_and_forces
from jles.predict.model import Model
from jles.structures.batch import build_structure, on_device
from jles.train.config import OptimizerConfig
from jles.train.losses import Weights
from jles.train.optimizer import build_optimizer
from jles.train.step import build_steps


@pytest.fixture(scope="module")
def water():
    """Model, its frames' file, and one structure."""
    try:
        config, params = import_torch(published_model("water_v1.pth"))
        file = data_set("water-rpbe-d3/ef.xyz")
    except InputError as error:
        pytest.skip(str(error))
    model = Model(config, params)
    return model, file, on_device(structure_of(config, ase.io.read(file, 0)))


def structure_of(config, atoms):
    return build_structure(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        cutoff=config.backbone.cutoff,
        k_max=config.electrostatics.k_max,
    )


def forces_fn(potential):
    @jax.jit
    def evaluate(params, structure):
        return energy_and_forces(lambda moved: potential.energy_fn(params, moved), structure)

    return evaluate


def test_energy_and_forces(water, in_units):
    model, _, structure = water
    in_units(
        forces_fn(model.potential),
        model.params,
        structure,
        rounds=30,
        edges=int(np.sum(structure.neighbor_mask)),
    )


def test_energy_and_forces_without_long_range(water, in_units):
    model, _, structure = water
    potential = build_potential(without_long_range(model.config))
    in_units(forces_fn(potential), model.params, structure, rounds=30)


@pytest.mark.parametrize("repeats", [1, 4])
def test_long_range_part_alone(water, in_units, repeats):
    """The lattice sum with its gradient in charges and positions; 4 x 4 x 4 is 12,288 atoms."""
    model, file, _ = water
    atoms = ase.io.read(file, 0).repeat(repeats)
    structure = on_device(structure_of(model.config, atoms))
    charges = jnp.where(structure.numbers == 8, -0.8, 0.4)[:, None].astype(jnp.float32)

    @jax.jit
    def evaluate(charges, positions):
        def energy(charges, positions):
            moved = replace(structure, positions=positions)
            interaction = long_range_interaction(moved, model.config.electrostatics)
            return interaction(Multipoles(charges))

        return jax.value_and_grad(energy, (0, 1))(charges, positions)

    in_units(evaluate, charges, structure.positions, rounds=5, atoms=len(atoms))


def test_energy_and_forces_of_12288_atoms(water, in_units):
    model, file, _ = water
    atoms = ase.io.read(file, 0).repeat(4)
    structure = on_device(structure_of(model.config, atoms))
    in_units(forces_fn(model.potential), model.params, structure, rounds=3, atoms=len(atoms))


def test_training_step_of_two_frames(water, in_units):
    model, file, _ = water
    steps, state, batch = training(model, file, np.float32)

    def step(state, structure, labels):
        return steps.train(state, structure, labels, Weights(1.0, 1.0, 0.0), 1e-6, 0.99)

    # A step donates its state; every round gets a copy, which costs a thousandth of a step.
    def copied(state, structure, labels):
        return step(jax.tree.map(jnp.copy, state), structure, labels)

    in_units(copied, state, batch.structure, batch.labels, rounds=20)


def training(model, file, dtype):
    frames = read_frames(str(file))[:2]
    loader = Loader(
        frames,
        cutoff=model.config.backbone.cutoff,
        k_max=model.config.electrostatics.k_max,
        batch_size=2,
        dtype=dtype,
    )
    optimizer = build_optimizer(OptimizerConfig())
    quick = model.config.backbone.compiles_quickly
    steps = build_steps(model.potential, optimizer, ("energy", "forces"), quick=quick)
    batch = jax.tree.map(jnp.asarray, next(iter(loader.epoch(None))))
    return steps, steps.init(model.params), batch
