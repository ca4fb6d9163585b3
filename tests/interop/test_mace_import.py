"""Made-up MACE-LES checkpoints give back the model they were made from."""

import jax
import numpy as np
import pytest

from jles.errors import InputError
from jles.interop.torch_import import import_torch
from jles.models.backbones.mace_config import MaceConfig
from jles.models.config import DirectCharges, ElectrostaticsConfig, ModelConfig, ReadoutConfig
from jles.models.potential import build_potential
from tests.support.cace_records import module
from tests.support.mace_records import irreps, mace_les
from tests.support.torch_archive import save

BACKBONE = MaceConfig(
    4.25,
    hidden_irreps="2x0e + 2x1o",
    last_irreps="2x0e",
    max_ell=2,
    num_bessel=3,
    radial_MLP=(4, 3),
    interaction_first="RealAgnosticInteractionBlock",
    avg_num_neighbors=7.5,
    silu_scale=1.67918,
)
CONFIG = ModelConfig(
    elements=("H", "O"),
    backbone=BACKBONE,
    energy=ReadoutConfig(hidden=(3,), bias=False, scale=0.75),
    charges=DirectCharges(hidden=(3,), scale=0.5),
    electrostatics=ElectrostaticsConfig(
        sigma=1.5, k_max=3.0, cutoff="sharp", remove_self=False
    ),
    normalize_features=False,
    element_energies={"H": -1.0, "O": -2.0},
)


@pytest.fixture(scope="module")
def params():
    """Random parameters of what such a file can hold."""
    shapes = jax.eval_shape(build_potential(CONFIG).init, jax.random.key(0))
    rng = np.random.default_rng(1)
    tree = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) * 1.0, shapes)
    for readout in (tree["energy"], tree["charges"]):
        readout["linear"]["kernel"][-2:] = 0.0
        readout["perceptron"]["layers_0"]["kernel"][:-2] = 0.0
    return jax.tree.map(np.float64, tree)


@pytest.fixture
def record(params):
    return mace_les(CONFIG, params)


def test_configuration_and_parameters_come_back(tmp_path, record, params):
    config, read = import_torch(save(tmp_path / "a.model", record))
    assert (
        config.replace(electrostatics=CONFIG.electrostatics, charges=CONFIG.charges) == CONFIG
    )
    assert abs(config.charges.scale - 0.5) < 1e-12
    assert abs(config.electrostatics.k_max - 3.0) < 1e-12
    assert jax.tree.structure(read) == jax.tree.structure(params)
    for path, value in jax.tree.leaves_with_path(read):
        expected = params
        for key in path:
            expected = expected[key.key]
        np.testing.assert_allclose(value, expected, rtol=0, atol=2e-6, err_msg=str(path))


def test_files_of_the_present_mace_are_read(tmp_path, record):
    """Their class is in another module, and their charges have a factor."""
    record.class_name = "mace.modules.extensions.MACELES"
    record.state |= {"les_output_scale": 0.1, "use_reduced_cg": True, "use_dipoles": False}
    les = child(record, "les")
    les.state["use_atomwise"] = False
    les.state["_modules"]["atomwise"] = module("les.les._DummyAtomwise")
    config, _ = import_torch(save(tmp_path / "a.model", record))
    assert abs(config.charges.scale - 0.05) < 1e-12


@pytest.mark.parametrize(
    ("names", "flag"),
    [
        ((), "use_dipoles"),
        ((), "use_induced_charges"),
        ((), "use_agnostic_product"),
        (("les",), "use_fixed_atomic_charges"),
        (("les", "ewald"), "use_epsilon_r_scaling"),
    ],
)
def test_flags_of_what_jles_does_not_compute_are_refused(tmp_path, record, names, flag):
    child(record, *names).state[flag] = True
    with pytest.raises(InputError, match=f"{flag}: True is not supported, only False"):
        import_torch(save(tmp_path / "a.model", record))


def test_given_element_energies_replace_those_of_the_file(tmp_path, record):
    path = save(tmp_path / "a.model", record)
    assert import_torch(path, {"O": -3.0})[0].element_energies == {"H": -1.0, "O": -3.0}
    with pytest.raises(InputError, match="'C'"):
        import_torch(path, {"C": 0.0})


def child(record, *names):
    for name in names:
        record = record.state["_modules"][name]
    return record


def another_block(record):
    child(record, "interactions", "1").class_name = "mace.modules.blocks.ScaleShiftBlock"


def unknown_block(record):
    block = "mace.modules.blocks.RealAgnosticDensityInteractionBlock"
    child(record, "interactions", "1").class_name = block


def repulsion(record):
    record.state["pair_repulsion"] = True


def two_heads(record):
    child(record, "atomic_energies_fn").state["_parameters"]["atomic_energies"] = np.ones(
        (2, 2)
    )


def other_activation(record):
    act = child(record, "interactions", "0", "conv_tp_weights", "layer1", "act")
    act.state["f"] = None


def other_couplings(record):
    place = ("products", "0", "symmetric_contractions", "contractions", "1")
    child(record, *place).state["_parameters"]["U_matrix_2"] += 1.0


def other_parity(record):
    wrong = irreps(2, 1)
    wrong.arguments[0][1].arguments[0][1].arguments = ((1, 1),)
    child(record, "products", "0", "linear").state["irreps_out"] = wrong


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            another_block,
            "interactions.1: a mace.modules.blocks.ScaleShiftBlock",
        ),
        (unknown_block, "RealAgnosticDensityInteractionBlock' is refused"),
        (repulsion, "pair_repulsion: True is not supported"),
        (two_heads, "more than one head"),
        (other_activation, "only silu"),
        (other_couplings, "couples other irreps"),
        (other_parity, "different width or parity"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, record, change, words):
    change(record)
    with pytest.raises(InputError, match=words) as caught:
        import_torch(save(tmp_path / "a.model", record))
    assert "\n" not in str(caught.value)
