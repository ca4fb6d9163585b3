"""The assembled potential: derivatives, batches, constraints, precision."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from jles.errors import InputError
from jles.models.config import DirectCharges, ElectrostaticsConfig
from jles.models.potential import build_potential, without_long_range
from jles.observables.stress import energy_and_forces
from jles.structures.batch import empty_structure, size_of, stack
from tests.support.coulomb_oracles import central_difference, dense_ewald
from tests.support.marks import long
from tests.support.messages import message_of
from tests.support.small_systems import (
    TRICLINIC,
    of_structure,
    random_orthogonal,
    rattled,
    relative,
    roomy_structure,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

MESSAGES = small_backbone(l_max=1, body_order=2, layers=1)


@pytest.fixture(scope="module")
def model():
    """Message passing, two latent channels, normalized features."""
    charges = DirectCharges(hidden=(4,), channels=2)
    return small_model(small_config(charges=charges, backbone=MESSAGES))


@pytest.fixture(scope="module")
def energy_forces(model):
    return of_structure(model, energy_and_forces)


@pytest.fixture(scope="module")
def single(energy_forces):
    """Energy and forces of one structure, compiled."""
    return jax.jit(energy_forces)


@pytest.fixture(scope="module")
def parts_and_charges(model):
    potential, params = model
    return jax.jit(lambda s: (potential.parts_fn(params, s), potential.charges_fn(params, s)))


SYSTEMS = {
    "crystal": rattled(0),
    "cluster": rattled(1, count=5, pbc=False),
    "left-handed": rattled(2, count=4, cell=TRICLINIC[[1, 0, 2]]),
}


def test_a_mixed_batch_gives_what_singles_give(model, energy_forces, single):
    potential, _ = model
    structures = [structure_of(atoms, potential) for atoms in SYSTEMS.values()]
    filler = empty_structure(size_of(structures[0]), np.float64)
    energies, forces = jax.jit(jax.vmap(energy_forces))(stack([*structures, filler]))
    for n, atoms in enumerate(SYSTEMS.values()):
        energy, force = single(roomy_structure(atoms, potential))
        count = len(atoms)
        np.testing.assert_allclose(energies[n], energy, rtol=1e-10)
        np.testing.assert_allclose(forces[n, :count], force[:count], rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(forces[n, count:], 0.0)
        np.testing.assert_array_equal(force[count:], 0.0)
    assert energies[-1] == 0.0
    np.testing.assert_array_equal(forces[-1], 0.0)


@pytest.mark.parametrize("name", ["crystal", long("cluster")])
def test_neither_compiling_nor_padding_changes_the_energy(name):
    """Without padding, a crystal plans no cluster sum and a cluster no lattice sum."""
    # Every operation is compiled by itself: few of them.
    backbone = small_backbone(l_max=0, body_order=1, layers=1, n_radial_basis=1)
    potential, params = small_model(small_config(backbone=backbone))
    bare = structure_of(SYSTEMS[name], potential)
    assert bare.plan.periodic == (name != "cluster")
    assert bare.plan.cluster == (name == "cluster")
    roomy = roomy_structure(SYSTEMS[name], potential)
    eager = potential.energy_fn(params, bare)
    np.testing.assert_allclose(jax.jit(potential.energy_fn)(params, roomy), eager, rtol=1e-12)


@pytest.mark.parametrize("name", SYSTEMS)
def test_forces_are_finite_differences_and_sum_to_zero(model, single, name, rng):
    potential, _ = model
    structure = roomy_structure(SYSTEMS[name], potential)
    _, forces = single(structure)
    direction = rng.normal(size=(8, 3))
    slope = central_difference(
        lambda positions: single(replace(structure, positions=positions))[0],
        structure.positions,
        direction,
    )
    np.testing.assert_allclose(-np.vdot(forces, direction), slope, rtol=1e-7)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-11 * np.abs(forces).sum())


@given(seed=st.integers(0, 10**6))
def test_the_energy_is_a_scalar_and_forces_turn_with_the_crystal(model, single, seed):
    """Rotations and reflections, any order of atoms, atoms any number of cells away."""
    potential, _ = model
    rng = np.random.default_rng(seed)
    atoms, turn = rattled(seed), random_orthogonal(seed)
    order = rng.permutation(len(atoms))
    moved = atoms[order]
    moved.positions += rng.integers(-3, 4, (6, 3)) @ atoms.cell.array + rng.normal(size=3)
    moved.set_cell(atoms.cell.array @ turn)
    moved.positions = moved.positions @ turn
    energy, forces = single(roomy_structure(atoms, potential))
    moved_energy, moved_forces = single(roomy_structure(moved, potential))
    np.testing.assert_allclose(moved_energy, energy, rtol=1e-8)
    assert relative(moved_forces[:6], forces[order] @ turn) < 1e-7


def test_energy_of_a_supercell_is_a_multiple(model, single):
    """Which vectors count is decided by k_max, not by the size of the cell."""
    potential, _ = model
    atoms = rattled(5, count=4)
    one, two = (single(roomy_structure(a, potential))[0] for a in (atoms, atoms * (1, 2, 1)))
    np.testing.assert_allclose(two, 2.0 * one, rtol=1e-9)


def test_long_range_energy_is_the_lattice_sum_of_the_charges(model, single, parts_and_charges):
    """Each channel by itself, summed, against a double loop over k and atoms."""
    potential, _ = model
    atoms = SYSTEMS["crystal"]
    structure = roomy_structure(atoms, potential)
    parts, charges = parts_and_charges(structure)
    assert charges.shape == (8, 2)
    np.testing.assert_array_equal(charges[6:], 0.0)
    expected = sum(
        dense_ewald(column, atoms.positions, atoms.cell.array, 1.0, np.pi, "smooth")
        for column in np.asarray(charges[:6]).T
    )
    np.testing.assert_allclose(parts.long_range, expected, rtol=1e-10)
    energy, _ = single(structure)
    np.testing.assert_allclose(parts.short_range + parts.long_range, energy, rtol=1e-12)


def test_without_charges_there_is_no_long_range_part(model, parts_and_charges):
    potential, params = model
    bare = build_potential(without_long_range(potential.config))
    atoms = SYSTEMS["crystal"]
    own = jax.jit(lambda s: (bare.parts_fn(params, s), bare.charges_fn(params, s)))
    parts, charges = own(structure_of(atoms, bare))
    assert parts.long_range == 0.0
    assert charges.shape == (6, 0)
    with_charges, _ = parts_and_charges(roomy_structure(atoms, potential))
    np.testing.assert_allclose(parts.short_range, with_charges.short_range, rtol=1e-12)
    assert "charges" not in jax.eval_shape(bare.init, jax.random.key(0))


def test_a_structure_without_a_plan_is_refused(model):
    potential, params = model
    bare = structure_of(rattled(6), build_potential(without_long_range(potential.config)))
    with pytest.raises(InputError, match="k_max"):
        jax.eval_shape(potential.energy_fn, params, bare)


@pytest.mark.parametrize("channels", [1, 2])
def test_shift_makes_the_charges_of_each_structure_sum_to_its_total(channels):
    charges = DirectCharges(hidden=(4,), channels=channels, total="shift")
    backbone = small_backbone(l_max=1, body_order=2)
    potential, params = small_model(small_config(charges=charges, backbone=backbone))
    totals = (0.0, -1.0, 2.0, 0.5)
    structures = []
    for n, total in enumerate(totals):
        atoms = rattled(n, count=2 + n, pbc=n % 2 == 0)
        atoms.info["total_charge"] = total
        structures.append(structure_of(atoms, potential))
    batch = stack([*structures, empty_structure(size_of(structures[0]), np.float64)])
    found = np.asarray(jax.jit(jax.vmap(potential.charges_fn, (None, 0)))(params, batch))
    np.testing.assert_allclose(found.sum(axis=(1, 2)), [*totals, 0.0], atol=1e-13)
    np.testing.assert_array_equal(found[~np.asarray(batch.mask)], 0.0)
    unconstrained = potential.config.replace(charges=charges.replace(total="free"))
    free = jax.jit(build_potential(unconstrained).charges_fn)(params, structures[2])
    added = found[2, :4] - free
    np.testing.assert_allclose(added, np.broadcast_to(added[0, 0], added.shape), atol=1e-13)


def force_loss(potential, batch, labels):
    """A loss of energies and forces as in training."""

    def one(params, structure, target):
        energy, forces = energy_and_forces(
            lambda moved: potential.energy_fn(params, moved), structure
        )
        error = jnp.where(structure.mask[:, None], forces - target, 0.0)
        return energy**2 + jnp.sum(error**2)

    return jax.jit(lambda params: jnp.sum(jax.vmap(one, (None, 0, 0))(params, batch, labels)))


@pytest.fixture(scope="module")
def loss_and_gradient(model):
    """A loss of energies and forces of crystals, a cluster and filler, and its gradient."""
    potential, params = model
    structures = [structure_of(atoms, potential) for atoms in SYSTEMS.values()]
    batch = stack([*structures, empty_structure(size_of(structures[0]), np.float64)])
    target = np.random.default_rng(0).normal(size=batch.positions.shape)
    loss = force_loss(potential, batch, target)
    return loss, jax.jit(jax.grad(loss))(params)


@pytest.mark.parametrize("part", ["backbone", "energy", "charges"])
def test_gradient_of_a_force_loss_is_finite_differences(model, loss_and_gradient, part, rng):
    _, params = model
    loss, gradient = loss_and_gradient
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params[part])

    def along(t):
        moved = jax.tree.map(lambda leaf, step: leaf + t * step, params[part], direction)
        return float(loss(params | {part: moved}))

    products = jax.tree.map(np.vdot, gradient[part], direction)
    slope = sum(jax.tree.leaves(products))
    np.testing.assert_allclose(slope, central_difference(along, 0.0, 1.0, 2e-5), rtol=1e-6)


def test_every_parameter_has_a_gradient_and_the_feature_statistics_none(loss_and_gradient):
    _, gradient = loss_and_gradient
    for leaf in jax.tree.leaves(gradient.pop("features")):
        np.testing.assert_array_equal(leaf, 0.0)
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    assert len(leaves) > 15
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), name
        # A bias of the last layer shifts all energies but no force; energies are in the loss.
        assert np.abs(leaf).max() > 0.0, name


def test_float32_follows_float64_however_far_the_atoms_are(model, single):
    potential, params = model
    atoms = rattled(7)
    atoms.positions += 1000 * atoms.cell.array[0]
    energy, forces = single(roomy_structure(atoms, potential))
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    energy32, forces32 = jax.jit(
        lambda s: energy_and_forces(lambda moved: potential.energy_fn(params, moved), s)
    )(roomy_structure(atoms, potential, dtype=np.float32))
    assert energy32.dtype == forces32.dtype == np.float32
    np.testing.assert_allclose(energy32, energy, rtol=2e-5)
    assert relative(forces32, forces) < 1e-4


def test_the_dipole_of_a_cluster_is_that_of_its_charges_about_their_mean(model, rng):
    potential, params = model
    atoms = rattled(8, pbc=False)
    both = jax.jit(lambda s: (potential.dipole_fn(params, s), potential.charges_fn(params, s)))
    dipole, charges = both(roomy_structure(atoms, potential))
    charges = charges.sum(axis=1)[:6]
    np.testing.assert_allclose(dipole, (charges - charges.mean()) @ atoms.positions, rtol=1e-10)
    atoms.translate(rng.normal(size=3) * 10)
    moved, _ = both(roomy_structure(atoms, potential))
    np.testing.assert_allclose(moved, dipole, rtol=1e-8, atol=1e-9)


def test_initial_parameters_depend_on_the_key_and_their_dtype_is_kept():
    potential = build_potential(small_config(backbone=small_backbone(l_max=1)))
    init = jax.jit(potential.init, static_argnums=1)
    first, again, other = (init(jax.random.key(seed), jnp.float32) for seed in (0, 0, 1))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(first))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, again))
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, other))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: small_config(elements=()), "elements"),
        (lambda: small_config(elements=("H", "Xx")), "Xx"),
        (lambda: small_config(elements=("H", "X")), "X"),
        (lambda: small_config(elements=("H", "O", "H")), "twice"),
        (lambda: small_config(element_energies={"Qq": 1.0}), "Qq"),
        (lambda: ElectrostaticsConfig(sigma=0.0), "sigma"),
        (lambda: ElectrostaticsConfig(k_max=-1.0), "k_max"),
        (lambda: DirectCharges(channels=0), "channels"),
    ],
)
def test_impossible_models_are_refused(make, word):
    with pytest.raises(InputError, match=word):
        make()


def test_every_function_names_atoms_that_are_given_in_place_of_a_structure(monkeypatch):
    # The type check of tests would come first; users do not have it.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    potential, field = build_potential(small_config()), np.zeros(3)
    functions = [getattr(potential, f"{name}_fn") for name in ("energy", "dipole", "charges")]
    functions += [potential.moments_fn, potential.factor_fn, potential.features_fn]
    for function in (*functions, lambda *given: potential.coupling_fn(*given, field)):
        message = message_of(function, {}, Atoms("H"))
        assert message.startswith("structure: is of type Atoms; pass potential.structure")
