"""A model's slab does not feel its vacuum, and batches of slabs and crystals mix."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.dynamics.model_system import model_system
from jles.dynamics.system import Capacity
from jles.models.config import DirectCharges
from jles.observables.born_charges import born_charges, field_force
from jles.observables.stress import energy_and_forces
from jles.predict.model import Model
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import on_device, stack
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)


@pytest.fixture(scope="module")
def model():
    config = small_config(backbone=small_backbone(l_max=1, body_order=2))
    return Model(config, small_model(config)[1], "float64")


def slab(vacuum, seed=0):
    atoms = rattled(seed)
    atoms.pbc = (True, True, False)
    atoms.cell[2] = [0.7, -0.4, vacuum]
    return atoms


def test_energy_and_forces_do_not_depend_on_the_vacuum(model):
    near, far = (model.predict(slab(v), want=("energy", "forces")) for v in (6.0, 37.0))
    np.testing.assert_allclose(near.energy, far.energy, atol=1e-9)
    np.testing.assert_allclose(near.forces, far.forces, atol=1e-9)


def test_forces_are_finite_differences(model):
    atoms, step = slab(20.0), 1e-4
    forces = model.predict(atoms).forces
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * step
        energies.append(model.predict(moved).energy)
    np.testing.assert_allclose(
        -(energies[0] - energies[1]) / (2 * step), forces[1, 2], atol=1e-6
    )


def test_a_run_leaves_a_slab_that_grows_to_the_host(model):
    """Which plans a higher cell; otherwise its images would overlap."""
    atoms = slab(60.0)
    system = model_system(model, atoms, skin=0.5, moves_cell=False, in_field=False)
    cell = jnp.asarray(atoms.cell.array)
    neighbors, capacity = system.rebuild_neighbors(atoms.positions, cell, Capacity())
    search = jax.jit(system.search_neighbors)
    assert not search(atoms.positions, cell, neighbors)[1]
    moved = atoms.positions.copy()
    moved[1::2, 2] += 25.0
    assert search(moved, cell, neighbors)[1]
    neighbors, _ = system.rebuild_neighbors(moved, cell, capacity)
    assert not search(moved, cell, neighbors)[1]


@pytest.mark.long
def test_a_batch_of_a_slab_a_crystal_and_a_cluster_is_each_alone(model):
    frames = [slab(20.0), rattled(1), rattled(2, pbc=False)]
    structures = [model.structure(atoms) for atoms in frames]
    batch = on_device(stack(jax.tree.map(np.asarray, structures)))

    field = jnp.array([0.1, -0.2, 0.3])

    @jax.jit
    def outputs(structure):
        coupling = Evaluation(model.potential, model.params, structure).coupling
        energy = partial(model.potential.energy_fn, model.params)
        pulled = field_force(coupling, structure.positions, field)
        return *energy_and_forces(energy, structure), pulled

    together = jax.vmap(outputs)(batch)
    for number, structure in enumerate(structures):
        count = len(structure.mask)
        for found, alone in zip(together, outputs(structure), strict=True):
            each = found[number] if alone.ndim == 0 else found[number][:count]
            np.testing.assert_allclose(each, alone, rtol=1e-9, atol=1e-11)
            assert np.abs(alone).max() > 1e-3


def test_out_of_its_plane_a_slab_responds_as_a_cluster_does():
    """There the polarization is a function of positions, with a fixed origin."""
    backbone = small_backbone(n_radial_basis=1, l_max=1, body_order=2)
    config = small_config(backbone=backbone, charges=DirectCharges(hidden=(4,)))
    potential, params = small_model(config)
    structure = structure_of(rattled(3, pbc=(True, True, False)), potential)
    structure = replace(structure, total_charge=jnp.asarray(0.7))
    normal = np.cross(*TRICLINIC[:2])
    normal /= np.linalg.norm(normal)

    @jax.jit
    def height(places):
        moved = replace(structure, positions=places)
        return potential.dipole_fn(params, moved) @ normal

    born = jax.jit(
        lambda s: born_charges(Evaluation(potential, params, s).coupling, s.positions)
    )(structure)
    step = 1e-5 * np.random.default_rng(0).normal(size=(6, 3))
    expected = (height(structure.positions + step) - height(structure.positions - step)) / 2.0
    expected += 0.7 * np.mean(step @ normal)
    found = np.einsum("a,iab,ib->", normal, born[:6], step)
    assert found == pytest.approx(float(expected), rel=1e-6)
    plain = float(normal @ jnp.sum(born, axis=0) @ normal)
    assert plain == pytest.approx(0.7, abs=1e-12)
