"""A neighbour list with a skin, pruned on the device, equals the list without a skin."""

from dataclasses import replace

import h5py
import jax
import numpy as np
import pytest

from jles.dynamics import engine, one_device
from jles.dynamics.run import run_md
from jles.predict.model import Model
from jles.structures.batch import build_structure, on_device
from jles.structures.prune import most_neighbors, prune
from tests.support.small_systems import rattled, small_backbone, small_config, small_model

CUTOFF = small_config().backbone.cutoff


def structure_with(atoms, skin, dtype=np.float64):
    return on_device(
        build_structure(
            atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc,
            cutoff=CUTOFF + skin, k_max=2.5, wrapped=False, dtype=dtype,
        )
    )  # fmt: skip


def pairs(structure):
    """Neighbours in order, atom by atom: index and shift."""
    mask = np.asarray(structure.neighbor_mask)
    rows = np.concatenate(
        [np.asarray(structure.neighbor_index)[..., None], structure.neighbor_shift], axis=-1
    )
    return [row[own] for row, own in zip(rows, mask, strict=True)]


@pytest.mark.parametrize("pbc", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_left_is_what_a_search_without_the_skin_finds(pbc, dtype):
    atoms = rattled(4, pbc=pbc)
    wide, own = (structure_with(atoms, skin, dtype) for skin in (1.5, 0.0))
    most = int(most_neighbors(wide, CUTOFF))
    assert most == own.neighbor_mask.sum(axis=1).max() < wide.neighbor_mask.sum(axis=1).max()
    found = jax.jit(prune, static_argnums=(1, 2))(wide, CUTOFF, most + 2)
    assert found.neighbor_index.shape == (len(atoms), most + 2)
    for left, right in zip(pairs(found), pairs(own), strict=True):
        np.testing.assert_array_equal(left, right)
    padding = ~np.asarray(found.neighbor_mask)
    own_index = np.broadcast_to(np.arange(len(atoms))[:, None], padding.shape)
    np.testing.assert_array_equal(found.neighbor_index[padding], own_index[padding])
    assert not np.asarray(found.neighbor_shift)[padding].any()


def test_too_few_slots_keep_the_first_neighbours():
    wide = structure_with(rattled(4), 1.0)
    for left, right in zip(
        pairs(prune(wide, CUTOFF, 3)), pairs(structure_with(rattled(4), 0.0)), strict=True
    ):
        np.testing.assert_array_equal(left, right[:3])


def test_energy_and_forces_do_not_notice():
    potential, params = small_model()
    wide = structure_with(rattled(5), 1.0)
    slots = int(most_neighbors(wide, CUTOFF))

    def energy(positions, pruned):
        structure = replace(wide, positions=positions)
        return potential.energy_fn(
            params, prune(structure, CUTOFF, slots) if pruned else structure
        )

    evaluate = jax.jit(jax.value_and_grad(energy), static_argnums=1)
    found, expected = (evaluate(wide.positions, pruned) for pruned in (True, False))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-11)


@pytest.mark.long
def test_a_run_whose_slots_grow_is_the_run_with_room_and_resumes(tmp_path, monkeypatch, capfd):
    config = small_config(backbone=small_backbone(l_max=0, body_order=1), charges=None)
    model = Model(config, small_model(config)[1], "float64")
    settings = {"steps": 40, "timestep": 0.5, "dtype": "float64", "record": {"positions": 10}}
    settings["velocities"] = {"temperature": 1000.0}

    def run(name, growth, steps=40, resume=False):
        for module in (engine, one_device):
            monkeypatch.setattr(module, "NEAR_GROWTH", growth)
        run_md(model, rattled(1), settings | {"steps": steps}, tmp_path / name, resume=resume)
        said = capfd.readouterr().err.count("neighbours within the cutoff from")
        with h5py.File(tmp_path / name / "trajectory.h5") as file:
            return file["positions/positions"][:], said

    roomy, quiet = run("roomy", 6.0)
    grown, said = run("grown", 1.0)
    assert said > 0 == quiet
    np.testing.assert_allclose(grown, roomy, rtol=0, atol=1e-9)
    run("stopped", 1.0, steps=20)
    np.testing.assert_array_equal(run("stopped", 1.0, resume=True)[0], grown)
