"""Allegro against its definition: an oracle of loops over pairs; locality, sizes, heads."""

from dataclasses import replace

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jles.errors import InputError
from jles.models.backbones import blocks
from jles.models.backbones.allegro import Allegro
from jles.models.backbones.allegro_config import AllegroConfig
from jles.models.backbones.graph import build_graph
from jles.models.config import (
    FlowCharges,
    MomentConfig,
    ScalarPolarizability,
    SoftnessConfig,
    TensorPolarizability,
)
from jles.step_sizes import CPU
from jles.structures.batch import build_structure, on_device
from tests.support.head_responses import check_responses
from tests.support.marks import long_unless
from tests.support.small_systems import (
    SMALL_CHARGES,
    rattled,
    relative,
    small_config,
    small_model,
    structure_of,
    water,
)

SMALL = {
    "num_scalar_features": 3,
    "num_tensor_features": 2,
    "scalar_embed_mlp_hidden_layers_depth": 1,
    "scalar_embed_mlp_hidden_layers_width": 4,
    "allegro_mlp_hidden_layers_depth": 1,
    "allegro_mlp_hidden_layers_width": 4,
    "num_bessels": 3,
    "avg_num_neighbors": 5.0,
}


# --- the whole network against an oracle ------------------------------------------------------


def silu(x):
    return 1.6765324703310907 * x / (1.0 + np.exp(-x))


def kernels(params, name):
    """The matrices of a perceptron, divided by the root of their fan-in."""
    found = [params[f"{name}_{n}"] for n in range(len(params)) if f"{name}_{n}" in params]
    return [kernel / np.sqrt(len(kernel)) for kernel in found]


def perceptron(matrices, x):
    for n, matrix in enumerate(matrices):
        x = (silu(x) if n else x) @ matrix
    return x


def harmonics(vector, l_max):
    """By degree, from e3nn."""
    irreps = [f"1x{l}{'eo'[l % 2]}" for l in range(l_max + 1)]
    place = jnp.asarray(vector)
    return [np.asarray(e3nn.spherical_harmonics(ir, place, True).array) for ir in irreps]


def product(one, other, l):
    """Coupled to degree l, (components, channels)."""
    l1, l2 = (len(each) // 2 for each in (one, other))
    table = np.sqrt(2 * l + 1) * np.asarray(e3nn.clebsch_gordan(l1, l2, l), np.float64)
    return np.einsum("mc,qc,mqk->kc", one, other, table)


def natural(l, l_max):
    """Pairs of degrees that couple to l without a change of parity."""
    degrees = range(l_max + 1)
    return [
        (a, b)
        for a in degrees
        for b in degrees
        if abs(a - b) <= l <= a + b and not (a + b + l) % 2
    ]


def oracle_of_atom(params, config, own, pairs):
    """Invariants, and components of degrees 1 and 2, of an atom with these pairs.

    Args:
        own: element of the atom.
        pairs: the vectors to the neighbours, and their elements.
    """
    degrees, root = range(config.l_max + 1), np.sqrt(config.avg_num_neighbors)
    ratio, many = config.latent_resnet_ratio, config.num_scalar_features
    cuts, angles, scalars, tensors = [], [], [], []
    for vector, element in pairs:
        r = np.linalg.norm(vector)
        x, p = r / config.cutoff, config.polynomial_cutoff_p
        cut = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1)
        cut -= p * (p + 1) / 2 * x ** (p + 2)
        # The prefactor of the Bessel functions is rounded to float32, see `radial.bessel`.
        radial = np.float32(np.sqrt(2.0 / config.cutoff)) * np.sqrt(config.cutoff**3 / 3.0)
        radial = radial * np.sin(params["bessel_weights"] * r) / r * cut
        first, *rest = kernels(params, "two_body")
        hidden = radial @ first
        hidden += params["center_embedding"][own] + params["neighbor_embedding"][element]
        scalar = perceptron(rest, silu(hidden / np.sqrt(3.0))) * cut
        weight = scalar @ params["tensor_embedding"] / np.sqrt(many)
        weight = weight.reshape(len(degrees), -1)
        angle = harmonics(vector, config.l_max)
        cuts.append(cut)
        angles.append(angle)
        scalars.append(scalar)
        tensors.append([np.outer(angle[l], weight[l]) for l in degrees])
    for t in range(config.num_layers):
        environment = []
        for l in degrees:
            matrix = params[f"environment_{t}_{l}"] / np.sqrt(many)
            terms = [np.outer(y[l], x @ matrix) for y, x in zip(angles, scalars, strict=True)]
            environment.append(sum(terms) / root)
        products = [
            [
                np.concatenate([product(v[a], environment[b], l) for a, b in paths], axis=1)
                for l in degrees
                for paths in [natural(l, config.l_max)]
            ]
            for v in tensors
        ]
        for n, cut in enumerate(cuts):
            both = np.concatenate([scalars[n], products[n][0][0]])
            update = perceptron(kernels(params, f"latent_{t}"), both) * cut
            scalars[n] = (scalars[n] + ratio * update) / np.sqrt(1.0 + ratio**2)
            if t < config.num_layers - 1:
                mixing = [params[f"mixing_{t}_{l}"] for l in degrees]
                tensors[n] = [
                    found @ matrix / np.sqrt(len(matrix))
                    for found, matrix in zip(products[n], mixing, strict=True)
                ]
    result = [sum(scalars) / root]
    for l in range(1, min(2, config.l_max) + 1):
        gates = [x @ params["readout"] / np.sqrt(many) for x in scalars]
        repeats = len(natural(l, config.l_max))
        pairs = zip(gates, products, strict=True)
        result.append(sum(np.tile(gate, repeats) * found[l] for gate, found in pairs) / root)
    return result


def oracle(params, config, structure):
    params = jax.tree.map(np.asarray, params)
    index, mask = np.asarray(structure.neighbor_index), np.asarray(structure.neighbor_mask)
    shifts = np.asarray(structure.neighbor_shift) @ np.asarray(structure.cell)
    places = np.asarray(structure.positions)
    species = (np.asarray(structure.numbers) > 1).astype(int)
    atoms = []
    for i, own in enumerate(species):
        pairs = [
            (places[index[i, n]] + shifts[i, n] - places[i], species[index[i, n]])
            for n in np.flatnonzero(mask[i])
        ]
        atoms.append(oracle_of_atom(params, config, own, pairs))
    return [np.stack(parts) for parts in zip(*atoms, strict=True)]


VARIANTS = {
    "three layers": {"num_layers": 3},
    "one layer, linear updates, degree 3": {
        "num_layers": 1,
        "allegro_mlp_hidden_layers_depth": 0,
        "l_max": 3,
    },
    "scalars only": {"l_max": 0, "scalar_embed_mlp_hidden_layers_depth": 2},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_features_equal_the_pair_wise_oracle(name):
    config = AllegroConfig(2.4, **SMALL | VARIANTS[name])
    potential, params = small_model(small_config(backbone=config, charges=None))
    structure = structure_of(rattled(3, count=3), potential)
    found = jax.jit(potential.features_fn)(params, structure)
    invariants, *components = oracle(params["backbone"], config, structure)
    assert relative(found.invariants, invariants) < 1e-10
    assert (found.vectors is None, found.tensors is None) == (
        config.l_max < 1,
        config.l_max < 2,
    )
    if components:
        vectors, tensors = components
        table = np.sqrt(5.0) * np.asarray(e3nn.clebsch_gordan(1, 1, 2), np.float64)
        assert relative(found.vectors, np.swapaxes(vectors, 1, 2)) < 1e-10
        assert relative(found.tensors, np.einsum("abm,imc->icab", table, tensors)) < 1e-10


def test_features_depend_on_nothing_beyond_the_cutoff():
    """Whatever the number of layers, unlike those that messages have reached."""
    config = AllegroConfig(2.4, **SMALL | {"num_layers": 3, "l_max": 1})
    potential, params = small_model(small_config(backbone=config, charges=None))
    chain = Atoms("HOH", [[0.0, 0.0, 0.0], [1.9, 0.3, 0.0], [3.5, 1.0, 0.4]])
    structure = structure_of(chain, potential)

    def invariants(positions):
        moved = replace(structure, positions=positions)
        return potential.features_fn(params, moved).invariants

    slopes = np.abs(jax.jit(jax.jacrev(invariants))(structure.positions)).max(axis=(1, 3))
    np.testing.assert_array_equal(slopes == 0.0, [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert potential.config.backbone.receptive_field == 2.4


@pytest.mark.long
def test_blocks_change_no_derivative_and_their_order_does_not_matter(monkeypatch):
    """The gradient by parameters of a slope along a direction, one atom a block."""
    config = AllegroConfig(2.4, **SMALL | {"l_max": 1})
    potential, params = small_model(
        small_config(backbone=config, charges=None, normalize_features=False)
    )
    structure = structure_of(rattled(3, count=3), potential)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))

    def total(params, positions):
        """A number that every feature changes."""
        moved = replace(structure, positions=positions)
        parts = jax.tree.leaves(potential.features_fn({"backbone": params}, moved))
        return sum(jnp.sum(jnp.sin(part)) for part in parts)

    def reverse_over_reverse(params):
        def slope(params):
            return jnp.vdot(jax.grad(total, 1)(params, structure.positions), direction)

        return jax.grad(slope)(params)

    def forward_over_reverse(params):
        def slopes(positions):
            return jax.grad(total)(params, positions)

        return jax.jvp(slopes, (structure.positions,), (direction,))[1]

    expected = jax.jit(reverse_over_reverse)(params["backbone"])
    monkeypatch.setattr(blocks, "step_sizes", lambda: CPU._replace(block_bytes=1))
    for function in (reverse_over_reverse, forward_over_reverse):
        # A new function, because the old one is compiled with one block.
        found = jax.jit(lambda params, f=function: f(params))(params["backbone"])
        for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            assert relative(one, other) < 1e-9


# --- a new model ------------------------------------------------------------------------------


@pytest.mark.long
def test_features_of_a_new_model_are_of_order_one(rng):
    """Typical sizes in water over a few initial states."""
    atoms = water(rng)
    geometry = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    structure = on_device(build_structure(*geometry, cutoff=4.5, k_max=None))
    neighbors = float(jnp.mean(jnp.sum(structure.neighbor_mask, axis=1)))
    network = Allegro(AllegroConfig(4.5, num_layers=3, avg_num_neighbors=neighbors), 2)
    graph = build_graph(structure, (structure.numbers > 1).astype(jnp.int32))

    @jax.jit
    def sizes(key):
        features = network.init_with_output(key, graph)[0]
        return jnp.array([jnp.sqrt(jnp.mean(part**2)) for part in features[:3]])

    found = np.log([sizes(jax.random.key(seed)) for seed in range(6)])
    typical = np.exp(np.mean(found, axis=0))
    assert (typical > 0.2).all(), typical
    assert (typical < 5.0).all(), typical


# --- heads ------------------------------------------------------------------------------------

HEADS = {
    "direct charges, moments, scalar polarizability": {
        "charges": SMALL_CHARGES,
        "dipoles": MomentConfig(hidden=(2,), channels=2),
        "quadrupoles": MomentConfig(hidden=(2,), channels=2),
        "polarizability": ScalarPolarizability(hidden=(2,)),
    },
    "charge softness": {
        "backbone": AllegroConfig(2.8, **SMALL | {"l_max": 1, "num_layers": 1}),
        "charge_softness": SoftnessConfig(hidden=(2,)),
    },
    "charge flow, polarizability tensor": {
        "charges": FlowCharges(hidden=(2,), flow_width=2, scale=10.0),
        "polarizability": TensorPolarizability(hidden=(2,), channels=2),
    },
}


# One set of heads stands for the others, which take long to compile.
@pytest.mark.parametrize(
    "name",
    [long_unless(name.startswith("charge flow"), name) for name in HEADS],
)
def test_born_charges_and_the_force_of_a_field_of_every_head(name):
    """Born charges do not depend on the supercell and give the force of a weak field.

    The force of a field on charges that flow is tested with NequIP.
    """
    config = small_config(**{"backbone": AllegroConfig(2.8, **SMALL)} | HEADS[name])
    check_responses(config, in_field=config.dipoles is not None)


# --- bad settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"l_max": 4}, "l_max"),
        ({"scalar_embed_mlp_hidden_layers_depth": 0}, "scalar_embed_mlp_hidden_layers_depth"),
        ({"latent_resnet_ratio": -0.5}, "latent_resnet_ratio"),
        ({"avg_num_neighbors": 0.0}, "avg_num_neighbors"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        AllegroConfig(4.0, **changes)


def test_a_head_without_its_features_is_refused():
    backbone = AllegroConfig(4.0, l_max=1)
    with pytest.raises(InputError, match="degree 2, 'allegro' has 1; raise backbone.l_max"):
        small_config(backbone=backbone, quadrupoles={})
