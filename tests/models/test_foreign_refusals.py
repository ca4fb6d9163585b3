"""Models written elsewhere: what is refused, and what the message says."""

import sys
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jles
from jles.data.frames import Frame
from jles.errors import InputError, InputWarning
from jles.models.backbones import foreign
from jles.models.backbones.foreign import ENTRY_POINTS, factory_of, register
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.jax_md_nequip import jax_md_nequip
from jles.models.backbones.mlip_models import mlip_model
from jles.models.config import ModelConfig
from jles.models.store import save_model
from jles.train.response_labels import check_responses
from tests.support.foreign_toy import augmented, toy, toy_config, with_function
from tests.support.small_systems import rattled

# jax-md calls e3nn-jax by old names. Functions that are called `changed` replace each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:name. 'changed' was another function"),
]


def test_names_of_functions_do_not_collide_in_silence():
    """Each call ends before anything is compiled."""
    function, params = with_function(lambda features, *_: features)
    other, _ = with_function(lambda features, *_: features)

    def named(function, **name):
        with pytest.raises(InputError) as error:
            augmented(function, params, carries="replica", **name)
        return str(error.value)

    for nameless in (lambda *graph: function(*graph)._replace(tensors=None), partial(function)):
        assert "name: missing" in named(nameless)
        assert "layers: needed" in named(nameless, name="nameless " + type(nameless).__name__)
    named(function, name="mine")
    named(function, name="mine")
    with pytest.warns(InputWarning, match="'mine' was another function until now"):
        named(other, name="mine")
    register("mine", toy)
    assert "'mine' is registered already" in named(other, name="mine")


def test_options_of_jax_md_nequip_that_do_not_exist_are_refused():
    for options, said in (
        ({"num_bases": 3}, "unknown 'num_bases'; known: graph_net_steps, .*scale"),
        ({"r_max": 3.0}, "'r_max' follows from the cutoff"),
    ):
        with pytest.raises(InputError, match=said):
            jax_md_nequip(3.0, ("H", "O"), **options)


def test_an_entry_point_that_cannot_be_loaded_is_named(monkeypatch):
    broken = EntryPoint("broken", "package_that_is_gone:model", ENTRY_POINTS)
    monkeypatch.setattr(foreign, "entry_points", lambda **_: EntryPoints([broken]))
    with pytest.raises(
        InputError, match="'broken' cannot be loaded .*gone:model .ModuleNotFou"
    ):
        factory_of("broken")


def test_models_of_mlip_need_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlip.models", None)
    with pytest.raises(InputError, match=r"'mlip-mace' needs the package mlip.*jles\[mlip\]"):
        mlip_model("mace", 3.0, ("H", "O"))


def test_options_of_mlip_that_do_not_exist_are_refused():
    pytest.importorskip("mlip")
    for options, said in (
        (
            {"num_channel": 3},
            "unknown 'num_channel'; known: .*avg_num_neighbors, .*scaling_std",
        ),
        ({"graph_cutoff_angstrom": 3.0}, "'graph_cutoff_angstrom' follows from the cutoff"),
        ({"use_coulomb_term": True}, "'use_coulomb_term' is mlip's own model of charges"),
    ):
        with pytest.raises(InputError, match=said):
            mlip_model("mace", 3.0, ("H", "O"), **options)


def test_a_model_directory_of_a_name_that_is_not_registered_says_how_to_register(tmp_path):
    config = ModelConfig(("H", "O"), ForeignConfig(2.8, "elsewhere"), charges=None)
    save_model(tmp_path, config, {"backbone": {"model": {"a": np.zeros(1)}}})
    with pytest.raises(
        InputError, match=r"foreign\.register\('elsewhere', factory\) first, or"
    ):
        jles.load(tmp_path)


def pseudovectors(features, vectors, *_):
    return features._replace(vectors=jnp.cross(features.vectors, features.vectors[:, ::-1]))


def coordinates(features, vectors, senders, receivers):
    along = jax.ops.segment_sum(vectors, receivers, len(features.invariants))
    return features._replace(invariants=features.invariants * (1.0 + along[:, :1]))


def _numbers(features):
    return jnp.arange(len(features.invariants))[:, None]


def first_atoms(features, *_):
    return features._replace(invariants=features.invariants * _numbers(features))


def hard_cutoff(features, vectors, senders, receivers):
    count = jax.ops.segment_sum(jnp.ones(len(vectors)), receivers, len(features.invariants))
    return features._replace(invariants=features.invariants * count[:, None])


def relative_to_the_mean(features, *_):
    return features._replace(invariants=features.invariants - features.invariants.mean(0))


def not_traceless(features, *_):
    return features._replace(tensors=features.tensors @ features.tensors)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pseudovectors, "its vectors do not transform under inversion .* polar vectors"),
        (coordinates, "its invariants do not transform under rotation"),
        (first_atoms, "its invariants do not transform under permutation"),
        (hard_cutoff, "its invariants jump at the cutoff .* by an envelope that ends there"),
        (
            lambda features, *_: features._replace(vectors=features.vectors[:, 0]),
            r"returns vectors of shape \(\d+, 3\) for .* atoms; return \(atoms, vectors, 3\)",
        ),
        (
            lambda features, *_: features._replace(invariants=features.invariants[:-1]),
            r"returns invariants of shape \(5, 4\) for 6 atoms; return \(atoms, features\)",
        ),
        (
            lambda features, *_: np.asarray(features.invariants),
            "JAX cannot trace it .*; use jax.numpy in place of numpy",
        ),
        (not_traceless, "its tensors are not symmetric and traceless"),
        (lambda features, *_: 1.0, r"returns float; return jles\.Features"),
        (
            relative_to_the_mean,
            "cannot follow the primitive 'reduce_sum' along the atoms; set carries to 'repl",
        ),
    ],
)
def test_functions_that_return_something_else_are_refused(change, said):
    function, params = with_function(change)
    with pytest.raises(InputError, match=f"foreign model 'changed': .*{said}"):
        augmented(function, params)


def test_wrong_arguments_are_refused_in_one_line():
    toy_config()
    function, params = with_function(lambda features, *_: features)
    with pytest.raises(
        InputError, match="quadrupoles: needs a backbone of degree 2, 'foreign'"
    ):
        augmented(function, params, degree=1, quadrupoles={})
    with pytest.raises(InputError, match="atoms 3 cutoffs away; set backbone.layers: 3"):
        augmented(function, params, layers=2)
    with pytest.raises(InputError, match="leaf 'n' is int.*keep it in the function"):
        augmented(function, params | {"n": jnp.arange(2)})
    with pytest.raises(InputError, match="'toy' is registered already; give another name"):
        augmented(function, params, name="toy")
    with pytest.raises(InputError, match="params: missing"):
        augmented(function, None)
    with pytest.raises(InputError, match="cannot take .params, vectors, species, senders, rec"):
        augmented(lambda params, graph: None, params, name="two")
    with pytest.raises(InputError, match="layers: needed with carries 'replica'"):
        augmented(function, params, carries="replica")
    with pytest.raises(
        InputError, match="options of 'toy': .*unexpected keyword argument 'size'"
    ):
        augmented("toy", options={"size": 3}, params=None)
    state = {"labels": (1, 2)}
    with pytest.raises(
        InputError, match="state: enters 'embedding'.*set state.enters: features"
    ):
        augmented(function, params, state=state)


def test_a_mean_over_all_atoms_is_refused_without_charges_too():
    """It would change with padding."""
    function, params = with_function(relative_to_the_mean)
    with pytest.raises(InputError, match="its invariants depend on atoms that no edges lead"):
        augmented(function, params, charges=None, dtype="float64")


def test_wrong_parts_are_refused_before_anything_is_compiled():
    function, params = with_function(lambda features, *_: features)
    with pytest.raises(InputError, match="elements: is 'HO'; give chemical symbols"):
        augmented(function, params, elements="HO")
    with pytest.raises(
        InputError, match="augment: unknown key 'charge'; known keys: .*charges"
    ):
        augmented(function, params, charge=None)
    with pytest.raises(InputError, match="layers: expected .* 1, got 0"):
        augmented(function, params, layers=0)
    toy_config()
    with pytest.raises(InputError, match=r"'radial' has shape \(3, 8\), not \(3, 4\); give"):
        augmented("toy", params | {"radial": np.zeros((3, 8))})
    with pytest.raises(InputError, match="leaf 'other' is not one of the model"):
        augmented("toy", params | {"other": 1.0})
    register("fails", lambda cutoff, elements: {}["key"])
    register("plain", lambda cutoff, elements: function)
    with pytest.raises(InputError, match=r"'fails': .*its factory fails \(KeyError: 'key'\)"):
        augmented("fails", None)
    with pytest.raises(InputError, match="'plain': its factory returns function; return For"):
        augmented("plain", None)


def test_what_is_wrong_with_numbers_is_said_first():
    """Parameters that are not numbers, integers, and arithmetic in another precision."""
    function, params = with_function(lambda features, *_: features)
    missing = params | {"energy": np.full(4, np.nan)}
    with pytest.raises(InputError, match="params: leaf 'energy' is NaN or infinite"):
        augmented(function, missing, charges=None)
    counted, _ = with_function(lambda features, *_: (features, features.energies.astype(int)))
    with pytest.raises(InputError, match="returns energies in int32, not a floating-point"):
        augmented(counted, params, charges=None)

    def single(params, vectors, *ends):
        features = function(params, vectors.astype(jnp.float32), *ends)
        return jax.tree.map(lambda part: part.astype(vectors.dtype), features)

    with pytest.raises(InputError, match="computes in f32 for vectors in float64"):
        augmented(single, params, charges=None, dtype="float64")


def test_training_on_born_charges_refuses_cells_whose_copies_are_too_few():
    backbone = toy_config(layers=2, carries="replica")
    model = ModelConfig(("H", "O"), backbone)
    atoms = rattled(3, count=2)
    frame = Frame(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, {}, 0.0, "salt.xyz:1"
    )
    check_responses({"energy", "forces"}, model, [frame])
    with pytest.raises(InputError, match=r"salt\.xyz:1: the cell is 3.*backbone\.cells: 2"):
        check_responses({"born_charges"}, model, [frame])
