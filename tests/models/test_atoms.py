"""Structures from ASE atoms, and the description of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.errors import InputError
from jles.models.potential import build_potential
from tests.support.small_systems import rattled, small_config, structure_of


@pytest.fixture(scope="module")
def potential():
    return build_potential(small_config())


@pytest.mark.parametrize("pbc", [True, False])
def test_the_structure_has_the_cutoff_the_sum_and_the_charge_of_model_and_atoms(potential, pbc):
    atoms = rattled(3, pbc=pbc)
    atoms.info["total_charge"] = 2.0
    options = potential.config.sum_options
    del options["k_max"]
    expected = structure_of(atoms, potential, **options)
    found = potential.structure(atoms)
    assert found.plan == expected.plan
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(one, jax.Array)
        np.testing.assert_array_equal(one, other)
    assert found.total_charge == 2.0
    assert potential.structure(atoms, total_charge=-1.0).total_charge == -1.0


def test_the_dtype_is_the_default_of_jax_or_the_given_one(potential):
    atoms = rattled(3, pbc=False)
    assert potential.structure(atoms).positions.dtype == jnp.float64
    assert potential.structure(atoms, dtype="float32").positions.dtype == jnp.float32


def test_unknown_elements_and_charges_are_refused(potential):
    with pytest.raises(InputError, match=r"has not seen C, N; it knows H, O$"):
        potential.structure(rattled(3, symbols=("C", "H", "N")))
    atoms = rattled(3)
    atoms.info["total_charge"] = "two"
    with pytest.raises(InputError, match="^'total_charge' is 'two'; .* one number"):
        potential.structure(atoms)


def test_a_potential_is_described_in_a_few_lines(potential):
    text = str(potential)
    shapes = jax.eval_shape(potential.init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    for words in ("cace", "H, O", "receptive field 3 angstrom", "energy, charges", str(count)):
        assert words in text
    assert "long range: none" in str(build_potential(small_config(charges=None)))


def test_a_dict_with_the_keys_of_a_config_makes_the_same_potential():
    config = {"elements": ["H", "O"], "backbone": {"cutoff": 3.0}}
    assert build_potential(config).config.backbone.cutoff == 3.0
    with pytest.raises(InputError, match="did you mean 'cutoff'"):
        build_potential({"elements": ["H"], "backbone": {"cutof": 3.0}})
