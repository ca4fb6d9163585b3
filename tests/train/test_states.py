"""Charges and labels that a model must see, in training files and predictions."""

from functools import partial

import numpy as np
import pytest

from jles.data.frames import LabelKeys, frame_from_atoms
from jles.errors import InputError
from jles.models.config import DirectCharges, EquilibratedCharges
from jles.models.state_config import StateConfig
from jles.predict.export import export
from jles.predict.model import Model
from jles.train.states import charges_record, check_states
from tests.support.small_systems import rattled, small_config, small_model

SEEING = {
    "embedding": {"state": StateConfig()},
    "constraint": {"charges": DirectCharges(hidden=(4,), total="shift")},
    "equilibration": {"charges": EquilibratedCharges(hidden=(4,))},
}


def frame(charge, count=3, **values):
    atoms = rattled(1, count=count)
    atoms.info |= {"total_charge": charge} | values
    return frame_from_atoms(atoms, source=f"x, charge {charge:g}")


def test_a_model_must_see_the_charge_that_tells_two_frames_apart():
    frames = [frame(0.0), frame(1.0)]
    with pytest.raises(InputError, match=r"charge 1: total charge 1 e; x, charge 0 has"):
        check_states(small_config(), frames, LabelKeys())
    for options in SEEING.values():
        check_states(small_config(**options), frames, LabelKeys())
    # Other atoms may have another charge: the composition tells the frames apart.
    check_states(small_config(), [frame(0.0), frame(1.0, count=4)], LabelKeys())


def test_the_record_of_charges_is_one_of_formulas():
    frames = [frame(0.0), frame(1.0), frame(-0.0), frame(0.0, count=4), frame(2.0, count=6)]
    record = charges_record(frames)
    assert record["total_charges"] == [0.0, 1.0, 2.0]
    # Three atoms are H2O, six are H3O3, four are H2O2.
    assert record["charges_by_formula"] == {"H2O": [0.0, 1.0], "HO": [0.0, 2.0 / 3.0]}
    again = charges_record([frame(-1.0)], record)
    assert again["charges_by_formula"]["H2O"] == [-1.0, 0.0, 1.0]
    assert again["total_charges"] == [-1.0, 0.0, 1.0, 2.0]


def test_labels_of_frames_are_in_the_table_of_the_model():
    config = small_config(state=StateConfig(labels=(0, 2)))
    check_states(config, [frame(0.0, state=2), frame(0.0, state=[0, 2, 0])], LabelKeys())
    for state, message in ((1, "'state' of atom 0 is 1"), ("solid", "'state' is solid")):
        with pytest.raises(InputError, match=f"x, charge 0: {message}"):
            check_states(config, [frame(0.0, state=state)], LabelKeys())
    with pytest.raises(InputError, match="no 'spin'"):
        check_states(config, [frame(0.0)], LabelKeys(state="spin"))
    with pytest.raises(InputError, match="data.labels.state is 'spin', but model.state.labels"):
        check_states(small_config(), [frame(0.0)], LabelKeys(state="spin"))
    # A model without labels reads none.
    check_states(small_config(), [frame(0.0, state="solid")], LabelKeys())


def test_a_charge_that_a_trained_model_does_not_see_is_refused():
    atoms = rattled(1, count=3)
    atoms.info["total_charge"] = 1.0
    potential, params = small_model(dtype=np.float32)

    def model(*frames):
        record = charges_record(frames)
        return Model(potential.config, params, where="runs/x", training=record)

    for trained, listed in ((model(frame(0.0)), "0"), (model(frame(-1.0)), "-1")):
        with pytest.raises(InputError, match=f"is 1 e; runs/x was trained at {listed} e"):
            trained.check_charge(atoms)
    ion = model(frame(1.0))
    ion.check_charge(atoms)
    # A supercell has the charge of all its cells, and a structure without the key is let pass.
    double = atoms * (2, 1, 1)
    with pytest.raises(InputError, match="is 1 e; runs/x was trained at 2 e"):
        ion.check_charge(double)
    double.info["total_charge"] = 2.0
    ion.check_charge(double)
    del double.info["total_charge"]
    ion.check_charge(double)
    # Another composition may have another charge where some of the training had one.
    other = rattled(1, count=4)
    other.info["total_charge"] = 3.0
    ion.check_charge(other)
    neutral = model(frame(0.0))
    for use in (neutral.structure, partial(export, neutral)):
        with pytest.raises(InputError, match="trained at 0 e"):
            use(other)
    (note,) = Model(potential.config, params).predict(atoms).notes
    assert "does not depend on the total charge of 1 e" in note
    potential, params = small_model(small_config(state=StateConfig()), dtype=np.float32)
    Model(potential.config, params, training=charges_record([frame(0.0)])).check_charge(atoms)
