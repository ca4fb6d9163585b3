"""Laws of the CACE backbone: symmetries, padding, smoothness, derivatives, bad settings."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.errors import InputError
from jles.structures.batch import pad_structure, size_of
from jles.structures.structure import neighbor_vectors
from tests.support.small_systems import (
    rattled,
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


def test_a_lonely_atom_has_no_features(features_of):
    np.testing.assert_array_equal(features_of(rattled(0, count=1, pbc=False)), 0.0)


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
