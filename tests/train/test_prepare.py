"""From files to batches: labels, splits, seeds, element energies, models to start from."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ase.io import read

from jles.config import from_dict
from jles.data.frames import LabelKeys
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.mesh import MeshPlan
from jles.errors import InputError, InputWarning
from jles.models.store import read_model, save_model
from jles.models.sum_config import ElectrostaticsConfig
from jles.structures.sizes import Size
from jles.train.config import DataConfig, TrainConfig
from jles.train.element_energies import fit_rest
from jles.train.prepare import planned_sums, prepare, warn_unconverged
from jles.train.training_frames import judging_labels, load_frames, warn_overlap
from tests.support.messages import message_of
from tests.support.small_systems import (
    labelled,
    rattled,
    small_config,
    training_values,
    write_frames,
)
from tests.support.training import WITHOUT_CHARGES


def frames_file(path, *labels):
    """One frame for each set of labels."""
    return write_frames(
        path, [labelled(rattled(n, count=3), names) for n, names in enumerate(labels)]
    )


@pytest.mark.parametrize(
    ("train", "valid", "warned"),
    [
        ("a.xyz", "a.xyz", True),
        (("b.xyz", "./a.xyz"), "a.xyz", True),
        ("a.xyz", ("b.xyz", "a.xyz@4:"), True),
        ("a.xyz@:4", "a.xyz", True),
        ("a.xyz@:4", "a.xyz@:4", True),
        ("a.xyz@:4", "a.xyz@3", True),
        ("a.xyz@2:", "a.xyz@0:3", True),
        ("a.xyz@0:", "a.xyz@-1", True),
        ("a.xyz@:4", "a.xyz@-1", False),
        ("a.xyz@::2", "a.xyz@1::2", False),
        ("a.xyz@:4", "a.xyz@4:", False),
        ("a.xyz", "b.xyz", False),
        ("a.xyz", (), False),
    ],
)
def test_frames_of_training_are_no_validation(train, valid, warned, recwarn):
    warn_overlap(DataConfig(train, valid))
    assert [str(one.message).startswith("data.valid: ") for one in recwarn] == [True] * warned


def test_a_label_that_no_file_has_is_missed_in_all_of_them(tmp_path):
    files = (frames_file(tmp_path / "a.xyz", ("energy",)), frames_file(tmp_path / "b.xyz", ()))
    message = message_of(load_frames, DataConfig(files, files), ("energy", "forces"))
    for words in ("a.xyz", "b.xyz", "'forces'", "keys present: energy"):
        assert words in message


@pytest.mark.parametrize("name", ["total_charge", "state"])
def test_a_charge_or_state_that_is_named_must_be_there(tmp_path, name):
    """In one frame of all files; without one it would be zero."""
    plain = frames_file(tmp_path / "a.xyz", ("energy",))
    atoms = labelled(rattled(0, count=3), ("energy",))
    atoms.info["Q"] = 0
    named = write_frames(tmp_path / "b.xyz", [atoms])
    labels = LabelKeys(**{name: "Q"})
    assert len(load_frames(DataConfig((plain, named), plain, labels=labels), ())[0]) == 2
    assert load_frames(DataConfig(plain, named, labels=labels), ())
    message = message_of(load_frames, DataConfig(plain, plain, labels=labels), ())
    assert f"data.labels.{name}: {plain}: no frame has 'Q'" in message


def test_a_label_is_needed_in_the_frames_that_are_trained_on(tmp_path):
    """Training frames are those that `limit` and the split leave."""
    train = frames_file(tmp_path / "t.xyz", ("energy",), ("energy",), ("energy", "forces"))
    need = ("energy", "forces")
    assert len(load_frames(DataConfig(train, train), need)[0]) == 3
    message = message_of(load_frames, DataConfig(train, train, limit=2), need)
    assert "t.xyz" in message
    assert "none of the 2 frames" in message
    learns = {
        seed: load_frames(DataConfig(train, valid_fraction=0.3, split_seed=seed), ("energy",))[
            0
        ]
        for seed in range(6)
    }
    learns = {n: any("forces" in f.labels for f in frames) for n, frames in learns.items()}
    assert set(learns.values()) == {True, False}
    for seed, has_forces in learns.items():
        data = DataConfig(train, valid_fraction=0.3, split_seed=seed)
        if has_forces:
            assert len(load_frames(data, need)[0]) == 2
        else:
            assert "data.split_seed" in message_of(load_frames, data, need)


def test_missing_labels_come_before_the_split(tmp_path):
    train = frames_file(tmp_path / "one.xyz", ())
    message = message_of(load_frames, DataConfig(train), ("forces",))
    assert "no frame has 'forces'" in message


def test_a_split_that_leaves_nothing_names_its_key_and_file(tmp_path):
    train = frames_file(tmp_path / "one.xyz", ("energy",))
    message = message_of(load_frames, DataConfig(train), ())
    assert message.startswith(f"data.valid_fraction ({train}): ")
    assert "1 of 1 frames" in message


def test_validation_frames_may_lack_a_label_but_not_all(tmp_path):
    train = frames_file(tmp_path / "t.xyz", ("energy", "forces"))
    some, none = (
        frames_file(tmp_path / "v.xyz", ("energy",)),
        frames_file(tmp_path / "n.xyz", ()),
    )
    need = ("energy", "forces")
    assert len(load_frames(DataConfig(train, some), need)[1]) == 1
    message = message_of(load_frames, DataConfig(train, none), need)
    assert "n.xyz" in message
    assert "energy or forces" in message
    # The weights of the last epoch choose the best one.
    message = message_of(load_frames, DataConfig(train, some), need, need[1:])
    assert "none of the 1 frames has forces" in message
    weights = {"energy": {0: 1.0, 2: 0.0}, "forces": {0: 0.0, 1: 1.0, 3: 0.0}}
    for epochs, judging in ((1, ("energy",)), (2, ("energy", "forces")), (3, ("forces",))):
        config = from_dict(
            TrainConfig, training_values(train, epochs=epochs, loss=weights), "x"
        )
        assert judging_labels(config) == judging
    assert "weight 0 in the last epoch" in message_of(judging_labels, config.replace(epochs=4))


@pytest.mark.parametrize(
    ("key", "value"),
    [("charges", None), ("elements", ["H"]), ("energy", {"hidden": [3]})]
    + [("normalize_features", False), ("electrostatics", {"sigma": 2.0})],
)
def test_start_from_says_that_the_rest_would_be_ignored(key, value):
    values = training_values("t.xyz", model={"start_from": "runs/a", key: value})
    message = message_of(from_dict, TrainConfig, values, "train.yaml")
    assert message.startswith(f"train.yaml.model.{key}: ")
    assert "start_from" in message


def test_start_from_keeps_replaces_or_fits_the_element_energies(run, tmp_path):
    stored = read_model(run.out).config
    shifted = read(run.folder / "train.xyz", ":")
    for atoms in shifted:
        # Oxygen alone is shifted, by 5 eV an atom; hydrogen keeps its energy.
        moved = atoms.get_potential_energy() + 5.0 * np.sum(atoms.numbers == 8)
        atoms.info["energy"] = moved
        atoms.arrays["forces"] = atoms.get_forces()
        atoms.calc = None
    train = write_frames(tmp_path / "t.xyz", shifted)

    def further(**model):
        values = training_values(train, train, model={"start_from": str(run.out)} | model)
        prepared = prepare(from_dict(TrainConfig, values, "x"))
        assert prepared.potential.config.backbone == stored.backbone
        return prepared

    def energies(**model):
        return further(**model).potential.config.element_energies

    assert energies() == stored.element_energies
    given = energies(element_energies={"O": -1.5})
    assert given == {"H": stored.element_energies["H"], "O": -1.5}
    fitted = further(element_energies="fit")
    moved = fitted.potential.config.element_energies
    # What the stored network has learned counts once: it leaves nothing for the elements.
    left = fit_rest(fitted.potential, fitted.params, fitted.train_loader)
    assert left == pytest.approx({"H": 0.0, "O": 0.0}, abs=1e-5)
    assert moved["H"] == pytest.approx(stored.element_energies["H"], abs=0.5)
    assert moved["O"] == pytest.approx(stored.element_energies["O"] + 5.0, abs=0.5)
    values = {"start_from": str(run.out), "element_energies": {"C": 1.0}}
    assert "C not among" in message_of(energies, **values)
    fresh = WITHOUT_CHARGES | {"element_energies": {"H": 1.0}}
    config = from_dict(TrainConfig, training_values(train, train, model=fresh), "x")
    assert "no energy of O; give those of all elements (H, O)" in message_of(prepare, config)


@pytest.mark.long
def test_an_untrained_model_to_start_from_is_prepared_as_a_new_one(tmp_path, recwarn):
    """As one of `jles.augment`; a trained model keeps the constants of its features."""
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(n)) for n in range(3)])

    def prepared(model):
        return prepare(from_dict(TrainConfig, training_values(train, train, model=model), "x"))

    def same(first, second):
        return all(jax.tree.leaves(jax.tree.map(np.allclose, first, second)))

    new = prepared(WITHOUT_CHARGES)
    initial = new.potential.init(jax.random.key(0), np.float32)
    assert not same(initial["features"], new.params["features"])
    config = new.potential.config.replace(element_energies={})
    save_model(tmp_path / "a", config, initial)
    section = {"start_from": str(tmp_path / "a"), "element_energies": "fit"}
    assert same(prepared(section).params, new.params)
    initial["energy"]["perceptron"]["layers_1"]["kernel"] += 0.1
    save_model(tmp_path / "b", config, initial)
    assert not recwarn
    kept = prepared({"start_from": str(tmp_path / "b")})
    assert same(kept.params, initial)
    assert "set model.element_energies: fit" in str(recwarn.pop(InputWarning).message)


def test_an_unlabelled_run_of_another_file_fits_the_rest(tmp_path):
    """A label may be missing in one of two files; missing in both is an error."""
    energies = write_frames(tmp_path / "e.xyz", [labelled(rattled(0), ("energy",))])
    forces = write_frames(tmp_path / "f.xyz", [labelled(rattled(1), ("forces",))])
    values = training_values([energies, forces], [forces, energies], model=WITHOUT_CHARGES)
    prepared = prepare(from_dict(TrainConfig, values, "x"))
    assert len(prepared.train_frames) == 2
    values["loss"] = {"energy": 1.0, "forces": 1.0, "stress": 1.0}
    with pytest.raises(InputError, match=r"e\.xyz.*'stress'"):
        prepare(from_dict(TrainConfig, values, "x"))


def test_seeds_choose_the_parameters_and_the_frames_held_out(tmp_path):
    train = write_frames(tmp_path / "t.xyz", [labelled(rattled(n, count=4)) for n in range(8)])

    def held_out(**changes):
        frames = load_frames(DataConfig(train, valid_fraction=0.25, **changes), ("energy",))[1]
        return [frame.source for frame in frames]

    assert held_out() == held_out()
    assert held_out() != held_out(split_seed=1)
    assert len(held_out()) == len(held_out(limit=7)) == 2
    assert all(int(source.split()[-1]) < 5 for source in held_out(limit=5, split_seed=1))
    values = training_values(train, train, model=WITHOUT_CHARGES)
    trees = [
        prepare(from_dict(TrainConfig, values | {"seed": seed}, "x")).params for seed in (0, 1)
    ]
    for name in ("sender_embedding", "radial_mixing_0"):
        assert not np.any(trees[0]["backbone"][name] == trees[1]["backbone"][name])


@pytest.mark.parametrize(("sigma", "k_max"), [(1.0, 3.14159), (0.3, 10.3), (1.25, 2.0)])
def test_a_sum_that_ends_where_its_weights_are_small_is_not_warned_of(sigma, k_max):
    warn_unconverged(ElectrostaticsConfig(sigma, k_max))
    with pytest.warns(InputWarning, match=rf"about {3.1 / sigma:.3g} \(3.1 / sigma"):
        warn_unconverged(ElectrostaticsConfig(sigma, 0.6 * k_max))


def test_the_log_names_every_planned_sum_once():
    plans = [
        SumPlan(grid=KGrid(1, 2, 3)),
        SumPlan(),
        SumPlan(mesh=MeshPlan(8, 9, 10, 4)),
        SumPlan(cluster=True),
        SumPlan(grid=KGrid(1, 2, 3)),
    ]
    loaders = [
        SimpleNamespace(sizes=[Size(4, 8, plan) for plan in part])
        for part in (plans[:2], plans[2:])
    ]
    prepared = SimpleNamespace(
        train_loader=loaders[0],
        valid_loader=loaders[1],
        potential=SimpleNamespace(config=small_config()),
    )
    grid, mesh, pairs = planned_sums(prepared)
    assert grid == "long range: direct reciprocal sum, indices up to 1x2x3"
    assert mesh.startswith("long range: particle mesh of 8x9x10 points, splines of order 4")
    assert pairs == "long range: sum over pairs"
