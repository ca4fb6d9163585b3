"""Electrical response of a model in use: branches, slabs, hidden electrons, Raman tensors."""

import numpy as np
import pytest

from jles.errors import InputError
from jles.models.config import (
    DirectCharges,
    FlowCharges,
    ScalarPolarizability,
    ScreeningConfig,
    SoftnessConfig,
)
from jles.predict.model import Model
from jles.predict.prediction import notes_of, notes_of_field, notes_of_run
from tests.support.small_systems import rattled, small_backbone, small_config, small_model

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
        assert "screening.positive and screening.epsilon_infinity" in out.notes[-1]
        energies.append(out.energy)
    assert energies[1] == pytest.approx(energies[0], abs=1e-8)
    assert abs(energies[2] - energies[0]) > 1e-6


def test_charges_sum_to_the_total_charge_whichever_element_is_positive():
    atoms = rattled(0, pbc=False)
    config = PLAIN.replace(charges=DirectCharges((4,), total="shift", scale=1.0))
    energies, notes = set(), []
    for charge in (0.0, 1.0):
        atoms.info["total_charge"] = charge
        for element in ("H", "O"):
            signed = config.replace(screening=ScreeningConfig(positive=element))
            out = model_of(signed).predict(atoms, ("energy", "charges"))
            assert out.charges.sum() == pytest.approx(charge, abs=1e-12)
            energies.add((charge, round(float(out.energy), 12)))
            notes += [note for note in out.notes if "fixes the sign" in note]
    assert len(energies) == 2
    assert len(notes) == 1


def molecule_of(atoms):
    """The atoms without periodic images."""
    molecule = atoms.copy()
    molecule.set_cell(None)
    molecule.pbc = False
    return molecule


def born_charges_of(model, atoms, mode):
    return model.predict(atoms, ("born_charges",), born_mode=mode).born_charges


def test_local_born_charges_are_those_of_a_large_cell():
    shifted = model_of(PLAIN.replace(charges=DirectCharges((4,), total="shift", scale=1.0)))
    molecule = molecule_of(rattled(0))
    alone = born_charges_of(shifted, molecule, "local")
    boxed = molecule.copy()
    boxed.set_cell(30.0 * np.eye(3))
    boxed.pbc = True
    for mode in ("exact", "local"):
        within = born_charges_of(shifted, boxed, mode)
        np.testing.assert_allclose(within, alone, rtol=0, atol=1e-10)
    # The shift that corrects the total charge counts in the derivative of the dipole.
    assert np.abs(born_charges_of(shifted, molecule, "exact") - alone).max() > 1e-3


def test_local_born_charges_are_exact_if_charge_is_conserved_locally():
    flowing = model_of(PLAIN.replace(charges=FlowCharges((4,), flow_width=2, scale=1.0)))
    molecule = molecule_of(rattled(0))
    exact = born_charges_of(flowing, molecule, "exact")
    assert np.abs(exact).max() > 1e-3
    np.testing.assert_allclose(
        born_charges_of(flowing, molecule, "local"), exact, rtol=0, atol=1e-12
    )


def test_born_charges_and_forces_of_an_ion_sum_to_its_charge():
    ionic = FlowCharges((4,), flow_width=2, scale=1.0, total="shift")
    model = model_of(PLAIN.replace(charges=ionic))
    ion, field = molecule_of(rattled(0)), np.array([0.02, -0.03, 0.05])
    ion.info["total_charge"] = 1
    local = born_charges_of(model, ion, "local")
    out = model.predict(ion, ("forces", "born_charges"), field=field)
    np.testing.assert_allclose(out.born_charges, local, rtol=0, atol=1e-12)
    np.testing.assert_allclose(local.sum(axis=0), np.eye(3), rtol=0, atol=1e-12)
    np.testing.assert_allclose(out.forces.sum(axis=0), field, rtol=0, atol=1e-12)
    # Without Born charges the charges of the atoms are not known.
    for charges in (np.full(len(ion), 1 / len(ion)), None):
        (note,) = notes_of(("forces",), charges, 1.0, ion.pbc, model.config, True)
        assert note in out.notes
        assert "charge of 1 e: its polarization and its energy in a field depend on" in note
    screened = model.config.replace(screening=ScreeningConfig(5.0, "H"))
    *_, note = notes_of(("born_charges",), charges, 1.0, (True,) * 3, screened, False)
    assert "sum to 1 e; in Born charges and forces of a field the root of epsilon" in note


def test_charges_that_respond_have_no_local_born_charges():
    soft = model_of(PLAIN.replace(charge_softness=SoftnessConfig((4,))))
    with pytest.raises(InputError, match="'local'.*take 'exact'"):
        soft.predict(molecule_of(rattled(0)), ("born_charges",), born_mode="local")


@pytest.mark.long
def test_local_born_charges_of_a_crystal_are_the_exact_ones():
    soft = model_of(PLAIN.replace(charge_softness=SoftnessConfig((4,))))
    crystal = rattled(0)
    within = born_charges_of(soft, crystal, "local")
    np.testing.assert_array_equal(within, born_charges_of(soft, crystal, "exact"))


def test_a_field_on_charges_of_unknown_sign_or_factor_gives_a_note():
    crystal, slab = (True, True, True), (True, True, False)
    (note,) = notes_of_field(PLAIN.replace(screening=ScreeningConfig(5.0)), crystal)
    assert "(screening.positive not given): the sign" in note
    assert notes_of_field(PLAIN.replace(screening=ScreeningConfig(5.0, "H")), crystal) == ()
    assert notes_of_field(PLAIN.replace(screening=ScreeningConfig(positive="H")), slab) == ()


def test_a_run_says_what_fixes_the_sign():
    slab = (True, True, False)
    free = PLAIN.replace(screening=ScreeningConfig(positive="H"))
    summed = free.replace(charges=DirectCharges(total="shift"))
    plain = summed.replace(screening=ScreeningConfig())
    for charge in (1.0, -1.0):
        (note,) = notes_of_run(summed, slab, charge, False)
        assert f"no effect here: the total charge of {charge:g} e fixes the sign" in note
        assert notes_of_run(summed, slab, charge, True) == (note,)
        assert notes_of_run(free, slab, charge, True) == ()
        assert notes_of_run(plain, slab, charge, True) == ()
    assert notes_of_run(summed, slab, 0.0, True) == ()
    (note,) = notes_of_run(plain, slab, 0.0, True)
    assert "the sign of the charges is arbitrary" in note


def test_hidden_electrons_count_in_the_dielectric_constant(polarizable):
    out = polarizable.predict(rattled(0), ("polarizability",))
    assert np.trace(out.epsilon_infinity) / 3.0 == pytest.approx(5.0, abs=1e-12)
    assert np.trace(out.polarizability) > 0.0


@pytest.mark.long
def test_a_slab_has_no_permittivity_and_no_waves(polarizable):
    slab = rattled(3, pbc=(True, True, False))
    away = slab.copy()
    away.positions[:, 2] += 1000.0
    latent = model_of(POLARIZABLE).predict(away, ("polarization",))
    out = polarizable.predict(slab, ("polarization",))
    np.testing.assert_allclose(out.polarization, latent.polarization, rtol=0, atol=1e-12)
    assert out.polarization_quantum.shape == (2, 3)
    assert any("slab" in note for note in out.notes)
    with pytest.raises(InputError, match="open direction"):
        polarizable.predict(slab, ("born_charges",), born_mode="published")
    with pytest.raises(InputError, match="slab in a field"):
        polarizable.predict(slab, ("stress",), field=FIELD)


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
