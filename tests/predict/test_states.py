"""A model with labels through every way to use it."""

import jax
import numpy as np

from jles.cli.model_on_frames import atoms_of, label_keys
from jles.data.frames import frame_from_atoms
from jles.jax_md import neighbor_list
from jles.models.state import reduced_formula
from jles.models.state_config import StateConfig
from jles.predict.export import export, flat_arrays
from jles.predict.model import Model
from tests.support.messages import message_of
from tests.support.small_systems import rattled, small_backbone, small_config, small_model


def test_every_door_reads_charge_and_labels():
    backbone = small_backbone(l_max=0, body_order=1)
    config = small_config(backbone=backbone, charges=None, state=StateConfig(labels=(1, 3)))
    potential, params = small_model(config, dtype=np.float32)
    keys = {"label_keys": {"state": "spin"}}
    model = Model(config, params, training=keys)
    atoms = rattled(4, count=4, pbc=False)
    atoms.info["total_charge"] = 0.7
    atoms.set_array("spin", np.array([1, 3, 1, 3]))
    expected = model.predict(atoms).energy

    frame = frame_from_atoms(atoms, label_keys(model))
    assert model.predict(atoms_of(model, frame)).energy == expected

    program = export(model, atoms, want=("energy",), atoms=4)
    arrays = flat_arrays(model._bare(atoms))
    assert np.isclose(program.call(jax.device_put(arrays))["energy"], expected, rtol=1e-6)

    neighbor_fn, energy_fn = neighbor_list(model, atoms)
    neighbors = neighbor_fn.allocate(atoms.positions)
    found = energy_fn(atoms.positions.astype(np.float32), neighbor=neighbors)
    assert np.isclose(found, expected, rtol=1e-5)

    atoms.calc = model.calculator()
    assert atoms.get_potential_energy() == expected
    atoms.arrays["spin"][0] = 3
    assert atoms.get_potential_energy() != expected
    assert potential.config.sees_charge


def test_a_file_with_a_charge_is_refused_like_atoms_with_it():
    """Also a charge of zero, which a model of ions was not trained at."""
    config = small_config(backbone=small_backbone(l_max=0, body_order=1), charges=None)
    _, params = small_model(config, dtype=np.float32)
    atoms = rattled(4, count=4, pbc=False)
    formula, units = reduced_formula(atoms.numbers)
    known = {"total_charges": [1.0], "charges_by_formula": {formula: [1.0 / units]}}
    model = Model(config, params, training=known)
    for charge in (0.0, 1.0, None):
        if charge is None:
            del atoms.info["total_charge"]
        else:
            atoms.info["total_charge"] = charge
        from_file = atoms_of(model, frame_from_atoms(atoms))
        for one in (atoms, from_file):
            if charge == 0.0:
                assert "was trained at 1 e" in message_of(model.check_charge, one)
            else:
                model.check_charge(one)
