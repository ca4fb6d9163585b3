"""What LAMMPS cannot run with a model, each in one line."""

import pytest
from ase.units import kcal, mol

from jles.domains.domain import reach_of
from jles.errors import InputError
from jles.lammps import start
from jles.lammps.elements import elements_of_types
from jles.lammps.field import Field
from jles.lammps.refusals import (
    check_boundary,
    check_coupling,
    check_model,
    check_options,
    check_total_charge,
)
from jles.lammps.units import energy_unit
from jles.models.config import (
    DirectCharges,
    EquilibratedCharges,
    FlowCharges,
    ResponseConfig,
    ScalarPolarizability,
    SoftnessConfig,
)
from jles.models.state_config import StateConfig
from tests.support.small_systems import small_backbone, small_config
from tests.support.thread_ranks import on_ranks


def test_elements_follow_from_masses():
    assert elements_of_types(None, [15.9994, 1.008], (1, 8)).tolist() == [8, 1]
    assert elements_of_types(["O", "H", "H"], [16.0, 1.0, 2.014], (1, 8)).tolist() == [8, 1, 1]
    assert elements_of_types(["O"], None, (1, 8)).tolist() == [8]


@pytest.mark.parametrize(
    ("symbols", "masses", "message"),
    [
        (None, [16.0, 2.014], "type 2 has mass 2.014, that of none of the model's elements H"),
        (None, None, "no masses of atom types here; give --types"),
        (["O"], [16.0, 1.0], r"--types names 1 elements \(O\), LAMMPS has 2 atom types"),
        (["O", "C"], [16.0, 1.0], "--types: C is not among the model's H, O"),
        (["O", "Ox"], [16.0, 1.0], "--types: Ox is not among"),
    ],
)
def test_types_without_an_element(symbols, masses, message):
    with pytest.raises(InputError, match=message):
        elements_of_types(symbols, masses, (1, 8))


def test_nickel_and_cobalt_differ_too_little_to_be_told_by_mass():
    with pytest.raises(InputError, match="mass 58.9, that of two of the model's elements"):
        elements_of_types(None, [58.9], (27, 28))


def test_units():
    assert energy_unit("metal") == 1.0
    assert energy_unit("real") == pytest.approx(kcal / mol)
    with pytest.raises(InputError, match="units lj: jles works with units metal"):
        energy_unit("lj")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (
            {
                "charge_softness": SoftnessConfig(),
                "response": ResponseConfig(conserve_charge=True),
            },
            "response.conserve_charge",
        ),
        ({"state": StateConfig(labels=(0, 1))}, "state"),
    ],
)
def test_models_that_cannot_be_divided(changes, key):
    with pytest.raises(InputError, match=f"runs/a: {key} cannot be divided among MPI ranks"):
        check_model(small_config(**changes), "runs/a")


@pytest.mark.parametrize(
    ("changes", "field", "born", "message"),
    [
        ({"charges": None}, True, 0, "--field needs a model with latent charges"),
        (
            {"charges": EquilibratedCharges()},
            True,
            0,
            "--field with charges.kind 'equilibrated'",
        ),
        ({"charge_softness": SoftnessConfig()}, True, 0, "--field with charge_softness"),
        ({"polarizability": ScalarPolarizability()}, True, 5, "--born-charges with polarizab"),
        ({}, False, -1, "--born-charges -1: must be a number of steps"),
    ],
)
def test_models_without_field_or_born_charges_in_parts(changes, field, born, message):
    check_coupling(small_config(), "runs/a", True, 5)
    check_coupling(small_config(**changes), "runs/a", False, 0)
    with pytest.raises(InputError, match=message):
        check_coupling(small_config(**changes), "runs/a", field, born)


@pytest.mark.parametrize(
    ("changes", "charge", "couples", "message"),
    [
        ({}, 1.0, False, "--total-charge 1: runs/a does not see the total charge"),
        (
            {"charges": DirectCharges(total="shift")},
            -1.0,
            True,
            "--total-charge -1 with --field",
        ),
        ({}, float("nan"), False, "--total-charge nan: must be a finite number"),
    ],
)
def test_total_charges_without_effect_or_in_a_field(changes, charge, couples, message):
    check_total_charge(small_config(**changes), "runs/a", 0.0, couples)
    check_total_charge(small_config(charges=DirectCharges(total="shift")), "runs/a", 1.0, False)
    with pytest.raises(InputError, match=message):
        check_total_charge(small_config(**changes), "runs/a", charge, couples)


def test_ranks_are_not_divided_among_systems():
    check_options(["-var", "p", "1", "-log", "run.log"])
    for option in ("-partition", "--partition", "-p", "-mpicolor"):
        with pytest.raises(InputError, match=f"--options {option}: all ranks compute one"):
            check_options(["-log", "none", option, "2x1"])


def test_a_lammps_that_does_not_start_is_not_called_missing(monkeypatch):
    def refuses(comm, cmdargs):
        raise RuntimeError("Failed to initialize LAMMPS object")

    monkeypatch.setattr(start, "_lammps_class", lambda: refuses)

    def rank(comm):
        with pytest.raises(InputError, match="not start with --options -bad: Failed"):
            start.start_lammps(comm, ["-bad"])

    on_ranks(1, rank)


def test_a_lammps_without_the_other_ranks_is_refused(monkeypatch):
    class Serial:
        def __init__(self, comm, cmdargs):
            pass

        def extract_setting(self, name):
            return {"world_size": 1}[name]

    monkeypatch.setattr(start, "_lammps_class", lambda: Serial)

    def rank(comm):
        with pytest.raises(InputError, match="LAMMPS has 1 of 2 ranks: it has another MPI or"):
            start.start_lammps(comm, [])

    on_ranks(2, rank)


class Variables:
    """Equal-style variables of LAMMPS."""

    def extract_variable(self, name):
        return {"E": 0.25, "huge": 1e4}.get(name)


def test_a_field_is_numbers_and_variables():
    assert Field(Variables(), ("-1e-3", "v_E", "E"))().tolist() == [-1e-3, 0.25, 0.25]


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("nan", "field must be three finite numbers"),
        ("huge", "is stronger than 10; is it in kV/cm"),
        ("v_missing", "--field: missing is None; name an equal-style variable"),
    ],
)
def test_a_field_that_is_none(component, message):
    with pytest.raises(InputError, match=message):
        Field(Variables(), ("0", component, "0"))()


def test_clusters_and_wires_need_a_model_without_charges():
    check_boundary(small_config(charges=None), (0, 0, 0))
    check_boundary(small_config(), (1, 1, 0))
    with pytest.raises(InputError, match="boundary p f f: .* two or three periodic directions"):
        check_boundary(small_config(), (1, 0, 0))


def test_charges_that_flow_look_one_cutoff_farther():
    backbone = small_backbone(layers=2)
    assert reach_of(small_config(backbone=backbone)).receptive_field == 9.0
    flow = small_config(backbone=backbone, charges=FlowCharges())
    assert reach_of(flow).receptive_field == 12.0
