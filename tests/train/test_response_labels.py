"""Training on Born charges, dipoles and polarizabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.config import from_dict
from jles.data.loader import RESPONSES, Labels
from jles.errors import InputError
from jles.models.config import DirectCharges, ScalarPolarizability
from jles.structures.batch import build_structure
from jles.train.config import TrainConfig
from jles.train.losses import (
    Weights,
    batch_errors,
    loss_of,
    root_mean_square,
)
from jles.train.prepare import prepare
from jles.train.response_labels import nearest_branch
from tests.support.small_systems import (
    TINY_MODEL,
    TRICLINIC,
    rattled,
    small_backbone,
    small_config,
    small_model,
    training_values,
    write_frames,
)
from tests.support.training import (
    MATRIX,
    RESPONSE_KEYS,
    RESPONSE_PARAMS,
    linear_responses,
    response_loader,
    with_responses,
)

CONFIG = small_config(
    backbone=small_backbone(l_max=0, body_order=1),
    charges=DirectCharges(hidden=(), total="shift", scale=5.0),
)


POLARIZABLE = CONFIG.replace(polarizability=ScalarPolarizability(hidden=()))


CRYSTAL, CLUSTER, NO_LABELS = 0, 1, 2


class World:
    """The compiled loss of one label on a batch, with a tiny model."""

    def __init__(self, batches, config, needed):
        potential, self.params = small_model(config)
        self.batches, self.labels = batches, batches[0].labels

        @jax.jit
        def compiled(params, structure, labels, weights):
            def loss(params):
                errors = batch_errors(potential, params, structure, labels, needed)
                return loss_of(errors, weights), errors

            (value, errors), gradient = jax.value_and_grad(loss, has_aux=True)(params)
            return value, gradient, errors

        self._compiled = compiled

    def of(self, name, batch=None, params=None, **changes):
        """Loss, gradient and errors; `changes` are new values, or new masks as `has_*`."""
        batch, weights = (
            batch or self.batches[0],
            Weights(0.0, 0.0, 0.0)._replace(**{name: 1.0}),
        )
        has = {name[4:]: changes.pop(name) for name in list(changes) if name[:4] == "has_"}
        labels = Labels(batch.labels.values | changes, batch.labels.has | has)
        return self._compiled(params or self.params, batch.structure, labels, weights)


@pytest.fixture(scope="module")
def worlds(response_frames):
    """By label; the second batch has two fillers."""
    batches = list(response_loader(response_frames).epoch(None))
    flowing = World(batches, CONFIG, ("born_charges", "dipole"))
    polarizable = World(batches, POLARIZABLE, ("polarizability",))
    return {"born_charges": flowing, "dipole": flowing, "polarizability": polarizable}


def only(row):
    """`has_*` of a batch in which one structure has the label."""
    return (np.arange(3) == row).astype(float)


@pytest.mark.parametrize("row", [CRYSTAL, CLUSTER])
@pytest.mark.parametrize("name", RESPONSES)
def test_the_gradient_is_the_slope_of_the_loss(worlds, name, row):
    """Along a random direction of all parameters, against central differences."""
    world = worlds[name]
    has = {f"has_{name}": only(row)}
    rng = np.random.default_rng(3)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), world.params)
    direction["features"] = jax.tree.map(np.zeros_like, direction["features"])

    def rise(step):
        up, down = (
            jax.tree.map(lambda leaf, d, by=by: leaf + by * d, world.params, direction)
            for by in (step, -step)
        )
        return float(
            world.of(name, params=up, **has)[0] - world.of(name, params=down, **has)[0]
        )

    gradient = world.of(name, **has)[1]
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
    h = 1e-3
    numerical = (8 * rise(h) - rise(2 * h)) / (12 * h)
    assert abs(numerical) > 1e-5
    np.testing.assert_allclose(slope, numerical, rtol=1e-7)


def same_leaves(first, second, rtol=0.0, atol=0.0):
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", RESPONSES)
def test_a_frame_without_the_label_does_not_matter(worlds, name):
    world = worlds[name]
    label, has = world.labels.values[name], world.labels.has[name]
    absent = np.expand_dims(has == 0, tuple(range(1, label.ndim)))
    clean = world.of(name)
    spoilt = world.of(name, **{name: np.where(absent, 1e6, label)})
    same_leaves(spoilt[:2], clean[:2])
    assert world.of(name, **{name: np.where(absent, label, label + 0.1)})[0] != clean[0]


def test_the_filler_of_a_batch_does_not_matter(worlds):
    """Two fillers beside a crystal, or two structures whose labels are taken away."""
    world = worlds["born_charges"]
    loss, gradient, errors = world.of("born_charges", batch=world.batches[1])
    alone = world.of("born_charges", has_born_charges=only(CRYSTAL))
    assert errors.counts.born_charges == alone[2].counts.born_charges == 9 * 4
    same_leaves((loss, gradient), alone[:2], rtol=1e-9, atol=1e-12)


def test_the_dipole_of_a_crystal_counts_modulo_the_quantum(worlds):
    world = worlds["dipole"]
    before = world.of("dipole")
    turns = np.array([3.0, -2.0, 7.0]) @ TRICLINIC

    def shifted(row, by):
        moved = np.array(world.labels.values["dipole"])
        moved[row] += by
        return world.of("dipole", dipole=moved)

    same_leaves(shifted(CRYSTAL, turns)[:2], before[:2], rtol=1e-9, atol=1e-11)
    assert abs(shifted(CRYSTAL, 0.3 * TRICLINIC[1])[0] - before[0]) > 1e-3
    assert shifted(CLUSTER, turns)[0] > before[0] + 10.0


@pytest.mark.parametrize(
    "pbc", [(True, True, True), (True, True, False), (False, False, False)]
)
def test_only_periodic_directions_have_a_quantum(pbc):
    cell = np.diag([3.0, 4.0, 20.0])
    structure = build_structure(
        [1], np.full((1, 3), 1.5), cell, pbc, cutoff=2.0, k_max=2.0, dtype=np.float64
    )
    within = np.array([1.0, -1.5, 8.0])
    difference = within + np.array([2, -3, 4]) @ cell
    expected = np.where(pbc, within, difference)
    np.testing.assert_allclose(nearest_branch(jnp.asarray(difference), structure), expected)


def test_errors_are_sums_over_what_is_labelled(response_frames):
    """A crystal (4 atoms) and a cluster (3), with labels read from the file in their layout."""
    batch = next(iter(response_loader(response_frames).epoch(None)))
    errors = jax.jit(
        lambda *of: batch_errors(linear_responses([]), RESPONSE_PARAMS, *of, RESPONSES)
    )(*batch[:2])
    born = sum(
        np.sum((0.4 * MATRIX - f.labels["born_charges"]) ** 2) for f in response_frames[:2]
    )
    soft = sum(
        np.sum((0.7 * len(f.numbers) * np.eye(3) - f.labels["polarizability"]) ** 2)
        for f in response_frames[:2]
    )
    np.testing.assert_allclose(errors.squares.born_charges, born, rtol=1e-9)
    np.testing.assert_allclose(errors.squares.polarizability, soft, rtol=1e-9)
    assert [float(getattr(errors.counts, name)) for name in RESPONSES] == [63.0, 6.0, 18.0]
    assert set(root_mean_square(errors)) == {f"{name}_rmse" for name in RESPONSES}


@pytest.mark.parametrize(
    ("needed", "computed"),
    [
        (("energy", "forces"), {"energy"}),
        (("stress",), {"energy"}),
        (("born_charges",), {"born_charges", "dipole"}),
        (("dipole",), {"dipole"}),
        (("polarizability",), {"polarizability"}),
    ],
)
def test_only_what_is_needed_is_held_and_computed(response_frames, needed, computed):
    calls, responses = [], [name for name in RESPONSES if name in needed]
    structure, labels, *_ = next(iter(response_loader(response_frames, responses).epoch(None)))
    assert set(labels.values) == set(labels.has) == {"energy", "forces", "stress", *responses}
    jax.eval_shape(
        lambda p: batch_errors(linear_responses(calls), p, structure, labels, needed),
        RESPONSE_PARAMS,
    )
    assert set(calls) == computed


def config_of(path, **changes):
    return from_dict(TrainConfig, training_values(path, path, **changes), "train.yaml")


@pytest.mark.parametrize("name", RESPONSES)
def test_a_label_that_nobody_has_is_refused(tmp_path, name):
    others = [other for other in RESPONSES if other != name]
    path = write_frames(tmp_path / "t.xyz", [with_responses(rattled(0, count=2), others)])
    with pytest.raises(
        InputError, match=rf"t\.xyz.*'{RESPONSE_KEYS[name]}'.*{name}.*loss\.{name}"
    ):
        prepare(config_of(path, loss={name: 1.0, "energy": 0, "forces": 0}))


@pytest.mark.parametrize(
    ("name", "heads", "message"),
    [
        ("born_charges", {"charges": None}, r"loss\.born_charges.*head 'charges'"),
        ("dipole", {"charges": None}, r"loss\.dipole.*head 'charges'"),
        ("polarizability", {}, r"loss\.polarizability.*head 'polarizability'"),
        ("polarizability", {"charge_softness": {}}, r"t\.xyz, frame 1.*of a crystal"),
        ("dipole", {"charge_softness": {}}, r"t\.xyz, frame 2.*slab"),
    ],
)
def test_a_label_that_the_model_can_say_nothing_of_is_refused(tmp_path, name, heads, message):
    frames = [with_responses(rattled(n, count=2, pbc=n > 0)) for n in range(3)]
    frames[2].pbc = (True, True, False)
    path = write_frames(tmp_path / "t.xyz", frames)
    model, loss = TINY_MODEL | heads, {"energy": 0, "forces": 0, name: 1.0}
    with pytest.raises(InputError, match=message):
        prepare(config_of(path, model=model, loss=loss))
