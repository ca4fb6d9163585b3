"""Import inverts export: made-up checkpoints give back the model they were made from."""

import jax
import numpy as np
import pytest

from jles.errors import InputError, InputWarning
from jles.interop.pickle_records import Global, Record
from jles.interop.torch_import import import_torch
from jles.models.config import (
    CaceConfig,
    DirectCharges,
    ElectrostaticsConfig,
    ModelConfig,
    ReadoutConfig,
)
from jles.models.potential import build_potential
from jles.models.state_config import StateConfig
from tests.support.cace_records import combined, ewald, listed, module, newer, single
from tests.support.torch_archive import save

SMALL = CaceConfig(
    cutoff=4.25,
    n_rbf=3,
    n_radial_basis=2,
    n_atom_basis=2,
    l_max=2,
    body_order=3,
    envelope_power=5.0,
)
WATER = ModelConfig(
    elements=("O", "H"),  # in an order that is not by number, as in some files
    backbone=SMALL,
    energy=ReadoutConfig(hidden=(4, 3)),
    charges=DirectCharges(hidden=(3,), scale=0.125, total="free"),
    electrostatics=ElectrostaticsConfig(
        sigma=1.5, k_max=3.0, cutoff="sharp", remove_self=False, pair_offset=1e-6
    ),
    normalize_features=False,
)
MESSAGES = {
    "no layers": {},
    "memory and ar": {"layers": 1, "messages": ("memory", "ar"), "mp_norm": 0.5},
    "shared scalar": {"layers": 2, "messages": ("memory", "ar", "bchi"), "mp_norm": 0.25},
    "scalar per degree": {"layers": 1, "messages": ("bchi",), "bchi_per_l": True},
    "scalar per channel": {"layers": 1, "messages": ("bchi",), "bchi_per_channel": True},
    "deep network": {
        "layers": 1,
        "messages": ("bchi",),
        "bchi_hidden": (5, 4),
        "bchi_per_l": True,
        "bchi_per_channel": True,
    },
    "one embedding": {"embed_receiver": False},
    "l 4, four bodies": {"l_max": 4, "body_order": 4},
}


def random_params(config: ModelConfig, rng) -> dict:
    """Float32 parameters of the right shapes, all different."""
    init = build_potential(config).init
    shapes = jax.eval_shape(init, jax.ShapeDtypeStruct((2,), np.uint32))
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)


def check_round_trip(path, config, params):
    """Imported parameters equal the saved ones bit for bit."""
    read_config, read_params = import_torch(path)
    assert np.isclose(read_config.charges.scale, config.charges.scale, rtol=1e-14, atol=0)
    read_config = read_config.replace(
        charges=read_config.charges.replace(scale=config.charges.scale)
    )
    electrostatics = read_config.electrostatics
    assert np.isclose(electrostatics.k_max, config.electrostatics.k_max, rtol=1e-14, atol=0)
    electrostatics = electrostatics.replace(k_max=config.electrostatics.k_max)
    assert read_config.replace(electrostatics=electrostatics) == config
    jax.tree.map(np.testing.assert_array_equal, read_params, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(read_params)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("changes", MESSAGES.values(), ids=MESSAGES.keys())
def test_every_backbone_comes_back(tmp_path, rng, changes):
    config = WATER.replace(backbone=SMALL.replace(**changes))
    params = random_params(config, rng)
    check_round_trip(save(tmp_path / "model.pth", single(config, params)), config, params)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("linear", [True, False])
def test_every_charge_readout_comes_back(tmp_path, rng, channels, bias, linear):
    # Without a linear map its bias flag has no effect and keeps its default.
    flags = {"bias": bias, "linear": linear, "linear_bias": bias and linear}
    charges = WATER.charges.replace(channels=channels, **flags)
    config = WATER.replace(charges=charges)
    params = random_params(config, rng)
    check_round_trip(save(tmp_path / "a.pth", single(config, params)), config, params)
    weighted = config.replace(energy=config.energy.replace(scale=0.5))
    path = save(tmp_path / "b.pth", combined(weighted, params, 0.01))
    with pytest.warns(InputWarning, match="b.pth: the long-range energy has a weight of 0.01"):
        check_round_trip(path, weighted, params)
    # The newer charge module divides by the bare distance.
    exact = config.replace(electrostatics=config.electrostatics.replace(pair_offset=0.0))
    check_round_trip(save(tmp_path / "c.pth", newer(exact, params, 0.1)), exact, params)


def test_a_given_weight_replaces_that_of_the_file(tmp_path, rng):
    params = random_params(WATER, rng)
    for path in (
        save(tmp_path / "combined.pth", combined(WATER, params, 0.01)),
        save(tmp_path / "single.pth", single(WATER, params)),
    ):
        once, _ = import_torch(path, long_range_weight=1.0)
        twice, _ = import_torch(path, long_range_weight=2.0)
        # The energy is quadratic in the charges.
        assert np.isclose(twice.charges.scale, np.sqrt(2.0) * once.charges.scale, rtol=1e-14)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_a_weight_that_is_not_positive_is_refused(tmp_path, rng, weight):
    path = save(tmp_path / "model.pth", single(WATER, random_params(WATER, rng)))
    with pytest.raises(InputError, match=f"model.pth: long-range weight {weight}: must be"):
        import_torch(path, long_range_weight=weight)


def test_a_model_without_charges_has_no_long_range_part(tmp_path, rng):
    config = WATER.replace(charges=None)
    params = random_params(config, rng)
    path = save(tmp_path / "model.pth", single(config, params))
    read, tree = import_torch(path)
    assert read.charges is None
    assert set(tree) == {"backbone", "energy"}
    with pytest.raises(InputError, match="weight: the model has no lattice sum"):
        import_torch(path, long_range_weight=1.0)


def test_another_radial_prefactor_goes_into_the_mixing(tmp_path, rng):
    params = random_params(WATER, rng)
    record = single(WATER, params)
    prefactor = find(record, "representation.radial_basis").state["_parameters"]
    prefactor["prefactor"] = np.array(2 * prefactor["prefactor"])
    _, read = import_torch(save(tmp_path / "model.pth", record))
    for l in range(SMALL.l_max + 1):
        name = f"radial_mixing_{l}"
        np.testing.assert_allclose(
            read["backbone"][name], 2 * params["backbone"][name], rtol=3e-7
        )


def test_element_energies_are_those_given(tmp_path, rng):
    path = save(tmp_path / "model.pth", single(WATER, random_params(WATER, rng)))
    assert import_torch(path, {"H": -5.5})[0].element_energies == {"H": -5.5}
    for energies in ({"He": 1.0}, {"Xx": 1.0}, {"H": float("nan")}):
        with pytest.raises(InputError, match=f"element energy of '{next(iter(energies))}'"):
            import_torch(path, energies)


def test_a_charge_state_that_a_read_out_reads_is_an_input(tmp_path, rng):
    """Read-outs that do not read it get zero weights for it."""
    config = WATER.replace(state=StateConfig(enters="features"))
    params = random_params(config, rng)
    readouts = params["charges"]
    for first in (readouts["perceptron"]["layers_0"], readouts.get("linear", {"kernel": None})):
        if first["kernel"] is not None:
            first["kernel"][-1] = 0.0
    record = single(config, params)
    find(record, "representation").state["forward_features"] = ["charge_states", "other"]
    state = find(record, "output_modules.0").state
    state["feature_key"] = ["node_feats", "charge_states"]
    charges = find(record, "output_modules.1")
    for layer in ("outnet.0.linear", "linear_nn.linear"):
        tensors = find(charges, layer).state["_parameters"]
        tensors["weight"] = tensors["weight"][:, :-1]
    check_round_trip(save(tmp_path / "model.pth", record), config, params)


def test_inputs_that_no_read_out_reads_are_left_out(tmp_path, rng):
    params = random_params(WATER, rng)
    record = single(WATER, params)
    find(record, "representation").state["forward_features"] = ["atomic_charge"]
    check_round_trip(save(tmp_path / "model.pth", record), WATER, params)


def test_the_self_energy_of_several_charges_is_left_out_as_often(tmp_path, rng):
    """The sum of each of n charges leaves out the self energy of all n."""
    sums = WATER.electrostatics.replace(remove_self=True, self_terms=4)
    config = WATER.replace(charges=WATER.charges.replace(channels=4), electrostatics=sums)
    params = random_params(config, rng)
    check_round_trip(save(tmp_path / "model.pth", single(config, params)), config, params)


def find(record: Record, path: str) -> Record:
    """The submodule at a dotted path."""
    for name in path.split("."):
        record = record.state["_modules"][name]
    return record


LAYER = "representation.message_passing_list.0"
EWALD = "output_modules.2"
NAN = np.full((2, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("where", "attribute", "value"),
    [
        ("representation.edge_coding", "directed", False),
        ("representation", "max_nu", 5),
        ("representation", "max_nu", 2),
        ("representation", "max_nu", None),
        ("representation", "cutoff", 7.0),
        ("representation", "mp_norm_factor", None),
        ("representation.node_onehot", "index_map", np.array([-1, 0, 2])),
        ("representation.node_embedding_sender", "embedding_weights", NAN),
        ("representation.node_embedding_sender", "embedding_weights", NAN[:1]),
        ("representation.radial_basis", "prefactor", None),
        ("representation.cutoff_fn", "p", -1.0),
        ("representation.radial_transform", "radial_embedding_dim", 3),
        (f"{LAYER}.2", "use_batchnorm", True),
        (f"{LAYER}.2", "shared_channels", False),
        (f"{LAYER}.2", "l_matrix", None),
        (f"{LAYER}.2.hnet.0", "activation", Global("torch.nn.functional.silu")),
        (f"{LAYER}.0.memory_coef", "0", NAN),
        ("output_modules.0", "residual", True),
        ("output_modules.0", "use_batchnorm", True),
        ("output_modules.0", "post_process", "exp"),
        ("output_modules.0", "feature_key", ["node_feats", "silver"]),
        ("output_modules.0", "aggregation_mode", "mean"),
        ("output_modules.0", "n_out", 2),
        ("output_modules.0", "output_key", None),
        ("output_modules.0.outnet.0", "use_batchnorm", True),
        ("output_modules.0.outnet.0", "activation", None),
        ("output_modules.0.outnet.1.linear", "bias", None),
        ("output_modules.0.outnet.1.linear", "weight", NAN),
        (EWALD, "exponent", 6),
        (EWALD, "external_field", 0.1),
        (EWALD, "charge_neutral_lambda", 1.0),
        (EWALD, "compute_field", True),
        (EWALD, "norm_factor", -1.0),
        (EWALD, "dl", 0.0),
        (EWALD, "k_sq_max", 1.0),
        (EWALD, "sigma_sq_half", 7.0),
        (EWALD, "remove_self_interaction", "yes"),
        (EWALD, "feature_key", "charge"),
        ("output_modules.3", "feature_keys", ["SR_energy", "SR_energy"]),
        ("output_modules.3", "feature_keys", ["SR_energy", "other"]),
        ("output_modules.4", "energy_key", "other"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path, rng, where, attribute, value):
    backbone = SMALL.replace(layers=1, bchi_per_l=True)
    config = WATER.replace(backbone=backbone)
    record = single(config, random_params(config, rng))
    state = find(record, where).state
    tables = [
        state[t] for t in ("_parameters", "_buffers", "_modules") if attribute in state[t]
    ]
    (tables[0] if tables else state)[attribute] = value
    message = refusal(tmp_path, record)
    assert where.split(".")[0] in message or "the energy has" in message


def refusal(tmp_path, record: Record) -> str:
    """The one-line error message for a bad checkpoint."""
    path = save(tmp_path / "model.pth", record)
    with pytest.raises(InputError) as caught:
        import_torch(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_combinations_that_are_no_sum_are_refused(tmp_path, rng):
    params = random_params(WATER, rng)
    record = combined(WATER, params, 1.0)
    record.state["operation"] = None
    assert "default_operation" in refusal(tmp_path, record)
    record = combined(WATER, params, 1.0)
    record.state["potential_keys"][1]["weight"] = "much"
    assert "weight 'much' of 'ewald_potential' is not one" in refusal(tmp_path, record)
    record = combined(WATER, params, 1.0)
    record.state["potential_keys"] = record.state["potential_keys"][:1]
    assert "potential_keys" in refusal(tmp_path, record)
    record = combined(WATER, params, 1.0)
    other = single(WATER, params).state["_modules"]["representation"]
    find(record, "models.1").state["_modules"]["representation"] = other
    assert "share one representation" in refusal(tmp_path, record)


def test_modules_of_other_kinds_are_refused(tmp_path, rng):
    params = random_params(WATER, rng)
    assert "not a potential" in refusal(tmp_path, ewald(WATER))
    record = single(WATER, params)
    record.state["_modules"]["output_modules"] = listed([module("cace.modules.grad.Grad")])
    assert "no module gives the energy" in refusal(tmp_path, record)
    record = single(WATER, params)
    record.state["_modules"]["input_modules"] = listed([ewald(WATER)])
    assert "input module" in refusal(tmp_path, record)
    record = single(WATER, params)
    record.state["_modules"]["representation"] = ewald(WATER)
    assert "representation" in refusal(tmp_path, record)
    two = WATER.replace(backbone=SMALL.replace(layers=2))
    record = single(two, random_params(two, rng))
    find(record, f"{LAYER}").state["_modules"]["0"] = None
    assert "different kinds" in refusal(tmp_path, record)
