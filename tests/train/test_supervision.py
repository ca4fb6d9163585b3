"""Training on Born charges, dipoles and polarizabilities: what counts, its slopes, whole runs."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jles.config import from_dict
from jles.data.frames import read_frames
from jles.data.loader import RESPONSES, Loader
from jles.errors import InputError
from jles.models.config import ChargeConfig, PolarizabilityConfig
from jles.models.potential import build_potential
from jles.models.store import read_model, save_model
from jles.structures.batch import build_structure
from jles.train import loop
from jles.train.config import TrainConfig
from jles.train.losses import (
    LABELS,
    Weights,
    batch_errors,
    label_counts,
    loss_of,
    root_mean_square,
)
from jles.train.prepare import prepare
from jles.train.report import _pairs, validation_pictures
from jles.train.response_labels import nearest_branch
from jles.train.step import build_steps
from tests.support.small_systems import (
    TINY_MODEL,
    TRICLINIC,
    labelled,
    rattled,
    small_backbone,
    small_config,
    small_model,
    training_values,
    write_frames,
)

CONFIG = small_config(
    backbone=small_backbone(l_max=0, body_order=1),
    charges=ChargeConfig(hidden=(), total="shift", scale=5.0),
)
POLARIZABLE = replace(CONFIG, polarizability=PolarizabilityConfig(hidden=()))
KEYS = {"born_charges": "bec", "dipole": "dipole_ref", "polarizability": "polarizability_ref"}
CRYSTAL, CLUSTER, NO_LABELS = 0, 1, 2


def with_responses(atoms, names=RESPONSES, seed=0):
    """Random labels that no model could have made."""
    rng, atoms = np.random.default_rng(seed), atoms.copy()
    values = {
        "born_charges": rng.normal(size=(len(atoms), 9)),
        "dipole": rng.normal(size=3),
        "polarizability": rng.normal(size=9),
    }
    for name in names:
        (atoms.arrays if name == "born_charges" else atoms.info)[KEYS[name]] = values[name]
    return atoms


def same_leaves(first, second, rtol=0.0, atol=0.0):
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def loader_of(frames, responses=RESPONSES, **options):
    options = {"cutoff": 3.0, "k_max": 2.0, "batch_size": 3, "dtype": np.float64} | options
    return Loader(frames, max_buckets=1, responses=responses, **options)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A crystal, a cluster, a crystal without labels of responses, the first crystal again."""
    crystal = with_responses(labelled(rattled(0, count=4)))
    cluster = with_responses(rattled(1, count=3, pbc=False), seed=1)
    atoms = [crystal, cluster, labelled(rattled(2, count=2)), crystal]
    return read_frames(write_frames(tmp_path_factory.mktemp("data") / "frames.xyz", atoms))


class World:
    """The loss of one label on a batch with a tiny model that knows what it needs, compiled."""

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
        """Loss, gradient and errors; `changes` are of the labels."""
        batch, weights = (
            batch or self.batches[0],
            Weights(0.0, 0.0, 0.0)._replace(**{name: 1.0}),
        )
        labels = replace(batch.labels, **changes)
        return self._compiled(params or self.params, batch.structure, labels, weights)


@pytest.fixture(scope="module")
def worlds(frames):
    """By label; the second batch has two fillers."""
    batches = list(loader_of(frames).epoch(None))
    flowing = World(batches, CONFIG, ("born_charges", "dipole"))
    answering = World(batches, POLARIZABLE, ("polarizability",))
    return {"born_charges": flowing, "dipole": flowing, "polarizability": answering}


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


@pytest.mark.parametrize("name", RESPONSES)
def test_a_frame_without_the_label_does_not_matter(worlds, name):
    world = worlds[name]
    label, has = (np.asarray(getattr(world.labels, key)) for key in (name, f"has_{name}"))
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
    assert errors.n_born_charges == alone[2].n_born_charges == 9 * 4
    same_leaves((loss, gradient), alone[:2], rtol=1e-9, atol=1e-12)


def test_the_dipole_of_a_crystal_counts_modulo_the_quantum(worlds):
    world = worlds["dipole"]
    before = world.of("dipole")
    turns = np.array([3.0, -2.0, 7.0]) @ TRICLINIC

    def shifted(row, by):
        moved = np.array(world.labels.dipole)
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


# --- errors and steps, on laws that can be written down

TOY_PARAMS = {"charge": np.array([0.4]), "soft": np.array([0.7]), "spring": np.array([0.2])}
MATRIX = np.array([[1.0, 0.5, 0.0], [-0.3, 2.0, 0.1], [0.0, 0.4, -1.0]])


def toy(calls):
    """P = charge * MATRIX @ (sum of positions), A = soft * atoms, springs to the origin."""

    def dipole_fn(params, structure):
        calls.append("dipole")
        places = jnp.where(structure.mask[:, None], structure.positions, 0.0)
        return params["charge"][0] * (MATRIX @ jnp.sum(places, axis=0))

    def coupling_fn(params, structure, field):
        calls.append("born_charges")
        return field @ dipole_fn(params, structure)

    def enthalpy_fn(params, structure, field):
        calls.append("polarizability")
        return -0.5 * params["soft"][0] * jnp.sum(structure.mask) * field @ field

    def energy_fn(params, structure):
        calls.append("energy")
        places = jnp.where(structure.mask[:, None], structure.positions, 0.0)
        return params["spring"][0] * jnp.sum(places**2)

    return build_potential(small_config())._replace(
        energy_fn=energy_fn,
        coupling_fn=coupling_fn,
        dipole_fn=dipole_fn,
        enthalpy_fn=enthalpy_fn,
    )


def test_errors_are_sums_over_what_is_labelled(frames):
    """Of the crystal (4 atoms) and the cluster (3); labels read from the file in their layout."""
    batch = next(iter(loader_of(frames).epoch(None)))
    errors = jax.jit(lambda *of: batch_errors(toy([]), TOY_PARAMS, *of, RESPONSES))(*batch[:2])
    born = sum(np.sum((0.4 * MATRIX - f.labels["born_charges"]) ** 2) for f in frames[:2])
    soft = sum(
        np.sum((0.7 * len(f.numbers) * np.eye(3) - f.labels["polarizability"]) ** 2)
        for f in frames[:2]
    )
    np.testing.assert_allclose(errors.born_charges, born, rtol=1e-9)
    np.testing.assert_allclose(errors.polarizability, soft, rtol=1e-9)
    assert [float(getattr(errors, f"n_{name}")) for name in RESPONSES] == [63.0, 6.0, 18.0]
    assert set(root_mean_square(errors)) == {f"{name}_rmse" for name in RESPONSES}


def test_a_step_sees_the_same_loss_in_turn_as_together(frames):
    """On a CPU structures come one after the other; every label at once."""
    structure, labels, _ = next(iter(loader_of(frames).epoch(None)))
    steps = build_steps(toy([]), optax.sgd(1.0), LABELS)
    weights, start = (
        Weights(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        jax.tree.map(jnp.asarray, TOY_PARAMS),
    )

    def loss(params):
        return loss_of(batch_errors(toy([]), params, structure, labels, LABELS), weights)

    together, gradient = jax.jit(jax.value_and_grad(loss))(start)
    state, in_turn, errors = steps.train(
        steps.init(start), structure, labels, weights, 1e-3, 0.0
    )
    assert all(float(count) > 0 for count in label_counts(structure, labels, LABELS))
    np.testing.assert_allclose([in_turn, loss_of(errors, weights)], together, rtol=1e-12)
    moved = jax.tree.map(lambda leaf, slope: leaf + 1e-3 * slope, start, gradient)
    same_leaves(state.params, moved, rtol=1e-9)


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
def test_only_what_is_needed_is_held_and_computed(frames, needed, computed):
    calls, responses = [], [name for name in RESPONSES if name in needed]
    structure, labels, _ = next(iter(loader_of(frames, responses).epoch(None)))
    held = {name for name in LABELS if getattr(labels, name) is not None}
    assert held == {"energy", "forces", "stress", *responses}
    jax.eval_shape(lambda p: batch_errors(toy(calls), p, structure, labels, needed), TOY_PARAMS)
    assert set(calls) == computed


def test_pictures_show_every_number_that_is_labelled(frames, tmp_path):
    """The dipole of a crystal on the branch nearest to its reference."""
    loader = loader_of(frames[:2], batch_size=1)
    needed = ("born_charges", "dipole")
    pairs = _pairs(toy([]), TOY_PARAMS, loader, needed)
    assert {name: pair.shape[1] for name, pair in pairs.items()} == {
        "energy": 1,
        "forces": 12,
        "born_charges": 63,
        "dipole": 6,
    }
    reference, predicted = pairs["born_charges"]
    labels = np.concatenate([frame.labels["born_charges"].ravel() for frame in frames[:2]])
    np.testing.assert_allclose(reference, labels)
    np.testing.assert_allclose(
        predicted, np.tile(0.4 * MATRIX.ravel(), 7), rtol=1e-9, atol=1e-12
    )
    reference, predicted = pairs["dipole"].reshape(2, 2, 3)
    assert np.all(np.abs((predicted - reference)[0] @ np.linalg.inv(TRICLINIC)) <= 0.5)
    validation_pictures(tmp_path, toy([]), TOY_PARAMS, loader, needed)
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")


# --- what is refused


def config_of(path, **changes):
    return from_dict(TrainConfig, training_values(path, path, **changes), "train.yaml")


@pytest.mark.parametrize("name", RESPONSES)
def test_a_label_that_nobody_has_is_refused(tmp_path, name):
    others = [other for other in RESPONSES if other != name]
    path = write_frames(tmp_path / "t.xyz", [with_responses(rattled(0, count=2), others)])
    with pytest.raises(InputError, match=rf"t\.xyz.*'{KEYS[name]}'.*{name}.*loss\.{name}"):
        prepare(config_of(path, loss={name: 1.0, "energy": 0, "forces": 0}))


@pytest.mark.parametrize(
    ("name", "heads", "message"),
    [
        ("born_charges", {"charges": None}, r"loss\.born_charges.*model\.charges"),
        ("dipole", {"charges": None}, r"loss\.dipole.*model\.charges"),
        ("polarizability", {}, r"loss\.polarizability.*model\.polarizability"),
        ("polarizability", {"charge_softness": {}}, r"t\.xyz, frame 1.*periodic"),
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


# --- a whole run


@pytest.mark.long
def test_fine_tuning_on_born_charges_alone(tmp_path, monkeypatch):
    """From a stored model and frames without energies: one loss, one error, and it falls.

    Charges can learn to vanish, so that labels of zero can be met.
    """
    atoms = [rattled(n, count=3, pbc=False) for n in range(3)]
    for one in atoms:
        one.arrays["bec"] = np.zeros((3, 9))
    path = write_frames(tmp_path / "born.xyz", atoms)
    config = replace(CONFIG, element_energies={"H": -1.0, "O": -2.0})
    potential, params = small_model(config, dtype=np.float32)
    save_model(tmp_path / "published", config, params, {}, {})
    tuning = config_of(
        path,
        model={"start_from": str(tmp_path / "published")},
        loss={"born_charges": 1.0, "energy": 0, "forces": 0},
        epochs=12,
        batch_size=3,
        optimizer={"learning_rate": 0.1, "ema": 0.0},
    )
    monkeypatch.setattr(loop, "learning_curve", lambda *_: None)
    monkeypatch.setattr(loop, "validation_pictures", lambda *_: None)
    out = loop.train(tuning, tmp_path / "tuned")
    rows = [
        json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    expected = {"loss", "born_charges_rmse"}
    for part in ("train", "valid"):
        names = {key.removeprefix(f"{part}_") for key in rows[0] if key.startswith(part)}
        assert names == expected
    first, last = rows[0]["valid_born_charges_rmse"], rows[-1]["valid_born_charges_rmse"]
    assert last < 0.5 * first
    np.testing.assert_allclose(rows[-1]["valid_loss"], last**2, rtol=1e-5)
    stored = read_model(out)
    assert stored.config == read_model(tmp_path / "published").config
    assert stored.training["labels"] == ["born_charges"]
