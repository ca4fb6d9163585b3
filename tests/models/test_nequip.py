"""NequIP against its definition: an oracle with tensor products for every edge; its heads."""

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.errors import InputError
from jles.models.backbones import blocks, irrep_messages, neighbor_sums
from jles.models.backbones.envelope import envelope
from jles.models.backbones.graph import build_graph
from jles.models.backbones.irreps import to_tensors, to_vectors
from jles.models.backbones.nequip import SILU_SCALE, Layer, Nequip
from jles.models.backbones.nequip_config import NequipConfig
from jles.models.config import (
    FlowCharges,
    MomentConfig,
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
    "num_layers": 2,
    "l_max": 2,
    "last_l_max": 2,
    "num_features": 2,
    "num_bessels": 3,
    "invariant_layers": 1,
    "invariant_neurons": 4,
    "avg_num_neighbors": 5.0,
}


# --- the whole network against an oracle ------------------------------------------------------


def silu(x):
    return SILU_SCALE * x / (1.0 + np.exp(-x))


def irrep(l):
    return e3nn.Irrep(l, (-1) ** l)


def oracle(params, config, structure):
    """Features of the last layer by degree, (atoms, channels, 2l+1)."""
    params = jax.tree.map(np.asarray, params)
    receiver, slot = np.nonzero(np.asarray(structure.neighbor_mask))
    sender = np.asarray(structure.neighbor_index)[receiver, slot]
    shifts = np.asarray(structure.neighbor_shift)[receiver, slot] @ np.asarray(structure.cell)
    places = np.asarray(structure.positions)
    species = (np.asarray(structure.numbers) > 1).astype(int)
    vectors = places[receiver] - places[sender] - shifts
    distance = np.linalg.norm(vectors, axis=1)
    cut = np.asarray(envelope(jnp.asarray(distance), config.envelope_of_edges))
    wave = np.sin(params["bessel_weights"] * distance[:, None]) / distance[:, None]
    # The prefactor of the Bessel functions is rounded to float32, see `radial.bessel`.
    wave *= np.float32(np.sqrt(2.0 / config.cutoff)) * cut[:, None]
    wave *= np.sqrt(config.cutoff**3 / 3.0)
    irreps = [irrep(l) for l in range(config.l_max + 1)]
    harmonics = [
        e3nn.spherical_harmonics(f"1x{ir}", jnp.asarray(vectors), True) for ir in irreps
    ]

    features = [params["embedding"][species][:, :, None]]
    for t in range(config.num_layers):
        own, source, target = params[f"layer_{t}"], len(features) - 1, config.degree_after(t)
        channels, atoms = features[0].shape[1], len(species)
        x = wave
        for k in range(config.invariant_layers):
            weight = own[f"radial_{k}"]
            x = silu(x @ weight / np.sqrt(len(weight)))
        last = own[f"radial_{config.invariant_layers}"]
        radial = (x @ last / np.sqrt(len(last))).reshape(len(x), -1, channels)
        every = irrep_messages.paths(source, config.l_max, target)
        summed = [[] for _ in range(target + 1)]
        for k, (l1, l2, l3) in enumerate(every):
            up = own[f"linear_up_{l1}"] / np.sqrt(channels)
            sent = np.einsum("icm,cd->idm", features[l1], up)[sender]
            sent = e3nn.IrrepsArray(f"{channels}x{irreps[l1]}", sent.reshape(len(sent), -1))
            both = e3nn.tensor_product(sent, harmonics[l2], filter_ir_out=[irreps[l3]])
            message = np.asarray(both.array).reshape(len(x), channels, 2 * l3 + 1)
            total = np.zeros((atoms, *message.shape[1:]))
            np.add.at(total, receiver, radial[:, k, :, None] * message)
            summed[l3].append(total)
        new = []
        for l, found in enumerate(summed):
            stacked = np.concatenate(found, axis=1) / np.sqrt(config.avg_num_neighbors)
            matrix = own[f"linear_{l}"] / np.sqrt(stacked.shape[1])
            new.append(np.einsum("icm,cd->idm", stacked, matrix))
            if l <= source:
                skip = own[f"skip_{l}"][:, species] / np.sqrt(channels)
                new[l] = new[l] + np.einsum("icm,cid->idm", features[l], skip)
                new[l] = new[l] / np.sqrt(2.0)
        scalars = silu(new[0].reshape(atoms, 1 + target, channels, 1))
        features = [scalars[:, 0]] + [new[l] * scalars[:, l] for l in range(1, target + 1)]
    return features


VARIANTS = {
    "tensors, three layers": {"num_layers": 3, "avg_num_neighbors": 12.0},
    "scalars last, radial network of two hidden layers": {
        "last_l_max": 0,
        "invariant_layers": 2,
    },
    "degree 3 gives vectors": {"l_max": 3, "last_l_max": 1},
    "invariant": {"l_max": 0, "last_l_max": 0, "num_features": 3},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_features_equal_the_edge_wise_oracle(name):
    config = NequipConfig(2.4, **SMALL | VARIANTS[name])
    potential, params = small_model(small_config(backbone=config, charges=None))
    structure = structure_of(rattled(3, count=3), potential)
    found = jax.jit(potential.features_fn)(params, structure)
    expected = oracle(params["backbone"], config, structure)
    assert relative(found.invariants, expected[0][..., 0]) < 1e-10
    for part, l, convert in ((found.vectors, 1, to_vectors), (found.tensors, 2, to_tensors)):
        assert (part is None) == (config.last_l_max < l)
        if part is not None:
            turned = convert(jnp.swapaxes(expected[l], 1, 2))
            assert relative(part, turned) < 1e-10


def test_blocks_and_the_treatment_of_elements_change_nothing(monkeypatch):
    """One atom a block, and the first layer treated like the others."""
    config = NequipConfig(2.4, **SMALL | {"l_max": 1, "last_l_max": 0})
    potential, params = small_model(small_config(backbone=config, charges=None))
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


# --- a new model ------------------------------------------------------------------------------


def test_features_of_a_new_model_are_of_order_one(rng):
    """Of every degree after every layer: the typical size over a few initial states."""
    atoms, cutoff = water(rng), 4.0
    places = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    structure = on_device(build_structure(*places, cutoff=cutoff, k_max=None))
    neighbors = float(jnp.mean(jnp.sum(structure.neighbor_mask, axis=1)))
    config = NequipConfig(
        cutoff, num_layers=3, last_l_max=2, num_features=16, avg_num_neighbors=neighbors
    )
    network = Nequip(config, 2)
    graph = build_graph(structure, (structure.numbers > 1).astype(jnp.int32))

    @jax.jit
    def sizes(key):
        def is_layer(module, _):
            return isinstance(module, Layer)

        params = network.init(key, graph)
        layers = network.apply(params, graph, capture_intermediates=is_layer)[1]
        found = [
            layers["intermediates"][f"layer_{t}"]["__call__"][0]
            for t in range(config.num_layers)
        ]
        return jnp.array(
            [
                [jnp.sqrt(jnp.mean(f[:, l**2 : (l + 1) ** 2] ** 2)) for l in range(3)]
                for f in found
            ]
        )

    typical = np.exp(np.mean([np.log(sizes(jax.random.key(seed))) for seed in range(8)], 0))
    assert (typical > 0.2).all()
    assert (typical < 3.0).all()


# --- heads ------------------------------------------------------------------------------------

HEADS = {
    "direct charges, moments, scalar polarizability": {
        "charges": SMALL_CHARGES,
        "dipoles": MomentConfig(hidden=(2,), channels=2),
        "quadrupoles": MomentConfig(hidden=(2,), channels=2),
        "polarizability": {"kind": "scalar", "hidden": (2,)},
    },
    "charge softness": {
        "backbone": NequipConfig(2.8, **SMALL | {"l_max": 1, "last_l_max": 0}),
        "charge_softness": SoftnessConfig(hidden=(2,)),
    },
    "charge flow, polarizability tensor": {
        "charges": FlowCharges(hidden=(2,), flow_width=2, scale=10.0),
        "polarizability": TensorPolarizability(hidden=(2,), channels=2),
    },
}


# One set of heads stands for the others, which take long to compile.
@pytest.mark.parametrize(
    "name", [long_unless(name.startswith("direct"), name) for name in HEADS]
)
def test_responses_of_every_head(name):
    """Born charges do not depend on the supercell and give the force of a weak field."""
    config = small_config(**{"backbone": NequipConfig(2.8, **SMALL)} | HEADS[name])
    check_responses(config, in_field=config.charges.kind == "flow")


# --- bad settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"l_max": 4}, "l_max"),
        ({"l_max": 1, "last_l_max": 2}, "last_l_max: 2 exceeds l_max 1"),
        ({"invariant_layers": 0}, "invariant_layers"),
        ({"parity": False}, "parity"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises((InputError, TypeError), match=words):
        NequipConfig(4.0, **changes)


def test_a_head_without_its_features_is_refused():
    backbone = NequipConfig(4.0)
    with pytest.raises(InputError, match="degree 1, 'nequip' has 0; raise backbone.last_l_max"):
        small_config(backbone=backbone, dipoles={})
