"""What holds for every configuration: it is immutable, a key of caches, and copied as it is."""

import copy
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jles.config import Config, from_dict, read_yaml, to_dict
from jles.data.frames import LabelKeys
from jles.dynamics.config import MdConfig
from jles.models.config import ModelConfig
from jles.train.config import LossConfig, TrainConfig

WAVE = {"amplitude": (0.0, 0.0, 0.1), "unit": "V/angstrom"}
THERMAL = {"temperature": 300.0}
REQUIRED = {
    "BackboneRecord": {"cutoff": 4.0},
    "CaceConfig": {"cutoff": 4.0},
    "AllegroConfig": {"cutoff": 4.0},
    "ForeignConfig": {"cutoff": 4.0, "name": "jax-md-nequip"},
    "MaceConfig": {"cutoff": 4.0},
    "NequipConfig": {"cutoff": 4.0},
    "PainnConfig": {"cutoff": 4.0},
    "ModelConfig": {"elements": ("H",), "backbone": {"cutoff": 4.0}},
    "ModelSection": {"backbone": {"cutoff": 4.0}},
    "DataConfig": {"train": "a.xyz"},
    "TrainConfig": {
        "data": {"train": "a.xyz"},
        "model": {"backbone": {"cutoff": 4.0}},
        "epochs": 1,
    },
    "ManualProcesses": {"coordinator": "node:29500", "processes": 2, "process": 0},
    "MdConfig": {"steps": 1, "timestep": 1.0},
    "Langevin": THERMAL,
    "NoseHoover": THERMAL,
    "Npt": THERMAL | {"pressure": 0.0, "pressure_unit": "GPa"},
    "Constant": WAVE,
    "Step": WAVE | {"start": 1.0},
    "Ramp": WAVE | {"end": 1.0},
    "Sine": WAVE | {"period": 1.0},
    "Pulse": WAVE | {"center": 1.0, "width": 1.0},
    "Cycle": WAVE | {"period": 1.0},
}
MAPPINGS = {
    "ModelConfig": {"element_energies": {"H": -13.6}},
    "ModelSection": {"element_energies": {"H": -13.6}},
    "LossConfig": {"energy": {0: 1.0, 5: 2.0}, "huber": {"forces": 0.1}},
}


def below(record):
    for each in record.__subclasses__():
        yield each
        yield from below(each)


RECORDS = sorted(
    {
        record
        for record in below(Config)
        if record.__module__.startswith("jles.") and not record.__name__.startswith("_")
    },
    key=lambda record: record.__name__,
)


def make(record):
    name = record.__name__
    return record(**REQUIRED.get(name, {}) | MAPPINGS.get(name, {}))


def test_all_configurations_are_among_them():
    assert {LabelKeys, LossConfig, MdConfig, ModelConfig, TrainConfig} <= set(RECORDS)
    assert {record.__name__ for record in RECORDS} >= set(REQUIRED) | set(MAPPINGS)


@pytest.mark.parametrize("record", RECORDS)
def test_equal_configurations_are_one_key(record):
    """Flax modules and `jit` hash what is static."""
    one, other = make(record), make(record)
    assert one is not other
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    for copied in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), one.replace()):
        assert copied == one
        assert hash(copied) == hash(one)
    assert from_dict(record, to_dict(one), "f") == one


@pytest.mark.parametrize("record", RECORDS)
def test_nothing_in_a_configuration_can_be_changed(record):
    config = make(record)
    for name in config.__struct_fields__:
        value = getattr(config, name)
        with pytest.raises(AttributeError):
            setattr(config, name, value)
        assert not isinstance(value, list | set)
        if isinstance(value, dict):
            with pytest.raises(TypeError, match="immutable"):
                value["H"] = 0.0
            with pytest.raises(TypeError, match="immutable"):
                value |= {"H": 0.0}
            with pytest.raises(TypeError, match="immutable"):
                value.clear()


def test_a_configuration_with_a_mapping_is_a_static_argument():
    def weight(config, x):
        return config.energy[0] * x

    config = make(LossConfig)
    assert float(jax.jit(weight, static_argnums=0)(config, jnp.ones(()))) == 1.0


CONFIGS = Path(__file__).resolve().parents[2] / "experiments" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_configurations_are_valid(path):
    model = from_dict(TrainConfig, read_yaml(path), path.name).model
    assert (model.backbone is None) == (model.start_from is not None)
