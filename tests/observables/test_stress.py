"""Stress as the derivative of the energy by strain."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jles.models.config import DirectCharges
from jles.observables.stress import energy_and_forces, energy_forces_stress
from jles.structures.batch import stack
from tests.support.coulomb_oracles import central_difference
from tests.support.small_systems import (
    TRICLINIC,
    of_structure,
    random_orthogonal,
    rattled,
    relative,
    roomy_structure,
    small_backbone,
    small_config,
    small_model,
)


@pytest.fixture(scope="module")
def model():
    charges = DirectCharges(hidden=(4,), channels=2)
    backbone = small_backbone(l_max=1, body_order=2)
    return small_model(small_config(charges=charges, backbone=backbone))


@pytest.fixture(scope="module")
def derivatives(model):
    one = of_structure(model, energy_forces_stress)
    return jax.jit(one), jax.jit(jax.vmap(one))


@pytest.mark.parametrize("cell", [TRICLINIC, TRICLINIC[[1, 0, 2]]], ids=["right", "left"])
def test_stress_is_the_slope_of_the_energy_by_strain(model, derivatives, cell):
    potential, _ = model
    structure = roomy_structure(rattled(0, cell=cell), potential)
    single, _ = derivatives
    out = single(structure)
    volume = abs(np.linalg.det(cell))

    def energy(strain):
        deform = np.eye(3) + strain
        positions, cell = structure.positions @ deform, structure.cell @ deform
        return single(replace(structure, positions=positions, cell=cell)).energy

    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
        unit = np.zeros((3, 3))
        unit[a, b] = unit[b, a] = 1.0
        slope = central_difference(energy, np.zeros((3, 3)), unit, 1e-4)
        expected = slope / volume / (1.0 if a == b else 2.0)
        np.testing.assert_allclose(out.stress[a, b], expected, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(out.stress, out.stress.T, atol=1e-14)


def test_energy_and_forces_are_the_same_with_and_without_stress(model, derivatives):
    structure = roomy_structure(rattled(1), model[0])
    out = derivatives[0](structure)
    energy, forces = jax.jit(of_structure(model, energy_and_forces))(structure)
    np.testing.assert_allclose(out.energy, energy, rtol=1e-12)
    np.testing.assert_allclose(out.forces, forces, rtol=1e-9, atol=1e-12)


def test_stress_turns_with_the_crystal(model, derivatives):
    potential, _ = model
    atoms, turn = rattled(2), random_orthogonal(2)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn, scale_atoms=True)
    stress, turned_stress = (
        derivatives[0](roomy_structure(one, potential)).stress for one in (atoms, turned)
    )
    assert relative(turned_stress, turn.T @ stress @ turn) < 1e-8


def test_a_cluster_has_no_stress_and_spoils_none_in_a_batch(model, derivatives):
    potential, _ = model
    crystal = roomy_structure(rattled(3), potential)
    cluster = roomy_structure(rattled(4, count=3, pbc=False), potential)
    single, batched = derivatives
    out = batched(stack([crystal, cluster]))
    np.testing.assert_allclose(out.stress[0], single(crystal).stress, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(out.stress[1], 0.0)
    np.testing.assert_array_equal(single(cluster).stress, 0.0)
