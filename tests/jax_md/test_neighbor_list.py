"""The neighbour list and the energy for jax-md against the model itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

import jles
from jles.errors import InputError
from jles.jax_md.bound import bind
from jles.structures.neighbors import find_neighbors
from tests.support.door_systems import crystal, door_model, predicted
from tests.support.small_systems import rattled

SKIN = 0.5


@pytest.fixture(scope="module")
def model():
    return door_model()


@pytest.fixture(scope="module")
def door(model):
    neighbor_fn, energy_fn = jles.jax_md.neighbor_list(model, crystal(), SKIN)
    return neighbor_fn, energy_fn, jax.jit(jax.value_and_grad(energy_fn))


@pytest.fixture(scope="module")
def update(door):
    return jax.jit(door[0].update)


def pairs(neighbors):
    index, shift, mask = (
        np.asarray(getattr(neighbors, name)) for name in ("index", "shift", "mask")
    )
    i, n = np.nonzero(mask)
    return set(
        zip(i.tolist(), index[i, n].tolist(), map(tuple, shift[i, n].tolist()), strict=True)
    )


@pytest.mark.parametrize(
    ("dtype", "digits"), [("float64", 1e-12), ("float32", 1e-6)], ids=["float64", "float32"]
)
def test_energies_and_forces_of_random_crystals_are_those_of_the_model(dtype, digits):
    model = door_model(dtype)
    neighbor_fn, energy_fn = jles.jax_md.neighbor_list(model, crystal(), SKIN)
    of_positions = jax.jit(jax.value_and_grad(energy_fn))
    neighbors = neighbor_fn.allocate(crystal().positions, extra_capacity=20)
    update = jax.jit(neighbor_fn.update)
    for seed in range(4):
        atoms = crystal(seed)
        R = jnp.asarray(atoms.positions, dtype)
        neighbors = update(R, neighbors)
        assert not neighbors.did_buffer_overflow
        energy, gradient = of_positions(R, neighbor=neighbors)
        expected, forces = predicted(model, atoms)
        np.testing.assert_allclose(energy, expected, rtol=digits)
        assert gradient.dtype == dtype
        scale = np.abs(forces).max()
        np.testing.assert_allclose(-gradient, forces, atol=30 * digits * scale)


@pytest.mark.parametrize("pbc", [False, (True, False, True)], ids=["cluster", "slab"])
def test_clusters_and_slabs(model, pbc):
    """Wherever the open vector of a slab points, and whatever a box has in its place."""
    atoms = rattled(1, count=8, cell=np.diag([4.0, 9.0, 4.4]), pbc=pbc)
    expected, forces = predicted(model, atoms)
    box = None
    if np.any(pbc):
        box = np.diag([4.0, 0.0, 4.4])
        atoms.cell[1] = [40.0, 9.0, -30.0]
        np.testing.assert_allclose(predicted(model, atoms)[0], expected, rtol=1e-12)
        bound = bind(model, atoms)
        for same in (np.diag(box), np.diag([4.0, 77.0, 4.4]), atoms.cell.array.T):
            np.testing.assert_array_equal(bound.cell(same), atoms.cell.array)
        turned = atoms.cell.array.copy()
        turned[0, 2] = 3.0
        with pytest.raises(InputError, match="its rows are the lattice vectors"):
            bind(model, Atoms(atoms, cell=turned)).cell(turned * [[1], [0], [1]])
    neighbor_fn, energy_fn = jles.jax_md.neighbor_list(model, atoms)
    neighbors = neighbor_fn.allocate(atoms.positions, box=box)
    assert not neighbors.did_buffer_overflow
    energy, gradient = jax.jit(jax.value_and_grad(energy_fn))(
        jnp.asarray(atoms.positions), neighbor=neighbors, box=box
    )
    np.testing.assert_allclose(energy, expected, rtol=1e-12)
    np.testing.assert_allclose(-gradient, forces, atol=1e-10)


def test_a_slab_that_grows_is_summed_in_a_higher_cell(model):
    """In any vacuum, and whichever positions the functions were bound to."""
    thin = rattled(1, count=8, cell=np.diag([4.0, 60.0, 4.4]), pbc=(True, False, True))
    thin.positions[:, 1] *= 0.1
    thick = thin.copy()
    thick.positions[::3, 1] += 30.0
    neighbor_fn, energy_fn = jles.jax_md.neighbor_list(model, thin)
    neighbors = neighbor_fn.allocate(thin.positions)
    kept = neighbors.update(jnp.asarray(thin.positions))
    assert not kept.did_buffer_overflow
    assert kept.update(jnp.asarray(thick.positions)).did_buffer_overflow
    neighbors = neighbor_fn.allocate(thick.positions)
    found = jax.jit(energy_fn)(jnp.asarray(thick.positions), neighbor=neighbors)
    np.testing.assert_allclose(found, predicted(model, thick)[0], rtol=1e-12)


def test_a_field_and_wrapped_positions_change_nothing_that_they_should_not(model, door, update):
    """Atoms that leave the cell may be wrapped at any time, before the list is made again."""
    neighbor_fn, _, of_positions = door
    atoms, field = crystal(), jnp.array([0.1, -0.2, 0.3])
    neighbors = neighbor_fn.allocate(atoms.positions)
    rng = np.random.default_rng(0)
    R = atoms.positions + rng.uniform(-0.1, 0.1, (8, 3))
    away = R + rng.integers(-3, 4, (8, 3)) @ atoms.cell.array
    atoms.positions = R
    _, forces = predicted(model, atoms, field=np.asarray(field))
    for places in (R, away):
        updated = update(places, neighbors)
        assert updated.reference_position is not None
        np.testing.assert_array_equal(updated.reference_position, crystal().positions)
        _, gradient = of_positions(jnp.asarray(places), neighbor=updated, field=field)
        np.testing.assert_allclose(-gradient, forces, atol=1e-10)


def test_an_updated_list_is_that_of_a_new_allocation(door):
    neighbor_fn, _, _ = door
    first = neighbor_fn.allocate(crystal().positions, extra_capacity=30)
    update = jax.jit(lambda R, neighbors: neighbors.update(R))
    for seed in range(1, 4):
        R = crystal(seed).positions + 0.3 * seed
        assert pairs(update(R, first)) == pairs(neighbor_fn.allocate(R))
    # A displacement of less than half the skin keeps the list.
    R = crystal().positions
    kept = update(R + np.array([0.2, 0.0, 0.0]) * (np.arange(8) == 3)[:, None], first)
    np.testing.assert_array_equal(kept.reference_position, R)


def test_a_list_that_is_too_small_says_so_and_allocation_mends_it(model, door, update):
    neighbor_fn, _, of_positions = door
    atoms = crystal()
    spread = atoms.cell.array.T * 1.6
    neighbors = neighbor_fn.allocate(1.6 * atoms.positions, box=spread)
    assert not neighbors.did_buffer_overflow
    R = jnp.asarray(atoms.positions)
    neighbors = update(R, neighbors)
    assert neighbors.did_buffer_overflow
    assert update(R, neighbors).did_buffer_overflow, "until it is allocated again"
    energy, gradient = of_positions(R, neighbor=neighbors)
    assert np.isnan(energy)
    assert np.isnan(gradient).all()
    neighbors = neighbor_fn.allocate(R)
    assert not update(R, neighbors).did_buffer_overflow
    energy, _ = of_positions(R, neighbor=neighbors)
    np.testing.assert_allclose(energy, predicted(model, atoms)[0], rtol=1e-12)


def test_too_few_slots_within_the_cutoff_and_too_few_wavevectors_are_reported(door, update):
    neighbor_fn, _, of_positions = door
    R = jnp.asarray(crystal().positions)
    neighbors = neighbor_fn.allocate(R)
    fewer = dataclasses.replace(neighbors, plan=neighbors.plan._replace(near=5))
    assert update(R, fewer).did_buffer_overflow
    assert np.isnan(of_positions(R, neighbor=fewer)[0])
    longer = crystal().cell.array.T @ np.diag([1.0, 1.0, 1.7])
    assert update(R, neighbors, box=longer).did_buffer_overflow


def test_the_list_is_that_of_a_host_search_and_has_the_interface_of_jax_md(door):
    neighbor_fn, _, _ = door
    atoms = crystal()
    neighbors = neighbor_fn.allocate(atoms.positions)
    table = find_neighbors(atoms.positions, atoms.cell.array, True, 3.0 + SKIN)
    assert pairs(neighbors) == pairs(table)
    count = np.sum(neighbors.idx < 8)
    assert count == np.sum(table.mask)
    assert neighbors.max_occupancy == neighbors.idx.shape[1]
    allocate, update = neighbor_fn
    assert (allocate, update) == (neighbor_fn.allocate, neighbor_fn.update)


@pytest.mark.long
def test_a_box_is_that_of_jax_md(model, door):
    """Three edges, or a matrix whose columns are lattice vectors."""
    neighbor_fn, _, of_positions = door
    atoms = crystal()
    strain = np.eye(3) + np.array([[0.02, 0.01, 0.0], [0.01, -0.03, 0.0], [0.0, 0.0, 0.02]])
    for cell, box in (
        (atoms.cell.array @ strain, (atoms.cell.array @ strain).T),
        (np.diag([4.3, 4.5, 4.8]), np.array([4.3, 4.5, 4.8])),
        (4.5 * np.eye(3), 4.5),
    ):
        atoms.set_cell(cell, scale_atoms=True)
        neighbors = neighbor_fn.allocate(atoms.positions, box=box)
        energy, gradient = of_positions(
            jnp.asarray(atoms.positions), neighbor=neighbors, box=jnp.asarray(box)
        )
        expected, forces = predicted(model, atoms)
        np.testing.assert_allclose(energy, expected, rtol=1e-12)
        np.testing.assert_allclose(-gradient, forces, atol=1e-10)


def test_one_list_serves_many_copies(door):
    neighbor_fn, energy_fn, of_positions = door
    R = crystal().positions
    copies = jnp.asarray(R + np.random.default_rng(0).uniform(-0.05, 0.05, (3, 8, 3)))
    neighbors = neighbor_fn.allocate(R)
    together = jax.jit(jax.vmap(energy_fn))(copies, neighbor=tile(neighbors, 3))
    alone = [of_positions(copy, neighbor=neighbors)[0] for copy in copies]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    lists = jax.jit(jax.vmap(neighbors.update))(copies)
    assert not lists.did_buffer_overflow.any()


def tile(tree, count):
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tree)


def test_a_potential_takes_its_parameters_with_every_call(model):
    atoms = crystal()
    R = jnp.asarray(atoms.positions)
    neighbor_fn, energy_fn = jles.jax_md.neighbor_list(model.potential, atoms)
    neighbors = neighbor_fn.allocate(R)
    energy = jax.jit(energy_fn)(R, neighbor=neighbors, params=model.params)
    np.testing.assert_allclose(energy, predicted(model, atoms)[0], rtol=1e-12)
    with pytest.raises(InputError, match="give params="):
        energy_fn(R, neighbor=neighbors)


def test_mistakes_are_named(model, door):
    neighbor_fn, energy_fn, _ = door
    R = jnp.asarray(crystal().positions)
    neighbors = neighbor_fn.allocate(R)
    with pytest.raises(InputError, match="rows are the lattice vectors"):
        energy_fn(R, neighbor=neighbors, box=crystal().cell.array)
    with pytest.raises(InputError, match="'feild' is no argument"):
        energy_fn(R, neighbor=neighbors, feild=jnp.ones(3))
    with pytest.raises(InputError, match="give neighbor=neighbors"):
        energy_fn(R)
    with pytest.raises(InputError, match="outside of jit"):
        jax.jit(lambda r: neighbor_fn.allocate(r).index)(R)
    with pytest.raises(InputError, match="box has shape"):
        energy_fn(R, neighbor=neighbors, box=np.ones((2, 2)))
    with pytest.raises(InputError, match="takes a Model or a Potential, got str"):
        jles.jax_md.neighbor_list("runs/water", crystal())
    with pytest.raises(InputError, match="not ase.Atoms; read the file"):
        jles.jax_md.neighbor_list(model, "start.xyz")
    with pytest.raises(InputError, match="skin must be positive"):
        jles.jax_md.neighbor_list(model, crystal(), skin=0.0)
    with pytest.raises(InputError, match="has not seen"):
        jles.jax_md.neighbor_list(model, crystal(symbols=("H", "C")))
