"""Electrical response: cell borders, slabs, signs and unresolved electrons."""

from dataclasses import replace

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jles.cli.main import main
from jles.errors import InputError
from jles.models.config import DirectCharges, ScalarPolarizability, ScreeningConfig
from jles.models.potential import coupling_at
from jles.models.store import save_model
from jles.observables.born_charges import born_charges
from jles.observables.screening import gauge_sign
from jles.predict.model import Model
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

FIELD = (0.03, -0.02, 0.05)
BACKBONE = small_backbone(n_radial_basis=1, l_max=1, body_order=2)
PLAIN = small_config(backbone=BACKBONE)
POLARIZABLE = small_config(
    backbone=BACKBONE, polarizability=ScalarPolarizability((4,), scale=0.2)
)


def model_of(config, **options):
    return Model(config, small_model(config)[1], "float64", "runs/test", **options)


@pytest.fixture(scope="module")
def model():
    return model_of(PLAIN)


@pytest.fixture(scope="module")
def polarizable():
    screening = ScreeningConfig(epsilon_infinity=5.0)
    return model_of(POLARIZABLE.replace(screening=screening))


def test_energy_and_polarization_in_a_field_are_on_one_branch(model):
    """An atom that crosses the border of the cell, and one given in another cell."""
    atoms = rattled(0)
    atoms.positions[2] = (0.999999999, 0.4, 0.5) @ atoms.cell.array
    across, away = atoms.copy(), atoms.copy()
    across.positions[2] += (2e-9, 0.0, 0.0) @ atoms.cell.array
    away.positions[1] += atoms.cell.array[1]
    energies = []
    for each in (atoms, across, away):
        free = model.predict(each, ("energy", "polarization"))
        out = model.predict(each, ("energy", "energy_parts"), field=FIELD)
        assert out.energy - free.energy == pytest.approx(-free.polarization @ FIELD, abs=1e-12)
        assert sum(out.energy_parts.values()) == pytest.approx(out.energy, abs=1e-12)
        assert "branch" in out.notes[0]
        energies.append(out.energy)
    assert energies[1] == pytest.approx(energies[0], abs=1e-8)
    assert abs(energies[2] - energies[0]) > 1e-6


def test_out_of_its_plane_a_slab_responds_as_a_cluster_does():
    """There the polarization is a function of positions for any total charge."""
    config = PLAIN.replace(charges=DirectCharges(hidden=(4,)))
    potential, params = small_model(config)
    structure = structure_of(rattled(3, pbc=(True, True, False)), potential)
    normal = np.cross(*TRICLINIC[:2])
    normal /= np.linalg.norm(normal)

    @jax.jit
    def height(places):
        moved = replace(structure, positions=places)
        return potential.dipole_fn(params, moved) @ normal

    born = jax.jit(lambda s: born_charges(coupling_at(potential, params, s), s.positions))(
        structure
    )
    step = 1e-5 * np.random.default_rng(0).normal(size=(6, 3))
    expected = (height(structure.positions + step) - height(structure.positions - step)) / 2.0
    found = np.einsum("a,iab,ib->", normal, born[:6], step)
    assert found == pytest.approx(float(expected), rel=1e-6)
    plain = float(normal @ jnp.sum(born, axis=0) @ normal)
    assert abs(plain) < 1e-12


def test_hidden_electrons_count_in_the_dielectric_constant(polarizable):
    out = polarizable.predict(rattled(0), ("polarizability",))
    assert np.trace(out.epsilon_infinity) / 3.0 == pytest.approx(5.0, abs=1e-12)
    assert np.trace(out.polarizability) > 0.0


@pytest.mark.long
def test_a_slab_has_no_permittivity_and_no_waves(polarizable):
    slab = rattled(3, pbc=(True, True, False))
    latent = model_of(POLARIZABLE).predict(slab, ("polarization",))
    out = polarizable.predict(slab, ("polarization",))
    np.testing.assert_allclose(out.polarization, latent.polarization, rtol=0, atol=1e-14)
    assert out.polarization_quantum.shape == (2, 3)
    assert any("slab" in note for note in out.notes)
    with pytest.raises(InputError, match="open direction"):
        polarizable.predict(slab, ("born_charges",), born_mode="published")
    with pytest.raises(InputError, match="slab in a field"):
        polarizable.predict(slab, ("stress",), field=FIELD)


@pytest.mark.parametrize("chosen", [[True, True], [False, False]])
def test_one_kind_of_atom_tells_no_sign(chosen):
    mask = jnp.ones(2, bool)
    assert float(gauge_sign(jnp.array([-0.3, -0.1]), jnp.array(chosen), mask)) == 1.0


def test_raman_tensors_are_slopes_of_the_polarizability():
    polarizable = model_of(POLARIZABLE)
    atoms, step = rattled(1), np.zeros((6, 3))
    step[2, 1], h = 1.0, 1e-4
    tensors = polarizable.predict(
        atoms, ("polarizability_derivative",)
    ).polarizability_derivative
    ends = []
    for sign in (1.0, -1.0):
        moved = atoms.copy()
        moved.positions += sign * h * step
        ends.append(polarizable.predict(moved, ("polarizability",)).polarizability)
    slope = (ends[0] - ends[1]) / (2.0 * h)
    assert np.abs(slope).max() > 1e-5
    np.testing.assert_allclose(tensors[2, :, :, 1], slope, rtol=0, atol=1e-9)


def test_a_field_needs_charges_to_act_on():
    model = model_of(PLAIN.replace(charges=None))
    with pytest.raises(InputError, match="no charges"):
        model.predict(rattled(0), field=FIELD)


def test_the_calculator_knows_the_charge_by_the_name_the_data_gave_it():
    config = PLAIN.replace(charges=DirectCharges(hidden=(4,), total="shift"))
    model = model_of(config, training={"label_keys": {"total_charge": "charge"}})
    atoms = rattled(0, pbc=False)
    atoms.calc = model.calculator()
    for charge in (0.0, 1.0):
        atoms.info["charge"] = charge
        assert atoms.get_charges().sum() == pytest.approx(charge, abs=1e-10)


@pytest.mark.long
def test_prediction_files_hold_quadrupole_quantum_and_sum(tmp_path):
    save_model(tmp_path / "model", PLAIN, small_model(PLAIN)[1])
    frames = [rattled(0), rattled(1, pbc=False)]
    ase.io.write(tmp_path / "in.xyz", frames, format="extxyz")
    arguments = [
        "predict",
        tmp_path / "model",
        tmp_path / "in.xyz",
        "-o",
        tmp_path / "o.extxyz",
    ]
    assert main([*map(str, arguments), "--born-charges", "--sum-rule"]) == 0
    crystal, cluster = ase.io.read(tmp_path / "o.extxyz", ":")
    np.testing.assert_allclose(crystal.info["polarization_quantum"].reshape(3, 3), TRICLINIC)
    born = crystal.arrays["bec"].reshape(-1, 3, 3)
    # What was there before the sum rule took it off.
    assert np.abs(crystal.info["acoustic_sum"]).max() > 1e-3
    np.testing.assert_allclose(born.sum(axis=0), np.zeros((3, 3)), atol=1e-5)
    assert cluster.info["quadrupole"].size == 9


def test_labels_of_a_slab_without_a_third_vector_are_compared(tmp_path):
    save_model(tmp_path / "model", PLAIN, small_model(PLAIN)[1])
    slab = rattled(3, pbc=(True, True, False))
    cell = slab.cell.array.copy()
    cell[2] = 0.0
    atoms = Atoms(slab.symbols, slab.positions, cell=cell, pbc=slab.pbc)
    atoms.info["dipole_ref"] = np.array([0.1, 0.2, 0.3])
    ase.io.write(tmp_path / "slab.xyz", atoms, format="extxyz")
    arguments = ["evaluate", tmp_path / "model", tmp_path / "slab.xyz", "--out", tmp_path / "e"]
    assert main(list(map(str, arguments))) == 0
