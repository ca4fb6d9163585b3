"""Models written elsewhere: exact Born charges, what is refused, from training to dynamics."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from ase.io import read

import jles
from jles.cli.main import main
from jles.errors import InputError
from jles.jax_md.functions import dipole_fn
from jles.models.backbones.foreign import register
from jles.models.potential import build_potential
from jles.models.store import read_model
from jles.observables.born_charges import born_charges
from jles.predict.prediction import check_wanted
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import pad_structure, size_of
from tests.support.foreign_toy import augmented, toy, toy_config, with_function
from tests.support.paths import ROOT
from tests.support.small_systems import (
    TRICLINIC,
    labelled,
    random_params,
    rattled,
    small_config,
    structure_of,
    training_values,
    write_frames,
)

# jax-md calls e3nn-jax by old names; mlip puts integers of 64 bits into a table of 32.
# Functions that are called `changed` replace each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types:FutureWarning"),
    pytest.mark.filterwarnings("ignore:name. 'changed' was another function"),
]

NEQUIP = {
    "graph_net_steps": 2,
    "hidden_irreps": "4x0e + 2x1o",
    "sh_irreps": "1x0e + 1x1o",
    "num_basis": 3,
    "radial_net_n_hidden": 4,
    "n_neighbors": 10.0,
}
SMALL = {"num_rbf": 3, "radial_mlp_hidden": [4]}
PACKAGES = {
    "jax-md-nequip": (2, NEQUIP),
    "mlip-mace": (2, SMALL | {"num_channels": 3, "l_max": 1, "correlation": 2}),
    "mlip-nequip": (2, SMALL | {"target_irreps": "4x0e + 2x1o", "l_max": 1}),
    "mlip-visnet": (3, {"num_layers": 2, "num_channels": 4, "num_heads": 2, "num_rbf": 3}),
}


def looped(cutoff, elements, **options):
    """The toy with its steps in a loop, which tracing does not follow."""
    plain = toy(cutoff, elements, **options)

    def function(params, *graph):
        def step(vectors, _):
            return vectors, plain.function(params, vectors, *graph[1:])

        _, found = jax.lax.scan(step, graph[0], None, length=1)
        return jax.tree.map(lambda values: values[0], found)

    return plain._replace(function=function)


def measured(backbone, atoms):
    """Born charges, and the gradient of their size by parameters and positions."""
    config = small_config(backbone=backbone)
    potential = build_potential(config)
    params = jax.tree.map(jnp.asarray, random_params(potential))
    structure = structure_of(atoms, potential, wrapped=False)

    def born(params, positions):
        moved = replace(structure, positions=positions)
        coupling = Evaluation(potential, params, moved).coupling
        return born_charges(coupling, positions)

    def size(params, positions):
        return jnp.sum(born(params, positions) ** 2)

    born, slopes = jax.jit(born), jax.jit(jax.grad(size, (0, 1)))
    at = params, structure.positions
    return born(*at), slopes(*at)


@pytest.mark.long
def test_tracing_and_a_replica_give_the_same_born_charges():
    """And so do their derivatives; the replica needs no look into the function."""
    register("looped", looped)
    atoms = rattled(3, count=3)
    atoms.positions += np.array([[1, 0, -2], [0, 3, 0], [0, 0, 0]]) @ TRICLINIC
    options = {"width": 3, "steps": 1}
    found = measured(toy_config(layers=2, options=options), atoms)
    of_replica = toy_config(
        name="looped", layers=2, options=options, carries="replica", cells=2
    )
    expected = measured(of_replica, atoms)
    assert np.abs(found[0][:, 0, 1]).max() > 1e-5
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9 * np.abs(other).max())


def test_a_replica_that_is_too_small_gives_no_number():
    """In a cell of 4 angstrom, one copy on each side does not hold 5.6 angstrom."""
    config = small_config(backbone=toy_config(layers=2, carries="replica"))
    potential = build_potential(config)
    params = jax.tree.map(jnp.asarray, random_params(potential))
    structure = structure_of(rattled(3, count=2), potential)
    coupling = Evaluation(potential, params, structure).coupling
    born = jax.jit(lambda positions: born_charges(coupling, positions))
    assert np.isnan(born(structure.positions)).all()
    atoms = rattled(3, count=2)
    given = config, atoms.pbc
    check_wanted(("energy", "forces", "stress"), *given, cell=atoms.cell.array)
    for want, in_field in ((("born_charges",), False), (("energy",), True)):
        with pytest.raises(InputError, match=r"is 3\.\d\d angstrom high.*backbone\.cells: 2"):
            check_wanted(want, *given, in_field, cell=atoms.cell.array)
    with pytest.raises(InputError, match=r"backbone\.cells: 2"):
        dipole_fn(potential, atoms)


@pytest.fixture(scope="module", params=PACKAGES)
def trained(request, tmp_path_factory):
    """A folder with a model of another package, trained for two epochs with charges."""
    if request.param.startswith("mlip"):
        pytest.importorskip("mlip")
    folder = tmp_path_factory.mktemp("foreign")
    layers, options = PACKAGES[request.param]
    backbone = {"kind": "foreign", "name": request.param, "cutoff": 2.8, "degree": 1}
    backbone |= {"layers": layers, "options": options}
    frames = [labelled(rattled(seed, count=4)) for seed in range(4)]
    write_frames(folder / "train.xyz", frames)
    write_frames(folder / "start.xyz", [rattled(1, count=4)])
    model = {"backbone": backbone, "charges": {"hidden": [4]}, "dipoles": {}}
    values = training_values(str(folder / "train.xyz"), epochs=2, model=model)
    values["data"]["valid_fraction"] = 0.25
    md = {
        "steps": 4,
        "timestep": 0.5,
        "ensemble": {"kind": "nve"},
        "velocities": {"temperature": 300.0},
        "record": {"thermo": 2, "polarization": 2},
        "field": {"kind": "constant", "amplitude": [0.0, 0.0, 0.02], "unit": "V/angstrom"},
    }
    for name, content in {"train": values, "md": md}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert not main(["train", str(folder / "train.yaml"), "--out", str(folder / "model")])
    return folder, backbone


@pytest.mark.long
def test_models_of_other_packages_are_trained_stored_and_run_in_a_field(trained):
    folder, backbone = trained
    places = folder / "model", folder / "start.xyz", folder / "md.yaml"
    assert not main(["md", *map(str, places), "--out", str(folder / "run")])
    assert len(read(folder / "run" / "final.extxyz")) == 4
    stored = yaml.safe_load((folder / "model" / "config.yaml").read_text(encoding="utf-8"))
    assert stored["model"]["backbone"] == backbone | {"carries": "traced", "cells": 1}


@pytest.mark.long
def test_models_of_other_packages_have_the_born_charges_of_the_crystal(trained):
    """Equal in a supercell, and equal to those of a replica of the cell."""
    stored = read_model(trained[0] / "model")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, np.float64), stored.params)
    atoms = rattled(2, count=2)

    def born_of(config):
        potential = build_potential(config)

        @jax.jit
        def born(structure):
            coupling = Evaluation(potential, params, structure).coupling
            return born_charges(coupling, structure.positions)

        def padded(atoms):
            structure = structure_of(atoms, potential)
            size = size_of(structure)._replace(atoms=4, neighbors=60)
            return born(pad_structure(structure, size))[: len(atoms)]

        return padded

    born = born_of(stored.config)
    found = born(atoms)
    twice = born(atoms * (2, 1, 1))
    np.testing.assert_allclose(twice, np.concatenate([found] * 2), rtol=0, atol=1e-10)
    backbone = stored.config.backbone.replace(carries="replica", cells=3)
    expected = born_of(stored.config.replace(backbone=backbone))(atoms)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.abs(found[:, 0, 1]).max() > 1e-6


def test_a_function_is_augmented_stored_and_loaded(tmp_path):
    """Its own energies are untouched: read-outs of the energy start at zero."""
    function, params = with_function(lambda features, *_: features)
    model = augmented(function, params, name="ours", charges=None, dtype="float64")
    assert (model.config.backbone.layers, model.config.backbone.degree) == (3, 2)
    atoms = rattled(1, count=3, pbc=False)
    places = atoms.positions
    receivers, senders = np.nonzero(~np.eye(3, dtype=bool))
    vectors = places[senders] - places[receivers]
    species = jnp.array([0, 1, 0])
    own = function(params, jnp.asarray(vectors), species, senders, receivers).energies.sum()
    assert model.predict(atoms).energy == pytest.approx(float(own), rel=1e-12)
    model.save(tmp_path / "model")
    loaded = jles.load(tmp_path / "model", dtype="float64")
    assert loaded.predict(atoms).energy == model.predict(atoms).energy
    again = augmented("ours", params, charges=None, dtype="float64")
    assert again.predict(atoms).energy == model.predict(atoms).energy


@pytest.mark.long
def test_a_model_keeps_its_function_when_another_one_takes_the_name():
    function, params = with_function(lambda features, *_: features)
    model = augmented(function, params, charges=None)
    halved, _ = with_function(lambda f, *_: f._replace(energies=f.energies / 2.0))
    other = augmented(halved, params, charges=None)
    atoms = rattled(1, count=3, pbc=False)
    energies = [one.predict(atoms).energy for one in (model, other)]
    assert energies[0] == pytest.approx(2.0 * energies[1], rel=1e-5)


@pytest.mark.long
def test_a_model_without_charges_need_not_be_followed():
    register("looped", looped)
    model = augmented("looped", None, charges=None)
    assert model.config.backbone.layers == 1


@pytest.mark.long
def test_the_page_on_foreign_models_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "foreign-models.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(compile(block, "foreign-models.md", "exec"), names)
    assert names["model"].config.backbone.layers == 2
    assert np.isfinite(names["out"].born_charges).all()
