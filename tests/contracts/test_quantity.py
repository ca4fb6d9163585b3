"""Laws of every quantity of the catalogue."""

import re
from functools import cache, partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.config import to_dict
from jles.data.frames import LabelKeys
from jles.dynamics.config import RecordConfig
from jles.dynamics.records import unit_of
from jles.errors import InputError
from jles.models.config import (
    DirectCharges,
    EquilibratedCharges,
    MomentConfig,
    ResponseConfig,
    SoftnessConfig,
    TensorPolarizability,
)
from jles.models.potential import build_potential
from jles.predict.model import Model
from jles.predict.outputs import outputs
from jles.quantities.catalogue import QUANTITIES, asides, labelled, trained_labels
from jles.train.config import LossConfig
from jles.train.log import COLUMNS
from jles.train.losses import rmse_name
from tests.support.marks import long, long_unless
from tests.support.small_systems import (
    random_orthogonal,
    random_params,
    rattled,
    roomy_structure,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

PLAIN = small_config(
    backbone=small_backbone(l_max=2, body_order=2), charges=DirectCharges(hidden=(), scale=1.0)
)
EVERYTHING = PLAIN.replace(
    dipoles=MomentConfig(hidden=()),
    quadrupoles=MomentConfig(hidden=()),
    polarizability=TensorPolarizability(hidden=()),
)
SOFT = PLAIN.replace(charge_softness=SoftnessConfig(hidden=()))
CONFIGS = {
    "everything": EVERYTHING,
    "charges": PLAIN,
    "no charges": PLAIN.replace(charges=None),
    "soft": SOFT,
    "metal": SOFT.replace(response=ResponseConfig(mode="self-consistent")),
    "equilibrated": PLAIN.replace(charges=EquilibratedCharges(hidden=())),
}
BOUNDARIES = {
    "crystal": (True, True, True),
    "slab": (True, True, False),
    "cluster": (False, False, False),
}
SLOW = ("polarizability_derivative", "piezoelectric")
QUICK = tuple(name for name in QUANTITIES if name not in SLOW)
NAMES = pytest.mark.parametrize("name", QUANTITIES)
QUICK_NAMES = pytest.mark.parametrize(
    "name", [long_unless(name not in SLOW, name) for name in QUANTITIES]
)
WORLDS = pytest.mark.parametrize("names", [QUICK, long(SLOW)], ids=["quick", "slow"])
KINDS = pytest.mark.parametrize("kind", ["crystal", "cluster"])
COUNT = 4
ORDER = np.array([2, 0, 3, 1])
ROTATION = random_orthogonal(7)


def start(kind):
    return rattled(0, count=COUNT, pbc=kind == "crystal")


def transformed(kind, how):
    atoms = start(kind)
    if how == "permuted":
        return atoms[ORDER]
    if how == "rotated":
        atoms.positions = atoms.positions @ ROTATION.T
        atoms.cell = atoms.cell.array @ ROTATION.T
    if how == "translated":
        # Not over the border of the cell, where the branch of the polarization ends.
        atoms.positions += (0.07, -0.05, 0.06)
    return atoms


def values_of(potential, names, params, structure):
    """These quantities by name, also those that this structure does not have."""
    found = outputs(potential, params, structure, None, frozenset(names), "exact")
    return {name: found[name] for name in names}


class World:
    """These quantities of a crystal and a cluster, as they are and transformed, in one batch.

    Two functions are compiled for all tests: of the batch in float64, and of a single structure
    in float32.
    """

    def __init__(self, names):
        self.potential, self.params = small_model(EVERYTHING, seed=3)
        self.keys = [
            (kind, how)
            for kind in ("crystal", "cluster")
            for how in ("as it is", "permuted", "rotated", "translated")
        ]
        self.structures = [
            roomy_structure(transformed(*key), self.potential) for key in self.keys
        ]
        self.batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.structures)
        of_one = partial(values_of, self.potential, names)
        self.one = jax.jit(of_one)
        self.of_batch = jax.jit(jax.vmap(of_one, (None, 0)))
        self.found = jax.device_get(self.of_batch(self.params, self.batch))

    def value(self, name, kind, how="as it is"):
        row = self.keys.index((kind, how))
        return jax.tree.map(lambda leaf: leaf[row], self.found[name])

    def alone(self, kind):
        """Every quantity of one structure in float32, without a batch."""
        structure, params = jax.tree.map(
            lambda leaf: (
                leaf.astype(np.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
            ),
            (self.structures[self.keys.index((kind, "as it is"))], self.params),
        )
        return jax.device_get(self.one(params, structure))


@cache
def world_with(names):
    return World(names)


def world_of(name):
    """The world that holds a quantity."""
    return world_with(SLOW if name in SLOW else QUICK)


def skip_refused(name, kind):
    reason = QUANTITIES[name].refuse(EVERYTHING, BOUNDARIES[kind])
    if reason:
        pytest.skip(reason)


def assert_close(found, expected, atol):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(np.max(np.abs(other), initial=0.0), 1e-3)
        np.testing.assert_allclose(one, other, rtol=0.0, atol=atol * scale)


def rotate(value, entry):
    """Every Cartesian axis of a value turned with the atoms."""
    for axis, length in enumerate(entry.shape):
        if length == 3:
            value = np.moveaxis(np.tensordot(ROTATION, value, (1, axis)), 0, axis)
    return value


# --- what an entry says


def test_names_keys_and_options_are_unique():
    for attribute in ("key", "option", "ase"):
        said = [getattr(entry, attribute) for entry in QUANTITIES.values()]
        assert len(set(said)) == len(said), attribute
    assert not set(asides()) & set(QUANTITIES)


@NAMES
def test_an_entry_is_complete(name):
    entry = QUANTITIES[name]
    assert entry.name == name
    assert re.fullmatch(r"(eV|e|1|angstrom)([ /^\d]|angstrom|V)*", entry.unit), entry.unit
    assert entry.meaning
    assert "\n" not in entry.meaning
    assert entry.per_atom == (entry.shape[:1] == ("atoms",))
    assert unit_of(name) == entry.unit


def test_configurations_of_training_have_a_key_for_every_label():
    assert set(LossConfig().schedules()) == set(trained_labels())
    named_in_files = {name for name, entry in labelled().items() if not entry.label.key}
    assert set(to_dict(LabelKeys())) == named_in_files | {"total_charge", "state"}
    errors = {column.removeprefix("valid_") for column in COLUMNS if "valid" in column}
    assert errors == {"loss", *map(rmse_name, trained_labels())}


def test_a_label_of_two_quantities_is_trained_as_one_of_them(monkeypatch):
    """Whatever their order in the catalogue; in files they are the same array."""
    having = [entry for entry in QUANTITIES.values() if entry.label]
    trained = [entry.label.name for entry in having if entry.label.trained]
    assert len(set(trained)) == len(trained)
    for entry in having:
        other = labelled()[entry.label.name]
        assert (entry.shape, entry.unit) == (other.shape, other.unit)
    before = trained_labels()
    backwards = dict(reversed(QUANTITIES.items()))
    monkeypatch.setattr("jles.quantities.catalogue.QUANTITIES", backwards)
    assert trained_labels() == before
    assert before["dipole"].name == "polarization"


def test_every_record_of_the_electrical_response_is_in_the_catalogue():
    engine = {"thermo", "positions", "velocities", "extxyz", "current"}
    assert set(to_dict(RecordConfig())) - engine <= set(QUANTITIES)


# --- what its value does


@KINDS
@QUICK_NAMES
def test_shape_and_padding(name, kind):
    entry, value = QUANTITIES[name], world_of(name).value(name, kind)
    for leaf in jax.tree.leaves(value):
        assert leaf.ndim == len(entry.shape)
        for length, said in zip(leaf.shape, entry.shape, strict=True):
            assert length == {"atoms": 8}.get(said, said) or said in ("channels", "features")
        assert np.isfinite(leaf[:COUNT] if entry.per_atom else leaf).all()


@KINDS
@QUICK_NAMES
def test_a_permutation_of_the_atoms_permutes_it(name, kind):
    skip_refused(name, kind)
    world = world_of(name)
    found, expected = world.value(name, kind, "permuted"), world.value(name, kind)
    if QUANTITIES[name].per_atom:
        found, expected = found[:COUNT], expected[ORDER]
    assert_close(found, expected, 1e-9)


@KINDS
@QUICK_NAMES
def test_a_rotation_or_reflection_turns_its_cartesian_axes(name, kind):
    skip_refused(name, kind)
    entry, world = QUANTITIES[name], world_of(name)
    expected = jax.tree.map(lambda leaf: rotate(leaf, entry), world.value(name, kind))
    assert_close(world.value(name, kind, "rotated"), expected, 1e-9)


@KINDS
@QUICK_NAMES
def test_a_translation_leaves_it(name, kind):
    skip_refused(name, kind)
    world = world_of(name)
    assert_close(world.value(name, kind, "translated"), world.value(name, kind), 1e-9)


@pytest.mark.long
@WORLDS
@KINDS
def test_a_single_structure_in_float32_gives_what_a_batch_in_float64_gives(names, kind):
    """To the precision of float32, which is also the type of every result."""
    world = world_with(names)
    for name, value in world.alone(kind).items():
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(value)), name
        assert_close(value, world.value(name, kind), 3e-3)


@WORLDS
def test_odd_quantities_and_no_others_change_sign_with_the_charges(names):
    world = world_with(names)
    params = dict(world.params)
    params["charges"] = jax.tree.map(lambda leaf: -leaf, params["charges"])
    for head in ("dipoles", "quadrupoles"):
        params[head] = params[head] | {"mixing": -params[head]["mixing"]}
    after = jax.device_get(world.of_batch(params, world.batch))
    for name in names:
        sign = -1.0 if QUANTITIES[name].odd else 1.0
        expected = jax.tree.map(lambda leaf, sign=sign: sign * leaf, world.found[name])
        assert_close(after[name], expected, 1e-9)


# --- who has it


# Every configuration is traced at another boundary, or by `World`.
SLOW_TO_TRACE = {
    ("everything", "crystal"),
    ("everything", "slab"),
    ("everything", "cluster"),
    ("soft", "crystal"),
    ("soft", "slab"),
    ("metal", "slab"),
    ("metal", "crystal"),
    ("metal", "cluster"),
    ("equilibrated", "crystal"),
    ("equilibrated", "slab"),
    ("equilibrated", "cluster"),
}


@pytest.mark.parametrize(
    ("config", "boundary"),
    [long_unless(pair not in SLOW_TO_TRACE, *pair) for pair in product(CONFIGS, BOUNDARIES)],
)
def test_what_is_not_refused_can_be_traced(config, boundary):
    """And a refusal is one line that begins with the name."""
    pbc = BOUNDARIES[boundary]
    potential = build_potential(CONFIGS[config])
    atoms = rattled(0, count=2)
    atoms.pbc = pbc
    structure = structure_of(atoms, potential)
    had = []
    for name, entry in QUANTITIES.items():
        for in_field in (False, True):
            reason = entry.refuse(CONFIGS[config], pbc, in_field)
            assert reason is None or re.fullmatch(rf"'{name}' [^\n]+", reason)
        if entry.refuse(CONFIGS[config]):
            assert entry.refuse(CONFIGS[config], pbc)
        if entry.refuse(CONFIGS[config], pbc) is None:
            had.append(name)
    found = jax.eval_shape(
        lambda p: outputs(potential, p, structure, None, frozenset(had), "exact"),
        random_params(potential),
    )
    assert set(had) <= set(found)


@NAMES
def test_a_refusal_is_what_predict_says(name):
    model = Model(CONFIGS["no charges"], small_model(CONFIGS["no charges"])[1], "float64")
    reason = QUANTITIES[name].refuse(model.config, BOUNDARIES["cluster"])
    if reason is None:
        return
    with pytest.raises(InputError) as info:
        model.predict(start("cluster"), want=(name,))
    assert reason in str(info.value)
