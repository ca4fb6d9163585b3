"""Configurations of models: kinds, refused values and the forms of older versions."""

import math
from types import MappingProxyType

import pytest
import yaml

from jles.config import from_dict, override, to_dict
from jles.errors import InputError
from jles.models.config import (
    CaceConfig,
    DirectCharges,
    ElectrostaticsConfig,
    EquilibratedCharges,
    FlowCharges,
    ModelConfig,
    ReadoutConfig,
    ScalarPolarizability,
    TensorPolarizability,
)
from jles.train.config import TrainConfig
from tests.support.messages import message_of
from tests.support.small_systems import small_backbone

# As the section `model` of config.yaml was written before charges had kinds.
OLD_MODEL = """
elements: [H, O]
backbone: {cutoff: 4.0, kind: cace, n_rbf: 6, n_radial_basis: 12, n_atom_basis: 3, l_max: 2,
  body_order: 3, radial: bessel, envelope: polynomial, envelope_power: 6.0,
  envelope_onset: null, embed_receiver: true, layers: 0, messages: [memory, ar, bchi],
  bchi_hidden: [], bchi_per_l: false, bchi_per_channel: false, mp_norm: 0.31622776601683794}
energy: {hidden: [32, 16], bias: true, linear: true, linear_bias: true, scale: 1.0}
charges: {hidden: [24, 12], bias: false, linear: true, linear_bias: false, scale: 0.1,
  channels: 1, total: free, method: direct, flow_width: 8}
dipoles: null
quadrupoles: null
charge_softness: null
polarizability: {hidden: [16], channels: 8, scale: 0.05, kind: scalar}
response: {mode: one-shot, conserve_charge: false}
electrostatics: {sigma: 1.0, k_max: 3.0, cutoff: smooth, remove_self: true, pair_offset: 0.0}
screening: {epsilon_infinity: null, positive: null}
normalize_features: true
element_energies: {H: -5.853, O: -2.927}
"""


def test_a_model_of_an_older_version_is_read():
    assert from_dict(
        ModelConfig, yaml.safe_load(OLD_MODEL), "config.yaml: model"
    ) == ModelConfig(
        ("H", "O"),
        CaceConfig(4.0, l_max=2),
        energy=ReadoutConfig((32, 16)),
        charges=DirectCharges((24, 12)),
        polarizability=ScalarPolarizability((16,)),
        electrostatics=ElectrostaticsConfig(k_max=3.0),
        element_energies={"H": -5.853, "O": -2.927},
    )


@pytest.mark.parametrize(
    ("old", "charges"),
    [
        ("{hidden: [4], channels: 3, total: shift, method: direct, flow_width: 8}",
         DirectCharges((4,), channels=3, total="shift")),
        ("{hidden: [4], channels: 1, total: shift, method: flow, flow_width: 5}",
         FlowCharges((4,), flow_width=5, total="shift")),
        ("{hidden: [4], channels: 1, total: free, method: equilibrated, flow_width: 8}",
         EquilibratedCharges((4,))),
        ("{method: flow}", FlowCharges()),
        ("{channels: 2}", DirectCharges(channels=2)),
        ("{channels: 1, flow_width: 8, hidden: [8]}", DirectCharges((8,))),
        ("{flow_width: 4}", DirectCharges()),
        ("{kind: flow, method: direct, channels: 1, flow_width: 4}", FlowCharges(flow_width=4)),
        ("{kind: equilibrated, method: flow, flow_width: 4}", EquilibratedCharges()),
        ("{}", DirectCharges()),
        ("null", None),
    ],
)  # fmt: skip
def test_charges_once_had_a_method(old, charges):
    values = yaml.safe_load(OLD_MODEL) | {
        "charges": yaml.safe_load(old),
        "polarizability": None,
    }
    assert from_dict(ModelConfig, values, "config.yaml: model").charges == charges


def test_tensors_keep_their_channels():
    old = {"hidden": [16], "channels": 4, "scale": 0.05, "kind": "tensor"}
    values = yaml.safe_load(OLD_MODEL) | {"polarizability": old}
    read = from_dict(ModelConfig, values, "config.yaml: model")
    assert read.polarizability == TensorPolarizability((16,), channels=4)


def test_a_training_file_of_an_older_version_is_read():
    text = """
    data: {train: water.xyz}
    model:
      backbone: {cutoff: 4.5, layers: 0}
      charges: {method: flow, flow_width: 4}
      polarizability: {channels: 8}
      electrostatics: {sigma: 1.2}
    epochs: 200
    optimizer: {learning_rate: 1.0e-3}
    """
    model = from_dict(TrainConfig, yaml.safe_load(text), "train.yaml").model
    assert model.charges == FlowCharges(flow_width=4)
    assert model.polarizability == ScalarPolarizability()
    assert model.backbone == CaceConfig(4.5)


@pytest.mark.parametrize(
    ("charges", "words"),
    [
        ({"method": "flow", "channels": 2}, "charges: unknown key 'channels'"),
        ({"method": "flows"}, "charges.kind: got 'flows'; choose one of 'direct', 'flow'"),
        ({"kind": "equilibrated", "total": "shift"}, "charges: unknown key 'total'"),
        ({"knd": "flow"}, "charges: unknown key 'knd'; did you mean 'kind'?"),
        ({"kind": "direct", "flow_width": 4}, "charges: unknown key 'flow_width'"),
        (
            {"kind": "flow", "method": "direct", "channels": 2},
            "charges: unknown key 'channels'",
        ),
        ({"method": ["flow"]}, "charges.kind: got ['flow']"),
    ],
)
def test_keys_of_another_kind_of_charges_are_refused(charges, words):
    values = yaml.safe_load(OLD_MODEL) | {"charges": charges}
    with pytest.raises(InputError) as caught:
        from_dict(ModelConfig, values, "config.yaml: model")
    assert f"config.yaml: model.{words}" in str(caught.value)


@pytest.mark.parametrize("head", ["dipoles", "quadrupoles", "polarizability"])
def test_the_published_offset_of_pairs_is_for_charges_alone(head):
    values = yaml.safe_load(OLD_MODEL) | {"polarizability": None}
    values["electrostatics"]["pair_offset"] = 1e-6
    assert from_dict(ModelConfig, values, "c").electrostatics.pair_offset == 1e-6
    with pytest.raises(InputError, match=f"pair_offset .* cannot be combined with {head}"):
        from_dict(ModelConfig, values | {head: {}}, "c")


def test_kind_may_be_set_over_the_method_of_an_old_training_file():
    old = {
        "data": {"train": "water.xyz"},
        "model": {"backbone": {"cutoff": 4.5}, "charges": {"method": "direct"}},
        "epochs": 200,
    }
    values = override(old, ["model.charges.kind=flow"])
    assert from_dict(TrainConfig, values, "train.yaml").model.charges == FlowCharges()


@pytest.mark.parametrize("mapping", [dict, MappingProxyType])
def test_a_mapping_means_the_same_in_a_file_in_a_constructor_and_in_replace(mapping):
    """The kind may be left out, and older forms are read."""
    for charges in ({"channels": 2}, {"method": "flow"}, {"kind": "flow"}, {}):
        given = mapping(charges)
        values = {"elements": ("H",), "backbone": mapping({"cutoff": 4.0}), "charges": given}
        made = ModelConfig(**values)
        assert from_dict(ModelConfig, mapping(values), "model") == made
        assert made.replace(charges=None).replace(charges=given) == made
    scalar = made.replace(polarizability=mapping({"hidden": [3]})).polarizability
    assert scalar == ScalarPolarizability((3,))
    assert message_of(made.replace, charges=mapping({"channels": 0})).startswith(
        "charges.channels: expected int >= 1, got 0"
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_element_energies_of_a_model_are_finite(bad):
    message = message_of(ModelConfig, ("H",), small_backbone(), element_energies={"H": bad})
    assert "element_energies.H: " in message


def test_a_model_survives_the_way_out_and_in():
    config = from_dict(ModelConfig, yaml.safe_load(OLD_MODEL), "f")
    assert (
        from_dict(ModelConfig, yaml.safe_load(yaml.safe_dump(to_dict(config))), "f") == config
    )


def test_a_backbone_is_a_key_of_caches():
    """Flax modules and `jit` hash what is static."""
    assert {CaceConfig(4.0): 1}[CaceConfig(4.0)] == 1
    assert CaceConfig(4.0) != CaceConfig(4.0, n_rbf=7)
