"""The teacher is found by its name; a mistake in it is one line."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from jles.distill.labels import TEACHER_CHARGES, bare, labelled
from jles.distill.teacher import Teacher, load_teacher
from jles.errors import InputError
from jles.models.config import ScreeningConfig
from tests.support.salt import CHARGE, Broken, Forceless, Salt, cluster


@pytest.mark.parametrize("name", ["emt", "ase.calculators.emt:EMT", "ase.calculators.emt.EMT"])
def test_a_calculator_is_found_under_each_of_its_names(name):
    assert isinstance(load_teacher(name, {}).calculator, EMT)


def test_the_arguments_reach_the_calculator():
    assert load_teacher("tip3p", {"rc": 7.0}).calculator.rc == 7.0


def test_a_module_of_the_current_folder_is_found(tmp_path, monkeypatch):
    text = "from ase.calculators.emt import EMT\n\ndef make():\n    return EMT()\n"
    (tmp_path / "teacher_of_this_test.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_teacher("teacher_of_this_test:make", {}).calculator, EMT)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("nocalculator", {}, "neither a model directory nor a calculator of ASE"),
        ("nomodule.here:make", {}, "cannot import nomodule.here .*is it installed"),
        ("ase.calculators.emt:ETM", {}, "has no 'ETM'; did you mean 'EMT'"),
        ("ase.calculators.emt:parameters", {}, "is a dict, not a calculator"),
        ("ase.build:bulk", {"name": "Cu"}, "gives a Atoms; an ASE calculator was expected"),
        ("tip3p", {"cutoff": 1.0}, "cannot be made .*unexpected keyword.*key teacher: cutoff"),
        (".", {}, "config.yaml"),
    ],
)
def test_a_wrong_name_is_one_line(tmp_path, monkeypatch, name, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words) as found:
        load_teacher(name, arguments)
    assert "\n" not in str(found.value)


def test_a_jles_teacher_takes_its_screening_as_plain_values(distilled):
    folder = str(distilled.out / "student")
    teacher = load_teacher(folder, {"screening": {"epsilon_infinity": 4.0, "positive": "Na"}})
    assert teacher.calculator.model.config.screening == ScreeningConfig(4.0, "Na")
    with pytest.raises(InputError, match="screening: .*unknown key 'epsilon'"):
        load_teacher(folder, {"screening": {"epsilon": 4.0}})


def test_labels_are_those_of_the_teacher_without_constraints_and_without_old_labels():
    atoms = cluster()
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.info |= {"total_charge": 0.0, "dipole_ref": np.ones(3)}
    atoms.calc = SinglePointCalculator(atoms, energy=99.0)
    frame = labelled(Teacher("salt", Salt()), atoms, "frame", stress=True, response=True)
    salt = cluster()
    salt.calc = Salt()
    np.testing.assert_array_equal(frame.get_forces(), salt.get_forces())
    assert frame.get_potential_energy() == salt.get_potential_energy()
    assert np.all(frame.get_forces()[0] != 0.0)
    assert frame.info == {"total_charge": 0.0}
    assert set(np.abs(frame.arrays[TEACHER_CHARGES])) == {CHARGE}
    assert not bare(atoms).constraints


def test_the_stress_of_a_crystal_is_labelled_if_the_teacher_has_it():
    copper = bulk("Cu", cubic=True)
    frame = labelled(Teacher("emt", EMT()), copper, "frame", stress=True, response=True)
    copper.calc = EMT()
    np.testing.assert_array_equal(frame.get_stress(), copper.get_stress())
    assert "stress" not in labelled(Teacher("emt", EMT()), copper, "frame").calc.results


def test_a_teacher_that_fails_is_one_line():
    with pytest.raises(InputError, match="teacher none: has no forces"):
        labelled(Teacher("none", Forceless()), cluster(), "x.xyz, frame 0")
    with pytest.raises(InputError, match="x.xyz, frame 0: teacher emt fails .*Na"):
        labelled(Teacher("emt", EMT()), cluster(), "x.xyz, frame 0")
    broken = Broken()
    broken.evaluations = 2
    with pytest.raises(InputError, match="x.xyz, frame 0: the forces .* not finite"):
        labelled(Teacher("broken", broken), cluster(), "x.xyz, frame 0")
