"""Charge and spin state as input of a model."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.config import from_dict
from jles.errors import InputError
from jles.models.atoms import structure_of as checked_structure
from jles.models.config import ModelConfig
from jles.models.potential import build_potential
from jles.models.state_config import StateConfig
from tests.support.small_systems import rattled, relative, small_config, small_model

BY_PLACE = {
    "embedding": StateConfig(labels=(1, 3)),
    "features": StateConfig(labels=(1, 3), enters="features"),
}


def labelled_atoms(charge=1.0, labels=(1, 3, 1)):
    atoms = rattled(3, count=3, pbc=False)
    atoms.info["total_charge"] = charge
    atoms.set_array("state", np.array(labels))
    return atoms


@pytest.mark.parametrize("place", BY_PLACE)
def test_the_energy_is_a_smooth_function_of_charge_and_labels(place):
    potential, params = small_model(small_config(state=BY_PLACE[place]))
    energy = jax.jit(potential.energy_fn)

    def of(charge, labels):
        atoms = labelled_atoms(charge, labels)
        return energy(params, potential.structure(atoms, np.float64))

    reference = of(0.0, (1, 3, 1))
    assert of(0.0, (3, 3, 1)) != reference
    structure = potential.structure(labelled_atoms(0.5), np.float64)

    def along(charge):
        return potential.energy_fn(params, replace(structure, total_charge=charge))

    slope = jax.jit(jax.grad(along))(jnp.asarray(0.5))
    step = 1e-4
    expected = (of(0.5 + step, (1, 3, 1)) - of(0.5 - step, (1, 3, 1))) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    assert abs(slope) > 1e-6


def test_nothing_changes_before_the_state_is_learnt():
    """New weights are zero, and neutral atoms without labels see none of them."""
    plain = small_config()
    key = jax.random.key(3)
    before = jax.eval_shape(build_potential(plain).init, key)
    for charge in ("total", "mean"):
        config = plain.replace(state=StateConfig(total_charge=charge))
        potential = build_potential(config)
        params = jax.jit(potential.init, static_argnums=1)(key, np.float32)
        new = {"sender_state", "receiver_state"}
        assert params["backbone"].keys() - before["backbone"].keys() == new
        assert not any(np.any(params["backbone"][name]) for name in new)
        trained = small_model(config)[1]
        known = {k: v for k, v in trained["backbone"].items() if k not in new}
        atoms = labelled_atoms(0.0)
        structure = potential.structure(atoms, np.float64)
        found = jax.jit(potential.energy_fn)(trained, structure)
        without = trained | {"backbone": known}
        expected = jax.jit(build_potential(plain).energy_fn)(without, structure)
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_the_mean_charge_belongs_to_the_crystal_not_to_its_cell():
    config = small_config(charges=None, state=StateConfig(total_charge="mean"))
    potential, params = small_model(config)
    energy = jax.jit(potential.energy_fn)
    atoms = rattled(4, count=3)
    energies = []
    for many in (1, 2):
        cell = atoms * (many, 1, 1)
        cell.info["total_charge"] = 0.5 * many
        energies.append(energy(params, potential.structure(cell, np.float64)))
    np.testing.assert_allclose(energies[1], 2.0 * energies[0], rtol=1e-12)
    atoms.info["total_charge"] = 0.0
    neutral = energy(params, potential.structure(atoms, np.float64))
    assert relative(energies[0], neutral) > 1e-6


def test_one_label_stands_for_all_atoms():
    potential, _ = small_model(small_config(state=StateConfig(labels=(1, 3))))
    atoms = labelled_atoms()
    del atoms.arrays["state"]
    atoms.info["state"] = 3
    np.testing.assert_array_equal(potential.structure(atoms).state, [3, 3, 3])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "no 'spin', but runs/x needs a label of every atom, one of 1, 3"),
        (2, "'spin' of atom 0 is 2; runs/x knows 1, 3"),
        (1.5, "'spin' is 1.5; it must be 3 integers"),
        ([1, 3], "'spin' is"),
        ("high", "'spin' is high"),
    ],
)
def test_labels_that_are_missing_or_unknown_are_named(label, message):
    atoms = labelled_atoms()
    if label is not None:
        atoms.info["spin"] = label
    config = small_config(state=StateConfig(labels=(1, 3)))
    with pytest.raises(InputError, match=message):
        checked_structure(atoms, config, state_key="spin", where="runs/x")


def test_a_state_without_input_is_refused():
    values = {"elements": ["H"], "backbone": {"cutoff": 3.0}}
    for state in ({"total_charge": None}, {"labels": [1, 1]}):
        with pytest.raises(InputError, match="state"):
            from_dict(ModelConfig, values | {"state": state}, "model")


def test_the_name_of_the_cutoff_in_other_programs_is_read():
    for kind in ("cace", "mace"):
        values = {"elements": ["H"], "backbone": {"kind": kind, "r_max": 3.0}}
        assert from_dict(ModelConfig, values, "model").backbone.cutoff == 3.0
    both = {"elements": ["H"], "backbone": {"cutoff": 3.0, "r_max": 4.0}}
    with pytest.raises(InputError, match="r_max"):
        from_dict(ModelConfig, both, "model")
