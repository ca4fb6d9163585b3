"""Laws of the CACE backbone: symmetries, padding, smoothness, derivatives, bad settings."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.errors import InputError
from jles.models.backbones.cace import n_features
from jles.structures.batch import pad_structure, size_of
from jles.structures.structure import neighbor_vectors
from tests.support.coulomb_oracles import central_difference
from tests.support.small_systems import (
    TRICLINIC,
    random_orthogonal,
    rattled,
    relative,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)


@pytest.fixture(scope="module")
def full():
    """All kinds of messages with all their options."""
    backbone = small_backbone(layers=1, bchi_per_l=True)
    return small_model(small_config(backbone=backbone, charges=None))


@pytest.fixture(scope="module")
def features_of(full):
    potential, params = full
    features_fn = jax.jit(lambda *given: potential.features_fn(*given).invariants)

    def features(atoms, size=None):
        structure = structure_of(atoms, potential)
        own = size_of(structure)
        size = size or own._replace(neighbors=max(60, own.neighbors))
        return np.asarray(features_fn(params, pad_structure(structure, size)))[: len(atoms)]

    return features


@given(seed=st.integers(0, 10**6))
def test_features_do_not_feel_rotation_reflection_translation_or_wrapping(features_of, seed):
    rng = np.random.default_rng(seed)
    atoms = rattled(seed)
    moved = atoms.copy()
    turn = random_orthogonal(seed)
    cells_away = rng.integers(-3, 4, (len(atoms), 3)) @ atoms.cell.array
    moved.set_cell(atoms.cell.array @ turn)
    moved.positions = (atoms.positions + cells_away + rng.normal(size=3)) @ turn
    assert relative(features_of(moved), features_of(atoms)) < 1e-9


def test_features_follow_a_permutation_of_the_atoms(features_of, rng):
    atoms, order = rattled(1), rng.permutation(6)
    np.testing.assert_allclose(
        features_of(atoms[order]), features_of(atoms)[order], rtol=1e-9, atol=1e-12
    )


def test_features_of_a_supercell_are_those_of_the_cell(features_of):
    atoms = rattled(2, count=3)
    np.testing.assert_allclose(
        features_of(atoms * (2, 1, 1)),
        np.tile(features_of(atoms), (2, 1)),
        rtol=1e-9,
        atol=1e-11,
    )


def test_another_choice_of_lattice_vectors_is_the_same_crystal(features_of):
    """Rows exchanged (a left-handed cell), and one row added to another."""
    atoms = rattled(4)
    for change in ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [1, 1, 0], [0, -1, 1]]):
        other = atoms.copy()
        other.set_cell(np.array(change) @ atoms.cell.array)
        np.testing.assert_allclose(
            features_of(other), features_of(atoms), rtol=1e-9, atol=1e-11
        )


def test_a_lonely_atom_has_no_features(features_of):
    np.testing.assert_array_equal(features_of(rattled(0, count=1, pbc=False)), 0.0)


def test_features_are_smooth_where_a_neighbour_crosses_the_cutoff(full):
    """Value, slope and curvature along a path do not jump at the cutoff."""
    potential, params = full
    atoms = rattled(5, count=3, pbc=False, cell=0.5 * TRICLINIC)
    atoms.positions[2] = atoms.positions[0] + [3.0, 0.0, 0.0]
    structure = structure_of(atoms, potential)
    # Slots for all pairs: a pair beyond the cutoff must not count, whoever lists it.
    index = np.array([[1, 2], [0, 2], [0, 1]], np.int32)
    structure = replace(
        structure,
        neighbor_index=jnp.asarray(index),
        neighbor_shift=jnp.zeros((3, 2, 3), jnp.int16),
        neighbor_mask=jnp.ones((3, 2), bool),
    )

    def along(shift):
        positions = structure.positions.at[2, 0].add(shift)
        moved = replace(structure, positions=positions)
        features = potential.features_fn(params, moved).invariants
        return jnp.sum(jnp.sin(features))

    @jax.jit
    def derivatives(shift):
        def slope(x):
            return jax.jvp(along, (x,), (jnp.ones_like(x),))

        (value, first), (_, second) = jax.jvp(slope, (shift,), (jnp.ones_like(shift),))
        return jnp.stack([value, first, second])

    typical = np.abs(derivatives(jnp.asarray(-0.6)))
    before, after = derivatives(jnp.asarray(-1e-5)), derivatives(jnp.asarray(1e-5))
    assert np.isfinite([before, after]).all()
    assert (np.abs(before - after) < 1e-3 * typical).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padding_gives_no_nan_in_values_or_gradients(dtype):
    """Decay rates of either sign: the fillers of padding are far outside the cutoff."""
    backbone = small_backbone(layers=1, l_max=1, body_order=2)
    potential, params = small_model(small_config(backbone=backbone, charges=None), 7, dtype)
    rates = params["backbone"]["ar_decay_0_0"]
    assert rates.min() < -0.3 < 0.3 < rates.max()
    bare = structure_of(rattled(6), potential, dtype=dtype)
    size = size_of(bare)
    padded = pad_structure(bare, size._replace(atoms=9, neighbors=size.neighbors + 4))

    @jax.jit
    def both(params, structure):
        def total(params, positions):
            moved = replace(structure, positions=positions)
            return jnp.sum(jnp.tanh(potential.features_fn(params, moved).invariants[:6]))

        return jax.value_and_grad(total, argnums=(0, 1))(params, structure.positions)

    value, (slopes, force) = both(params, padded)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, slopes, force)))
    assert value.dtype == dtype
    np.testing.assert_array_equal(force[6:], 0.0)
    assert np.abs(force[:6]).min() > 0.0


def test_vectors_of_padding_are_far_away(full):
    potential, _ = full
    bare = structure_of(rattled(6), potential)
    padded = pad_structure(bare, size_of(bare)._replace(atoms=8))
    lengths = np.linalg.norm(neighbor_vectors(padded), axis=-1)
    assert lengths[~padded.neighbor_mask].min() > 100.0
    assert lengths[padded.neighbor_mask].max() < 3.0


def test_a_derivative_along_a_path_equals_finite_differences(full, rng):
    potential, params = full
    structure = structure_of(rattled(8), potential)
    weights = rng.normal(size=(6, n_features(potential.config.backbone)))
    direction = rng.normal(size=(6, 3))

    @jax.jit
    def total(positions):
        moved = replace(structure, positions=positions)
        features = potential.features_fn(params, moved).invariants
        return jnp.sum(weights * jnp.tanh(features))

    slope = np.vdot(jax.grad(total)(structure.positions), direction)
    expected = central_difference(total, structure.positions, direction, 1e-4)
    np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"cutoff": 0.0}, "cutoff"),
        ({"cutoff": math.nan}, "cutoff"),
        ({"n_rbf": 0}, "n_rbf"),
        ({"l_max": 5}, "l_max"),
        ({"body_order": 0}, "body_order"),
        ({"layers": -1}, "layers"),
        ({"envelope_power": 0.0}, "envelope_power"),
        ({"envelope": "switch"}, "envelope_onset"),
        ({"envelope": "switch", "envelope_onset": 3.0}, "envelope_onset"),
        ({"layers": 1, "messages": ()}, "messages"),
    ],
)
def test_impossible_settings_are_refused(changes, word):
    with pytest.raises(InputError, match=word):
        small_backbone(**changes)
