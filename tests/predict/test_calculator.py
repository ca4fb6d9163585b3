"""The ASE calculator of a model: derivatives of its energy, changes that it must notice."""

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from jles.cli.predict import outputs_of
from jles.data.frames import Frame
from jles.errors import InputError
from jles.models.config import DirectCharges
from jles.predict.ipi import Evaluation as IpiEvaluation
from jles.predict.model import Model
from jles.predict.prediction import Prediction
from tests.support.small_systems import rattled, small_backbone, small_config, small_model


def model_of(training=None):
    config = small_config(
        backbone=small_backbone(l_max=1, body_order=2),
        charges=DirectCharges(hidden=(4,), total="shift"),
        element_energies={"H": -13.6, "O": -2041.25},
    )
    return Model(config, small_model(config)[1], "float64", training=training)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.mark.parametrize("pbc", [True, False])
def test_calculator_forces_are_slopes_of_its_energy(model, pbc):
    atoms = rattled(5, count=4, pbc=pbc)
    atoms.calc = model.calculator()
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, rtol=1e-5, atol=1e-6)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0.0, atol=1e-10)


def test_calculator_stress_is_the_slope_of_its_energy_by_strain(model):
    atoms = rattled(6, count=4)
    atoms.calc = model.calculator()
    numerical = calculate_numerical_stress(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_stress(), numerical, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        atoms.get_stress(voigt=False),
        model.predict(atoms, want=("energy", "forces", "stress")).stress,
        rtol=1e-9,
        atol=1e-13,
    )


def test_no_stress_is_asked_for_where_the_cell_has_no_volume(model, monkeypatch):
    def asked(height, properties=("energy",)):
        slab = rattled(5, count=4, pbc=(True, True, False))
        slab.cell[2] = [0.0, 0.0, height]
        wanted = []

        def predict(atoms, want, **options):
            wanted.append({*want})
            return Prediction(energy=0.0)

        with monkeypatch.context() as patched:
            patched.setattr(model, "predict", predict)
            model.calculator().calculate(slab, properties)
            IpiEvaluation(model, slab).predict()
        frame = Frame(slab.numbers, slab.positions, slab.cell.array, slab.pbc, {})
        return [*wanted, {*outputs_of(model.config, frame)}]

    assert not any("stress" in want for want in asked(0.0))
    assert all("stress" in want for want in asked(20.0))
    with pytest.raises(PropertyNotImplementedError, match="per volume"):
        asked(0.0, ["stress"])


def test_calculator_gives_charges_and_the_dipole_of_clusters(model):
    cluster, crystal = rattled(7, pbc=False), rattled(7)
    cluster.calc = crystal.calc = model.calculator()
    out = model.predict(cluster, want=("energy", "forces", "charges", "dipole"))
    np.testing.assert_allclose(cluster.get_charges(), out.charges)
    np.testing.assert_allclose(cluster.get_dipole_moment(), out.dipole)
    assert "charges" in cluster.calc.results
    cluster.calc.calculate(rattled(8, pbc=False), ["dipole"])
    assert "charges" not in cluster.calc.results  # those of other positions
    with pytest.raises(PropertyNotImplementedError):
        cluster.get_stress()
    with pytest.raises(PropertyNotImplementedError):
        crystal.get_dipole_moment()
    with pytest.raises(PropertyNotImplementedError, match="'born_effective_charges'"):
        crystal.calc.get_property("born_charges", crystal)


def test_calculator_notices_every_change(model):
    atoms = rattled(8)
    atoms.calc = model.calculator()
    seen = [atoms.get_potential_energy()]
    changes = (
        lambda: atoms.positions.__setitem__((0, 0), atoms.positions[0, 0] + 0.1),
        lambda: atoms.set_cell(atoms.cell.array * 1.01),
        lambda: atoms.info.update(total_charge=1.0),
        lambda: atoms.symbols.__setitem__(0, "O"),
    )
    for change in changes:
        change()
        seen.append(atoms.get_potential_energy())
        np.testing.assert_allclose(seen[-1], model.predict(atoms).energy, rtol=1e-14)
    assert len(set(seen)) == len(seen)


def test_a_new_field_of_the_calculator_gives_new_results(model):
    atoms = rattled(7, pbc=False)
    atoms.calc = model.calculator()
    weak, strong = np.array([0.0, 0.01, 0.02]), (0.1, 0.0, 0.0)
    changes = (
        lambda: None,
        lambda: setattr(atoms.calc, "field", weak),
        lambda: atoms.calc.set(field=strong),
        lambda: setattr(atoms.calc, "field", None),
    )
    for change, field in zip(changes, (None, weak, strong, None), strict=True):
        change()
        out = model.predict(atoms, field=field)
        assert atoms.get_potential_energy() == out.energy
        np.testing.assert_array_equal(atoms.get_forces(), out.forces)


def test_the_calculator_refuses_what_would_not_change_its_results(model):
    calculator, field = model.calculator(), np.array([0.0, 0.0, 0.1])
    calculator.field = field
    for change, words in (
        (lambda: setattr(calculator, "field", (0.0, 0.0, 500.0)), "kV/cm"),
        (lambda: setattr(calculator, "field", 0.1), "three finite"),
        (lambda: calculator.set(Field=field), "no parameter"),
        (lambda: setattr(calculator, "model", None), "setter"),
        (lambda: calculator.field.__setitem__(0, 1.0), "read-only"),
    ):
        with pytest.raises((InputError, AttributeError, ValueError), match=words):
            change()
    field[2] = 0.2
    np.testing.assert_array_equal(calculator.field, [0.0, 0.0, 0.1])


def test_the_calculator_knows_the_charge_by_the_name_the_data_gave_it():
    model = model_of({"label_keys": {"total_charge": "charge"}})
    atoms = rattled(0, pbc=False)
    atoms.calc = model.calculator()
    for charge in (0.0, 1.0):
        atoms.info["charge"] = charge
        assert atoms.get_charges().sum() == pytest.approx(charge, abs=1e-10)
