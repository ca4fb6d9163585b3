"""Devices that share the atoms of a run give what one device gives."""

import json

import numpy as np
import pytest

from jles.dynamics.regions import regions
from jles.dynamics.several_devices import check_atoms, check_model
from jles.errors import InputError
from jles.models.config import EquilibratedCharges, SoftnessConfig
from jles.models.state_config import StateConfig
from tests.support.programs_on_devices import on_devices
from tests.support.small_systems import TRICLINIC, rattled, small_config

ROUNDING = 1e-10


def compared(what: str) -> dict:
    """What tests/support/shared_runs.py found."""
    return json.loads(on_devices(8, "-m", "tests.support.shared_runs", what).splitlines()[-1])


def names_and_bytes(found) -> tuple[set[str], int]:
    return {name for name, _ in found["sent"]}, sum(size for _, size in found["sent"])


def test_devices_send_sums_and_forces_and_give_the_energy_of_one():
    """A model with messages; features of the 24 atoms would be many more numbers."""
    found = compared("forces")
    assert max(found["errors"]) < ROUNDING
    names, size = names_and_bytes(found)
    assert names == {"all-reduce"}
    few = size // 8 - found["numbers of sum"] - 3 * 24
    # Energies, and the sum of the charges with its derivative.
    assert 0 < few <= 8
    assert found["shapes last"]


@pytest.mark.long
def test_records_and_responding_moments_are_those_of_one_device():
    """In a field with Born charges and current; self-consistent induced dipoles without."""
    found = compared("records")
    for model in found.values():
        assert max(model["errors"]) < ROUNDING
        assert names_and_bytes(model)[0] == {"all-reduce"}


@pytest.mark.long
def test_charged_slabs_and_screened_models_are_those_of_one_device():
    """In a field with responses, except for charges that their softness shares."""
    for model in compared("constraints").values():
        assert max(model["errors"]) < ROUNDING
        assert names_and_bytes(model)[0] == {"all-reduce"}


@pytest.mark.long
@pytest.mark.parametrize("ensemble", ["langevin", "npt"])
def test_a_run_on_eight_devices_resumed_on_two_is_that_of_one(ensemble):
    """With neighbours that are searched on the devices."""
    found = compared(ensemble)
    assert found["same sets"]
    assert max(found["errors"].values()) < 1e-8


@pytest.mark.parametrize("pbc", [True, False])
@pytest.mark.parametrize("count", [1, 3, 8, 23])
def test_regions_hold_every_atom_once_and_equally_many(count, pbc):
    atoms = rattled(0, 23, TRICLINIC, pbc)
    found = regions(atoms.positions, atoms.cell.array, atoms.pbc, count)
    assert np.concatenate(found).size == 23
    assert sorted(np.concatenate(found)) == list(range(23))
    assert np.ptp([len(own) for own in found]) <= 1


def test_regions_of_a_long_cell_are_slices_of_it():
    places = np.random.default_rng(0).uniform(size=(60, 3)) * [5.0, 40.0, 5.0] + 1e3
    first, second = regions(places, np.diag([5.0, 40.0, 5.0]), (True, True, True), 2)
    along = places[:, 1] % 40.0
    assert along[first].max() < along[second].min()


@pytest.mark.parametrize(
    ("changes", "couples", "key"),
    [
        ({"charges": EquilibratedCharges()}, False, "charges.kind 'equilibrated'"),
        ({"state": StateConfig()}, False, "state"),
        ({"charge_softness": SoftnessConfig()}, True, "charge_softness in a field"),
    ],
)
def test_models_that_devices_cannot_share_are_refused_by_name(changes, couples, key):
    with pytest.raises(InputError, match=f"parallel: .* a model with {key}.*; take one device"):
        check_model(small_config(**changes), couples)
    if couples:
        check_model(small_config(**changes), False)


def test_clusters_and_too_few_atoms_are_refused():
    cluster = rattled(0, 6, pbc=False)
    with pytest.raises(InputError, match="parallel: pbc is F F F; .*: take one device"):
        check_atoms(small_config(), cluster, 2)
    check_atoms(small_config(charges=None), cluster, 2)
    with pytest.raises(InputError, match="8 devices cannot share 6 atoms; take fewer devices"):
        check_atoms(small_config(), rattled(0, 6), 8)
