"""What holds for every backbone: symmetries, padding, smoothness, derivatives, batches.

A new backbone is one more entry of `BACKBONES`.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.models.backbones.allegro_config import AllegroConfig
from jles.models.backbones.mace_config import MaceConfig
from jles.models.backbones.nequip_config import NequipConfig
from jles.models.backbones.painn_config import PainnConfig
from jles.models.config import ModelConfig
from jles.models.potential import build_potential
from jles.models.state_config import StateConfig
from jles.observables.born_charges import born_charges
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import pad_structure, size_of, stack
from tests.support.coulomb_oracles import central_difference
from tests.support.foreign_toy import toy_config
from tests.support.marks import long, long_unless
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

BACKBONES = {
    "cace": small_backbone(cutoff=2.8, layers=1, body_order=2),
    "mace": MaceConfig(
        2.8,
        hidden_irreps="2x0e + 2x1o",
        last_irreps="2x0e + 2x1o + 2x2e",
        max_ell=2,
        correlation=2,
        num_bessel=3,
        radial_MLP=(4,),
        avg_num_neighbors=2.0,
    ),
    "nequip": NequipConfig(
        2.8,
        num_layers=2,
        l_max=2,
        last_l_max=2,
        num_features=2,
        num_bessels=3,
        invariant_layers=1,
        invariant_neurons=4,
        avg_num_neighbors=2.0,
    ),
    "allegro": AllegroConfig(
        2.8,
        num_scalar_features=3,
        num_tensor_features=2,
        scalar_embed_mlp_hidden_layers_depth=1,
        scalar_embed_mlp_hidden_layers_width=4,
        allegro_mlp_hidden_layers_depth=1,
        allegro_mlp_hidden_layers_width=4,
        num_bessels=3,
        avg_num_neighbors=5.0,
    ),
    "painn": PainnConfig(
        2.8, n_atom_basis=3, n_interactions=2, n_rbf=3, degree=2, avg_num_neighbors=2.0
    ),
    "foreign": toy_config(layers=2, options={"width": 3, "steps": 1}),
}


def _unit_weights(tree):
    """Weights of `small_model`, which have the spread 0.6, with the spread one."""
    return {
        name: _unit_weights(value) if isinstance(value, dict) else value / 0.6
        for name, value in tree.items()
        if name != "bessel_weights"
    } | {name: value for name, value in tree.items() if name == "bessel_weights"}


class Subject:
    """A backbone in a model of charges, with functions that are compiled once."""

    def __init__(self, kind):
        self.config = small_config(backbone=BACKBONES[kind])
        self.potential, self.params = small_model(self.config)
        if kind in ("mace", "nequip", "painn", "allegro"):
            # Their weights are of order one; smaller ones leave nothing of products of them.
            self.params["backbone"] = _unit_weights(self.params["backbone"])
        self.short_range = build_potential(self.config.replace(charges=None))
        self.features_fn = jax.jit(self.potential.features_fn)
        self.slopes_fn = jax.jit(jax.value_and_grad(self._total, (0, 1)))
        self.born_fn = jax.jit(self._born)

    def _total(self, params, positions, structure):
        """The energy and a number that every feature of every atom changes."""
        moved = replace(structure, positions=positions)
        parts = jax.tree.leaves(self.short_range.features_fn(params, moved))
        return self.short_range.energy_fn(params, moved) + sum(
            jnp.sum(jnp.sin(part), where=self._at_atoms(part, moved)) for part in parts
        )

    @staticmethod
    def _at_atoms(part, structure):
        return structure.mask.reshape(-1, *[1] * (part.ndim - 1))

    def _born(self, structure):
        coupling = Evaluation(self.potential, self.params, structure).coupling
        return born_charges(coupling, structure.positions)

    def structure(self, atoms, size=(6, 60), dtype=np.float64):
        """Padded to one number of atoms and neighbours."""
        bare = structure_of(atoms, self.potential, dtype=dtype)
        padded = size_of(bare)._replace(atoms=size[0], neighbors=size[1])
        return pad_structure(bare, padded)

    def features(self, atoms, size=(6, 60)):
        """Without padding and without what the backbone does not have."""
        found = self.features_fn(self.params, self.structure(atoms, size))
        return [np.asarray(part)[: len(atoms)] for part in found if part is not None]


@pytest.fixture(scope="module", params=BACKBONES)
def subject(request):
    return Subject(request.param)


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < 1e-9


def test_features_turn_with_the_atoms_and_feel_no_translation(subject, rng):
    for seed in range(4):
        atoms, turn = rattled(seed), random_orthogonal(seed)
        moved = atoms.copy()
        cells_away = rng.integers(-3, 4, (len(atoms), 3)) @ atoms.cell.array
        moved.set_cell(atoms.cell.array @ turn)
        moved.positions = (atoms.positions + cells_away + rng.normal(size=3)) @ turn
        invariants, vectors, tensors, *energies = subject.features(atoms)
        turned = np.einsum("xa,yb,itxy->itab", turn, turn, tensors)
        same(subject.features(moved), (invariants, vectors @ turn, turned, *energies))


def test_features_follow_a_permutation_of_the_atoms(subject, rng):
    atoms, order = rattled(1), rng.permutation(6)
    expected = [part[order] for part in subject.features(atoms)]
    same(subject.features(atoms[order]), expected)


def test_features_belong_to_the_crystal_not_to_its_cell(subject):
    """A supercell, exchanged lattice vectors (left-handed), and a sheared cell."""
    atoms = rattled(2, count=3)
    features = subject.features(atoms)
    same(subject.features(atoms * (2, 1, 1)), [np.concatenate([f, f]) for f in features])
    for change in ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [1, 1, 0], [0, -1, 1]]):
        other = atoms.copy()
        other.set_cell(np.array(change) @ atoms.cell.array)
        same(subject.features(other), features)


def test_structures_of_one_size_share_a_compilation(subject):
    subject.features(rattled(1))
    compiled = subject.features_fn._cache_size()
    subject.features(rattled(2, count=4))
    subject.features(rattled(3, count=5))
    assert subject.features_fn._cache_size() == compiled


def test_features_are_smooth_where_a_neighbour_crosses_the_cutoff(subject):
    """Value, slope and curvature along a path do not jump at the cutoff."""
    potential, params = subject.potential, subject.params
    atoms = rattled(5, count=3, pbc=False, cell=0.5 * TRICLINIC)
    cutoff = potential.config.backbone.cutoff
    atoms.positions[2] = atoms.positions[0] + [cutoff, 0.0, 0.0]
    structure = structure_of(atoms, potential)
    # Slots for all pairs: a pair beyond the cutoff must not count, whoever lists it.
    structure = replace(
        structure,
        neighbor_index=jnp.array([[1, 2], [0, 2], [0, 1]], jnp.int32),
        neighbor_shift=jnp.zeros((3, 2, 3), jnp.int16),
        neighbor_mask=jnp.ones((3, 2), bool),
    )

    def along(shift):
        positions = structure.positions.at[2, 0].add(shift)
        moved = replace(structure, positions=positions)
        parts = jax.tree.leaves(potential.features_fn(params, moved))
        return sum(jnp.sum(jnp.sin(part)) for part in parts)

    @jax.jit
    def derivatives(shift):
        def slope(x):
            return jax.jvp(along, (x,), (jnp.ones_like(x),))

        (value, first), (_, second) = jax.jvp(slope, (shift,), (jnp.ones_like(shift),))
        return jnp.stack([value, first, second])

    places = (-0.6, -0.3, -0.1)
    typical = np.max([np.abs(derivatives(jnp.asarray(place))) for place in places], axis=0)
    before, after = derivatives(jnp.asarray(-1e-5)), derivatives(jnp.asarray(1e-5))
    assert np.isfinite([before, after]).all()
    assert (np.abs(before - after) < 1e-3 * typical).all()


@pytest.mark.parametrize("dtype", [long(np.float32), np.float64])
def test_padding_changes_nothing_and_derivatives_are_right(subject, dtype, rng):
    """Energy, forces and gradients by parameters, in both precisions."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), subject.params)
    atoms = rattled(8)
    same(subject.features(atoms, (9, 64)), subject.features(atoms))
    padded = subject.structure(atoms, (9, 64), dtype)
    energy, (slopes, force) = subject.slopes_fn(params, padded.positions, padded)
    leaves = jax.tree.leaves((energy, slopes, force))
    assert all(leaf.dtype == dtype and np.isfinite(leaf).all() for leaf in leaves)
    np.testing.assert_array_equal(force[6:], 0.0)
    for path, slope in jax.tree.leaves_with_path(slopes["backbone"]):
        assert np.abs(slope).max() > 0.0, f"no gradient for {jax.tree_util.keystr(path)}"
    exact = subject.structure(atoms, (9, 64))
    params = subject.params
    _, (_, expected) = subject.slopes_fn(params, exact.positions, exact)
    assert relative(force, expected) < (1e-3 if dtype == np.float32 else 1e-12)
    if dtype == np.float64:
        direction = rng.normal(size=(9, 3))
        slope = central_difference(
            lambda x: subject.slopes_fn(params, x, exact)[0], exact.positions, direction, 1e-4
        )
        np.testing.assert_allclose(np.vdot(force, direction), slope, rtol=1e-6)


def test_a_batch_of_models_and_structures_is_a_loop(subject):
    potential, others = subject.short_range, small_model(subject.config, seed=1)[1]
    structures = [subject.structure(rattled(seed, count=3)) for seed in (1, 2)]
    committee = jax.tree.map(lambda *leaves: jnp.stack(leaves), subject.params, others)
    over_structures = jax.vmap(potential.energy_fn, (None, 0))
    energies = jax.jit(jax.vmap(over_structures, (0, None)))(committee, stack(structures))
    one = jax.jit(potential.energy_fn)
    for found, params in zip(energies, (subject.params, others), strict=True):
        np.testing.assert_allclose(found, [one(params, s) for s in structures], rtol=1e-10)


@pytest.mark.parametrize(
    "subject",
    [long_unless(name in ("cace", "painn"), name) for name in BACKBONES],
    indirect=True,
    scope="module",
)
def test_born_charges_are_those_of_a_large_replica(subject):
    """In the cell, in a supercell, and as displacements times changes of charges.

    The replica is wide enough that an atom sees no charge that two of its images change.
    """
    atoms = rattled(4, count=2)
    found = subject.born_fn(subject.structure(atoms, (4, 60)))[:2]
    twice = subject.born_fn(subject.structure(atoms * (2, 1, 1), (4, 60)))
    np.testing.assert_allclose(twice, np.concatenate([found, found]), rtol=0, atol=1e-10)

    replica = atoms * (3, 3, 3)
    structure = structure_of(replica, subject.potential)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(replica.cell.array), axis=0)
    assert heights.min() > 2.0 * subject.config.backbone.receptive_field

    def charges(moved):
        positions = structure.positions.at[:2].set(moved)
        moved = replace(structure, positions=positions)
        found = subject.potential.charges_fn(subject.params, moved)[:, 0]
        return found, found

    start = structure.positions[:2]
    flow, at_start = jax.jit(jax.jacfwd(charges, has_aux=True))(start)
    apart = (replica.positions[:, None] - np.asarray(start)) @ np.linalg.inv(replica.cell.array)
    apart = (apart - np.round(apart)) @ replica.cell.array
    expected = np.einsum("jia,jib->iab", apart, flow)
    expected += at_start[:2, None, None] * np.eye(3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert np.abs(expected[:, 0, 1]).max() > 1e-6


@pytest.mark.parametrize(
    "kind",
    [long_unless(kind in ("cace", "painn"), kind) for kind in BACKBONES if kind != "foreign"],
)
def test_charge_and_labels_are_embedded_with_the_elements(kind):
    """They change the features; padding and batches do not, nor does a state of zeros."""
    config = small_config(backbone=BACKBONES[kind], state=StateConfig(labels=(1, 3)))
    potential, params = small_model(config)
    features_fn = jax.jit(
        jax.vmap(
            lambda params, structure: jnp.concatenate(
                [
                    part.reshape(len(part), -1)
                    for part in potential.features_fn(params, structure)
                    if part is not None
                ],
                axis=1,
            ),
            (None, 0),
        )
    )
    batch = []
    for charge, label in ((0.0, 1), (0.5, 1), (0.5, 3)):
        atoms = rattled(6, count=3)
        atoms.info["total_charge"] = charge
        atoms.set_array("state", np.array([1, 1, label]))
        batch.append(potential.structure(atoms, np.float64))
    size = size_of(batch[0])
    larger = size._replace(atoms=5, neighbors=size.neighbors + 3)
    together = stack(batch)
    neutral, charged, other = features_fn(params, together)
    assert relative(charged, neutral) > 1e-4
    assert relative(other, charged) > 1e-4
    padded = features_fn(params, stack([pad_structure(one, larger) for one in batch]))[:, :3]
    same(padded, (neutral, charged, other))

    def total(state):
        merged = params | {"backbone": params["backbone"] | state}
        return jnp.sum(jnp.sin(features_fn(merged, together)))

    own = {
        name: leaf
        for name, leaf in params["backbone"].items()
        if name.endswith("_state") or name == "state_embedding"
    }
    assert own
    for name, slope in jax.grad(total)(own).items():
        assert np.abs(slope[:, 0]).max() > 0.0, name


def test_every_kind_of_backbone_is_tested():
    kinds = ModelConfig.__annotations__["backbone"]
    tags = {one.__struct_config__.tag for one in getattr(kinds, "__args__", (kinds,))}
    assert tags == set(BACKBONES)
