"""Strain and fields: the piezoelectric tensor, and the stress in a field, of a crystal."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jles.bloch.crystal_coupling import crystal_coupling
from jles.bloch.weighted import bloch_vectors
from jles.errors import InputError
from jles.models.config import (
    DirectCharges,
    FlowCharges,
    MomentConfig,
    SoftnessConfig,
)
from jles.observables.born_charges import acoustic_sum, born_charges
from jles.observables.piezoelectricity import piezoelectric_tensor, strained_current
from jles.observables.stress import energy_forces_stress, strained
from jles.predict.model import Model
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import build_structure, on_device
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    small_backbone,
    small_config,
    small_model,
)
from tests.support.small_systems import structure_of as model_structure

FLOWING = small_config(
    backbone=small_backbone(layers=1, messages=("ar", "bchi"), n_radial_basis=1, body_order=2),
    charges=FlowCharges(hidden=(4,), flow_width=2),
    dipoles=MomentConfig((4,), 2),
)


def proper(slope, whole):
    """The proper tensor, times the volume, of a dipole whose slope in strain is known."""
    moved = np.einsum("ab,c->abc", np.eye(3), whole)
    return slope - 0.5 * (moved + moved.transpose(0, 2, 1))


@pytest.fixture(scope="module")
def crystal():
    """Two species between which charge flows; some flows depend on their own sum."""
    atoms = rattled(3)
    built = build_structure(
        atoms.numbers, atoms.positions, atoms.cell.array, True,
        cutoff=4.0, k_max=None, dtype=np.float64,
    )  # fmt: skip
    return on_device(built)


def bonds(structure, bloch=None):
    """Charge received from every neighbour, and the vectors to the neighbours."""
    vectors = bloch_vectors(structure, bloch)
    r2 = jnp.sum(vectors**2, axis=-1)
    signs = jnp.where(structure.numbers == 1, 1.0, -1.0)
    sides = signs[:, None] - signs[structure.neighbor_index]
    reach = structure.neighbor_mask * jnp.where(r2 < 16.0, (1.0 - r2 / 16.0), 0.0) ** 3
    return 0.3 * sides * reach * jnp.exp(-r2 / 5.0), vectors


def fixed(structure):
    return jnp.where(structure.numbers == 1, 0.7, -0.7)


def test_charge_that_flows_along_bonds_polarizes_as_the_bonds_do(crystal):
    """Charge flow along a bond is a dipole, independent of cell borders and branches."""

    def charges_fn(params, structure, bloch):
        return fixed(structure) + jnp.sum(bonds(structure, bloch)[0], axis=1)

    flow = crystal_coupling(charges_fn)

    def coupling(positions, cell, field):
        return flow(field, {}, replace(crystal, positions=positions, cell=cell))

    def dipole(positions, cell):
        won, vectors = bonds(replace(crystal, positions=positions, cell=cell))
        return -0.5 * jnp.einsum("in,ina->a", won, vectors)

    whole = strained(dipole, crystal.cell)
    at = crystal.positions, jnp.zeros((3, 3))
    slope, value = jax.jit(lambda *at: (jax.jacfwd(whole, 1)(*at), whole(*at)))(*at)
    expected = proper(np.asarray(slope), np.asarray(value))
    found = jax.jit(lambda s: piezoelectric_tensor(coupling, s.positions, s.cell))(crystal)
    volume = np.abs(np.linalg.det(crystal.cell))
    np.testing.assert_allclose(found * volume, expected, rtol=0, atol=1e-12)
    assert np.abs(expected).max() > 0.1
    velocities = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)))
    rate = 0.1 * (velocities[:3] + velocities[:3].T)
    places = crystal.positions, crystal.cell
    current = jax.jit(lambda u, v: strained_current(coupling, *places, u, v))
    _, moving = jax.jvp(whole, at, (velocities, rate))
    expected = fixed(crystal) @ velocities + moving - value @ rate
    np.testing.assert_allclose(current(velocities, rate), expected, atol=1e-12)


def test_fixed_charges_are_not_piezoelectric(crystal):
    flow = crystal_coupling(lambda params, structure, bloch: fixed(structure))

    def coupling(positions, cell, field):
        return flow(field, {}, replace(crystal, positions=positions, cell=cell))

    found = jax.jit(lambda s: piezoelectric_tensor(coupling, s.positions, s.cell))(crystal)
    np.testing.assert_allclose(found, np.zeros((3, 3, 3)), atol=1e-14)


@pytest.fixture(scope="module")
def molecule():
    """A molecule alone in a box, in which the sum over its atoms is the polarization."""
    potential, params = small_model(FLOWING)
    cluster = rattled(5, pbc=False)
    box = Atoms(cluster.symbols, cluster.positions, cell=3.0 * TRICLINIC, pbc=True)
    return potential, params, box


@pytest.mark.long
def test_the_current_is_the_rate_of_the_polarization_in_a_moving_cell():
    r"""Of a molecule alone in a box: P = P~ h, and the current is the rate of P~ times h."""
    charges, dipoles = FlowCharges(hidden=(4,), flow_width=2), MomentConfig((4,), 2)
    potential, params = small_model(small_config(charges=charges, dipoles=dipoles))
    atoms = Atoms("OHH", [[3.0, 3.0, 3.0], [4.0, 3.1, 3.0], [2.7, 3.9, 3.2]])
    atoms.set_cell(3.0 * TRICLINIC)
    atoms.pbc = True
    structure = model_structure(atoms, potential)
    rng = np.random.default_rng(0)
    velocities, rate = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    velocities -= velocities.mean(axis=0)
    velocities, rate = jnp.asarray(velocities), jnp.asarray(rate + rate.T)

    def at(time):
        grow, moved = jnp.eye(3) + rate * time, structure.positions + velocities * time
        return replace(structure, positions=moved @ grow, cell=structure.cell @ grow)

    reduced = jax.jit(lambda s: jnp.linalg.solve(s.cell.T, potential.dipole_fn(params, s)))
    step = 1e-5
    expected = (reduced(at(step)) - reduced(at(-step))) / (2.0 * step) @ structure.cell
    found = jax.jit(lambda s: Evaluation(potential, params, s).current(velocities, rate))
    np.testing.assert_allclose(found(structure), expected, rtol=1e-7)
    still = jax.jit(lambda s: Evaluation(potential, params, s).current(velocities))
    assert np.abs(still(structure) - expected).max() > 0.1 * np.abs(expected).max()


@pytest.fixture(scope="module")
def tensor(molecule):
    potential, params, box = molecule

    @jax.jit
    def evaluate(structure):
        return QUANTITIES["piezoelectric"].value(potential, params, structure)

    return evaluate(model_structure(box, potential)) * box.get_volume()


@pytest.mark.long
def test_a_molecule_in_a_box_polarizes_as_its_dipole_does(molecule, tensor):
    """Through a layer of message passing, and with equivariant dipoles."""
    potential, params, box = molecule
    structure = model_structure(box, potential)

    def dipole(positions, cell):
        moments = potential.moments_fn(
            params, replace(structure, positions=positions, cell=cell)
        )
        return moments.charges @ positions + jnp.sum(moments.dipoles, axis=0)

    of_strain = strained(dipole, structure.cell)
    at = structure.positions, jnp.zeros((3, 3))
    slope, whole = jax.jit(lambda *at: (jax.jacfwd(of_strain, 1)(*at), of_strain(*at)))(*at)
    expected = proper(np.asarray(slope), np.asarray(whole))
    np.testing.assert_allclose(tensor, expected, rtol=0, atol=1e-11)
    assert np.abs(expected).max() > 0.01


@pytest.mark.long
def test_the_stress_of_a_field_is_the_piezoelectric_tensor(molecule, tensor):
    potential, params, box = molecule
    field = jnp.array([0.03, -0.02, 0.05])

    def enthalpy(moved, field):
        return potential.enthalpy_fn(params, moved, field)

    @jax.jit
    def stresses(structure):
        in_field = energy_forces_stress(enthalpy, structure, field)
        without = energy_forces_stress(enthalpy, structure, 0.0 * field)
        return in_field.stress - without.stress

    expected = -jnp.einsum("a,abc->bc", field, tensor) / box.get_volume()
    structure = model_structure(box, potential)
    np.testing.assert_allclose(stresses(structure), expected, rtol=0, atol=1e-12)
    # Another branch of the polarization: one atom a lattice vector further.
    moved = structure.positions.at[2].add(structure.cell[1])
    shift = structure.neighbor_shift
    receiver = jnp.arange(len(shift))[:, None] == 2
    shift = shift + jnp.array([0, 1, 0]) * receiver[..., None]
    shift = shift - jnp.array([0, 1, 0]) * (structure.neighbor_index == 2)[..., None]
    branch = replace(structure, positions=moved, neighbor_shift=shift)
    np.testing.assert_allclose(stresses(branch), expected, rtol=0, atol=1e-12)


@pytest.mark.long
def test_flowing_charges_obey_the_sum_rules_in_a_crystal():
    potential, params = small_model(FLOWING)
    structure = model_structure(rattled(1, cell=0.8 * TRICLINIC), potential)
    charges, born = jax.jit(
        lambda s: (
            potential.charges_fn(params, s),
            born_charges(Evaluation(potential, params, s).coupling, s.positions),
        )
    )(structure)
    assert abs(float(jnp.sum(charges))) < 1e-13
    assert np.abs(charges).max() > 1e-3
    np.testing.assert_allclose(acoustic_sum(born), np.zeros((3, 3)), atol=1e-12)
    assert np.abs(born).max() > 1e-3


@pytest.mark.long
def test_a_missing_charge_is_shared_in_proportion_to_softness():
    charges = {"hidden": (4,)}
    heads = {"charge_softness": SoftnessConfig((4,))}
    shared = small_config(charges=DirectCharges(**charges, total="softness"), **heads)
    free = small_config(charges=DirectCharges(**charges), **heads)
    atoms = rattled(2, pbc=False)
    atoms.info["total_charge"] = 1.0
    found = []
    for config in (shared, free):
        potential, params = small_model(config)
        structure = model_structure(atoms, potential)
        found.append(np.asarray(potential.charges_fn(params, structure))[:, 0])
    assert np.sum(found[0]) == pytest.approx(1.0, abs=1e-12)
    ratio = (found[0] - found[1]) / np.asarray(_softness(free, atoms))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)


def _softness(config, atoms):
    """Charge softness from its read-out, in units of its scale."""
    potential, params = small_model(config)
    structure = model_structure(atoms, potential)
    features = potential.features_fn(params, structure)
    constants = params["features"]
    inputs = (features.invariants - constants["mean"]) * constants["scale"]
    from jles.models.readouts import Readout

    values = Readout(config.charge_softness).apply(
        {"params": params["charge_softness"]}, inputs
    )
    return jax.nn.softplus(values[:, 0] / config.charge_softness.scale)


def test_soft_charges_have_no_known_response_to_strain():
    config = small_config(charge_softness=SoftnessConfig((4,)))
    _, params = small_model(config)
    model = Model(config, params, "float64")
    with pytest.raises(InputError, match="needs a model without charge_softness"):
        model.predict(rattled(0), ("piezoelectric",))
    with pytest.raises(InputError, match="needs a model without charge_softness"):
        model.predict(rattled(0), ("stress",), field=(0, 0, 0.1))
