"""MACE against its definition: an oracle of loops over edges, tables, blocks, bad settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.errors import InputError
from jles.models.backbones import blocks, irrep_messages, neighbor_sums
from jles.models.backbones.envelope import envelope
from jles.models.backbones.irreps import (
    coupling,
    part,
    products,
    spherical_harmonics,
    symmetric_basis,
    to_tensors,
    to_vectors,
)
from jles.models.backbones.mace_config import MaceConfig
from jles.step_sizes import CPU
from tests.support.small_systems import (
    random_orthogonal,
    rattled,
    relative,
    small_config,
    small_model,
    structure_of,
)

SMALL = {
    "hidden_irreps": "2x0e + 2x1o",
    "max_ell": 2,
    "num_bessel": 3,
    "radial_MLP": (4,),
    "avg_num_neighbors": 5.0,
}


# --- tables -----------------------------------------------------------------------------------


def test_harmonics_of_degree_one_and_two_are_the_vector_and_its_tensor(rng):
    vectors = rng.normal(size=(5, 3))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    harmonics = spherical_harmonics(jnp.asarray(unit), 2)[..., None]
    np.testing.assert_allclose(to_vectors(harmonics[:, part(1)])[:, 0], np.sqrt(3) * unit)
    tensors = unit[:, :, None] * unit[:, None, :] - np.eye(3) / 3.0
    found = to_tensors(harmonics[:, part(2)])[:, 0]
    ratio = found[0, 0, 0] / tensors[0, 0, 0]
    assert ratio > 0.0
    np.testing.assert_allclose(found, ratio * tensors, atol=1e-12)


@pytest.mark.parametrize(("order", "paths"), [(1, (1, 1)), (2, (3, 2)), (3, (5, 5))])
def test_symmetric_couplings_are_complete_and_orthonormal(order, paths):
    """The numbers of couplings of 0e+1o+2e to degrees 0 and 1, from characters."""
    for l, many in enumerate(paths):
        basis = symmetric_basis(2, order, l)
        assert basis.shape[-2:] == (many, 2 * l + 1)
        flat = basis.reshape(-1, many * (2 * l + 1))
        np.testing.assert_allclose(flat.T @ flat, np.eye(many * (2 * l + 1)), atol=1e-9)
        np.testing.assert_allclose(basis, np.swapaxes(basis, 0, order - 1), atol=1e-9)


def test_products_of_distinct_monomials_are_those_of_all_components(rng):
    a = rng.normal(size=4)
    couplings = products(1, 1, 3)
    values = np.prod([factor @ np.append(a, 1.0) for factor in couplings.factors], axis=0)
    found = couplings.table @ values
    expected = [
        np.einsum(
            f"{'ijk'[:order]}pm,{','.join('ijk'[:order])}->pm",
            symmetric_basis(1, order, l),
            *[a] * order,
        ).ravel()
        for order, l in couplings.rows
    ]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-12)


# --- the whole network against an oracle ------------------------------------------------------


def silu(x):
    return x / (1.0 + np.exp(-x))


def oracle(params, config, structure):
    """Invariants of every layer: couplings for every edge, products over all components."""
    params = jax.tree.map(np.asarray, params)
    index, mask = np.asarray(structure.neighbor_index), np.asarray(structure.neighbor_mask)
    shifts = np.asarray(structure.neighbor_shift) @ np.asarray(structure.cell)
    places = np.asarray(structure.positions)
    species = (np.asarray(structure.numbers) > 1).astype(int)
    atoms, channels, elements = len(places), config.channels, len(params["embedding"])
    features = params["embedding"][species][:, None] / np.sqrt(elements)
    invariants = []
    for t in range(config.num_interactions):
        own = params[f"interaction_{t}"]
        paths = irrep_messages.paths(config.degree_after(t - 1) if t else 0, config.max_ell)

        degrees = range(int(np.sqrt(features.shape[1])))
        up = [features[:, part(l)] @ own[f"linear_up_{l}"] / np.sqrt(channels) for l in degrees]
        summed = [np.zeros((atoms, 2 * p.target + 1, channels)) for p in paths]
        for i, n in zip(*np.nonzero(mask), strict=True):
            j = index[i, n]
            d = places[i] - places[j] - shifts[i, n]
            r = np.linalg.norm(d)
            cut = float(envelope(jnp.asarray(r), config.envelope_of_edges))
            x = np.float32(np.sqrt(2.0 / config.cutoff)) * np.sin(params["bessel_weights"] * r)
            x = x / r * cut
            for k in range(len(config.radial_MLP)):
                weight = own[f"radial_{k}"]
                x = config.silu_scale * silu(x @ weight / np.sqrt(len(weight)))
            last = own[f"radial_{len(config.radial_MLP)}"]
            radial = (x @ last / np.sqrt(len(last))).reshape(len(paths), channels)
            y = np.asarray(spherical_harmonics(jnp.asarray(d / r), config.max_ell))
            for k, (l1, l2, l3) in enumerate(paths):
                both = np.einsum("mc,q,mqk->kc", up[l1][j], y[part(l2)], coupling(l1, l2, l3))
                summed[k][i] += radial[k] * both
        messages = []
        for l in range(config.max_ell + 1):
            parts = [s for s, p in zip(summed, paths, strict=True) if p.target == l]
            stacked = np.concatenate(parts, axis=2)
            matrix = own[f"linear_{l}"] / np.sqrt(stacked.shape[2])
            messages.append(stacked @ matrix / config.avg_num_neighbors)

        def skip(x, own=own):
            matrices = [own[f"skip_{l}"][:, species] for l in range(len(x))]
            scale = np.sqrt(channels * elements)
            pairs = zip(x, matrices, strict=True)
            return [np.einsum("imu,uiv->imv", a, w) / scale for a, w in pairs]

        kind = config.interaction if t else config.interaction_first
        residual = "Residual" in kind
        a = np.concatenate(messages if residual else skip(messages), axis=1)
        coupled = []
        for l in range(config.degree_after(t) + 1):
            total = 0.0
            for order in range(1, config.correlation + 1):
                letters = "xyz"[:order]
                factors = ",".join(f"i{letter}c" for letter in letters)
                weights = own[f"product_{l}_{order}"][species]
                basis = symmetric_basis(config.max_ell, order, l)
                total = total + np.einsum(
                    f"{letters}pm,ipc,{factors}->imc", basis, weights, *[a] * order
                )
            coupled.append(total @ own[f"linear_out_{l}"] / np.sqrt(channels))
        if residual:
            common = range(min(len(coupled), len(degrees)))
            kept = skip([features[:, part(l)] for l in common])
            for l in common:
                coupled[l] = coupled[l] + kept[l]
        features = np.concatenate(coupled, axis=1)
        invariants.append(features[:, 0])
    return np.concatenate(invariants, axis=1)


VARIANTS = {
    "residual, three factors": {"correlation": 3, "last_irreps": "2x0e + 2x1o"},
    "not residual": {
        "correlation": 2,
        "interaction_first": "RealAgnosticInteractionBlock",
        "interaction": "RealAgnosticInteractionBlock",
    },
    "scalars pass, no products": {"correlation": 1, "hidden_irreps": "3x0e", "max_ell": 1},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_invariants_equal_the_edge_wise_oracle(name):
    config = MaceConfig(2.4, **SMALL | VARIANTS[name])
    potential, params = small_model(small_config(backbone=config, charges=None))
    structure = structure_of(rattled(3, count=3), potential)
    found = jax.jit(potential.features_fn)(params, structure).invariants
    expected = oracle(params["backbone"], config, structure)
    scale = np.abs(expected).max(axis=0)
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-10)


def test_blocks_and_the_treatment_of_elements_change_nothing(monkeypatch):
    """One atom a block, and the first interaction treated like the others."""
    potential, params = small_model(
        small_config(
            backbone=MaceConfig(2.4, **SMALL | {"max_ell": 1, "correlation": 2}), charges=None
        )
    )
    structure = structure_of(rattled(3, count=3), potential)

    def slopes():
        def energy(params):
            return potential.energy_fn(params, structure)

        return jax.jit(jax.grad(energy))(params)["backbone"]

    expected = slopes()
    monkeypatch.setattr(irrep_messages, "MOST_ELEMENTS", 0)
    for module in (blocks, neighbor_sums):
        monkeypatch.setattr(module, "step_sizes", lambda: CPU._replace(block_bytes=1))
    for found, other in zip(*map(jax.tree.leaves, (slopes(), expected)), strict=True):
        assert relative(found, other) < 1e-9


def test_a_rotation_is_the_same_for_all_representations():
    """Harmonics of degree two turn like the tensors made of them."""
    turn = random_orthogonal(3)
    unit = jnp.array([[0.6, 0.0, 0.8]])
    before, after = (
        to_tensors(spherical_harmonics(u, 2)[:, part(2), None])[0, 0]
        for u in (unit, unit @ turn)
    )
    np.testing.assert_allclose(after, turn.T @ before @ turn, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_irreps": "4x0e + 4x1e"}, "hidden_irreps: '4x0e [+] 4x1e': expected"),
        ({"hidden_irreps": "4x0e + 8x1o"}, "one width"),
        ({"hidden_irreps": "4x0e + 4x1o + 4x2e", "max_ell": 1}, "max_ell 1"),
        ({"hidden_irreps": "4x0e", "last_irreps": "8x0e"}, "last_irreps.*4 channels"),
        ({"correlation": 4}, "correlation"),
        ({"radial_MLP": ()}, "radial_MLP"),
        ({"interaction": "RealAgnosticDensityInteractionBlock"}, "choose one of"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        MaceConfig(4.0, **changes)


def test_a_head_without_its_features_is_refused():
    backbone = MaceConfig(4.0, hidden_irreps="4x0e")
    with pytest.raises(InputError, match="degree 1, 'mace' has 0; raise backbone.last_irreps"):
        small_config(backbone=backbone, dipoles={})
