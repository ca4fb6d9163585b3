"""PaiNN against its definition: an oracle of loops over edges, smoothness, scale, all heads."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jles.errors import InputError
from jles.models.backbones import blocks, neighbor_sums, painn
from jles.models.backbones.envelope import envelope
from jles.models.backbones.painn_config import PainnConfig
from jles.models.config import (
    ElectrostaticsConfig,
    FlowCharges,
    MomentConfig,
    ScalarPolarizability,
    SoftnessConfig,
    TensorPolarizability,
)
from jles.models.potential import build_potential
from jles.observables.born_charges import born_charges
from jles.step_sizes import CPU
from jles.structures.batch import merge_sizes, on_device, pad_structure, size_of
from tests.support.small_systems import (
    SMALL_CHARGES,
    TRICLINIC,
    rattled,
    relative,
    small_config,
    small_model,
    structure_of,
)

SMALL = {"n_atom_basis": 3, "n_interactions": 2, "n_rbf": 3, "avg_num_neighbors": 5.0}

# Optimised code would take longer to build than it saves.
UNOPTIMISED = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


# --- the whole network against an oracle ------------------------------------------------------


def linear(layer, x):
    kernel = layer["kernel"]
    return x @ kernel / np.sqrt(len(kernel)) + layer.get("bias", 0.0)


def perceptron(layers, x):
    hidden = linear(layers["hidden"], x)
    return linear(layers["out"], hidden / (1.0 + np.exp(-hidden)))


def traceless(matrices):
    """The symmetric traceless part, first two axes."""
    trace = np.einsum("xx...->...", matrices)
    both = 0.5 * (matrices + np.swapaxes(matrices, 0, 1))
    return both - np.multiply.outer(np.eye(3), trace) / 3.0


def oracle(params, config, structure):
    """Scalars, vectors and tensors: messages for every edge, tensors as matrices."""
    params = jax.tree.map(np.asarray, params)
    index, mask = np.asarray(structure.neighbor_index), np.asarray(structure.neighbor_mask)
    shifts = np.asarray(structure.neighbor_shift) @ np.asarray(structure.cell)
    places = np.asarray(structure.positions)
    species = (np.asarray(structure.numbers) > 1).astype(int)
    atoms, channels = len(places), config.n_atom_basis
    tensorial = config.degree == 2
    s = params["embedding"][species]
    v, q = np.zeros((atoms, 3, channels)), np.zeros((atoms, 3, 3, channels))
    for t in range(config.n_interactions):
        own = params[f"interaction_{t}"]
        filters = own["filter"] / np.sqrt(config.n_rbf * config.avg_num_neighbors)
        sent = perceptron(own["context"], s).reshape(atoms, -1, channels)
        ds, dv, dq = np.zeros_like(s), np.zeros_like(v), np.zeros_like(q)
        for i, n in zip(*np.nonzero(mask), strict=True):
            j = index[i, n]
            d = places[i] - places[j] - shifts[i, n]
            r = np.linalg.norm(d)
            u = np.sqrt(3.0) * d / r
            waves = np.sin(np.arange(1, config.n_rbf + 1) * np.pi * r / config.cutoff) / r
            waves *= np.float32(np.sqrt(2.0 / config.cutoff)) * np.sqrt(config.cutoff**3 / 3)
            waves *= float(envelope(jnp.asarray(r), config.envelope_of_edges))
            every = iter(np.einsum("k,kpc->pc", waves, filters) * sent[j])
            later = t > 0
            ds[i] += next(every)
            if later:
                dv[i] += next(every) * v[j]
            if later and tensorial:
                dq[i] += next(every) * q[j]
            dv[i] += next(every) * u[:, None]
            if later and tensorial:
                dq[i] += next(every) * traceless(u[:, None, None] * v[j])
            if tensorial:
                power = traceless(np.outer(u, u))
                dq[i] += next(every) * np.sqrt(7.5) / 3.0 * power[..., None]
        s, v, q = s + ds, v + dv, q + dq
        s, v, q = mixed(params[f"mixing_{t}"], config, s, v, q, t)
    return s, v, q


def mixed(own, config, s, v, q, t):
    a, b = np.split(linear(own["mix_1"], v), 2, axis=-1)
    inputs = [s, np.sqrt(1.0 + np.sum(b**2, axis=1)) - 1.0]
    tensorial = config.degree == 2
    if tensorial:
        c, d = np.split(linear(own["mix_2"], q), 2, axis=-1)
        inputs.append(np.sqrt(1.0 + np.sum(d**2, axis=(1, 2))) - 1.0)
    gates = perceptron(own["context"], np.concatenate(inputs, axis=1))
    gates = iter(np.split(gates, gates.shape[1] // s.shape[1], axis=1))
    s = s + next(gates) + next(gates) * np.sum(a * b, axis=1)
    if tensorial:
        s = s + next(gates) * np.sum(c * d, axis=(1, 2))
    if config.degree > 0 or t < config.n_interactions - 1:
        v = v + next(gates)[:, None] * a
    if tensorial:
        v = v + next(gates)[:, None] * np.einsum("ixyc,iyc->ixc", c, b)
        of_vectors = np.einsum("ixc,iyc->xyic", a, b)
        q = q + next(gates)[:, None, None] * c
        q = q + next(gates)[:, None, None] * np.moveaxis(traceless(of_vectors), 2, 0)
    return s, v, q


@pytest.mark.parametrize(("degree", "layers"), [(0, 2), (1, 3), (2, 3)])
def test_features_equal_the_edge_wise_oracle(degree, layers):
    config = PainnConfig(2.4, **SMALL | {"n_interactions": layers}, degree=degree)
    potential, params = small_model(small_config(backbone=config, charges=None))
    structure = structure_of(rattled(3, count=3), potential)
    found = jax.jit(potential.features_fn)(params, structure)
    s, v, q = oracle(params["backbone"], config, structure)
    expected = [s, np.moveaxis(v, 2, 1), np.moveaxis(q, 3, 1)][: degree + 1]
    assert [part is not None for part in found] == [n <= degree for n in range(3)] + [False]
    for one, other in zip(found, expected, strict=False):
        assert relative(one, other) < 1e-10


def test_blocks_and_the_treatment_of_elements_change_nothing(monkeypatch):
    """One atom a block, and the first interaction treated like the others."""
    config = PainnConfig(2.4, **SMALL, degree=2)
    potential, params = small_model(small_config(backbone=config, charges=None))
    structure = structure_of(rattled(3, count=3), potential)

    def slopes():
        def energy(params):
            return potential.energy_fn(params, structure)

        return jax.jit(jax.grad(energy))(params)["backbone"]

    expected = slopes()
    monkeypatch.setattr(painn, "MOST_ELEMENTS", 0)
    for module in (blocks, neighbor_sums):
        monkeypatch.setattr(module, "step_sizes", lambda: CPU._replace(block_bytes=1))
    for found, other in zip(*map(jax.tree.leaves, (slopes(), expected)), strict=True):
        assert relative(found, other) < 1e-9


# --- where features vanish, and how large they are --------------------------------------------


def test_second_derivatives_are_right_where_vectors_vanish(rng):
    """In the centre of an octahedron all vectors of an atom are zero; alone it has none."""
    potential, params = small_model(
        small_config(backbone=PainnConfig(2.4, **SMALL, degree=2), charges=None)
    )
    corners = 1.1 * np.concatenate([np.eye(3), -np.eye(3)])
    atoms = Atoms("OH6H", np.concatenate([np.zeros((1, 3)), corners, [[50.0, 0.0, 0.0]]]))
    structure = structure_of(atoms, potential)
    vectors = np.asarray(jax.jit(potential.features_fn)(params, structure).vectors)
    np.testing.assert_allclose(vectors[[0, 7]], 0.0, atol=1e-12)
    assert np.abs(vectors[1]).max() > 1e-3

    way = jnp.asarray(rng.normal(size=(8, 3)))

    def energy(positions):
        return potential.energy_fn(params, replace(structure, positions=positions))

    @UNOPTIMISED
    def slopes(positions):
        return jax.jvp(jax.grad(energy), (positions,), (way,))

    step, places = 1e-4, structure.positions
    ahead, behind = (slopes(places + a * way)[0] for a in (step, -step))
    assert relative(slopes(places)[1], (ahead - behind) / (2 * step)) < 1e-6


def test_features_of_a_new_network_are_of_order_one():
    """And so are their slopes, at the density of atoms that avg_num_neighbors stands for."""
    atoms = rattled(3, count=8, cell=1.3 * TRICLINIC)
    backbone = PainnConfig(4.0, n_atom_basis=32, degree=2, avg_num_neighbors=15.0)
    potential = build_potential(small_config(backbone=backbone, charges=None))
    structure = structure_of(atoms, potential, dtype=np.float32)
    assert 12 < np.mean(np.sum(structure.neighbor_mask, axis=1)) < 20

    @UNOPTIMISED
    def sizes(key):
        params = potential.init(key, np.float32)

        def features(positions):
            return potential.features_fn(params, replace(structure, positions=positions))[:3]

        way = jax.random.normal(key, structure.positions.shape, np.float32)
        found, slopes = jax.jvp(features, (structure.positions,), (way,))
        spread = found[0] - jnp.mean(found[0], axis=0)
        return [jnp.sqrt(jnp.mean(x**2)) for x in (*found, *slopes, spread)]

    *found, slopes_s, slopes_v, slopes_t, spread = np.mean(
        [sizes(jax.random.key(n)) for n in range(4)], axis=0
    )
    assert 0.1 < spread < found[0] < 5.0
    assert (np.array(found[1:]) > 0.05).all()
    assert max(*found, 0.2 * slopes_s, 0.2 * slopes_v, 0.2 * slopes_t) < 5.0


# --- all heads --------------------------------------------------------------------------------

MOMENTS = {
    "dipoles": MomentConfig((4,), 2),
    "quadrupoles": MomentConfig((4,), 2),
}
HEADS = {
    "flow, tensor": {
        "charges": FlowCharges(hidden=(4,), flow_width=2),
        "polarizability": TensorPolarizability((4,), channels=2),
    },
    "direct, soft, scalar": {
        "charges": SMALL_CHARGES,
        "charge_softness": SoftnessConfig((4,)),
        "polarizability": ScalarPolarizability((4,)),
    },
}


@pytest.mark.long
@pytest.mark.parametrize("name", HEADS)
def test_all_heads_give_exact_born_charges_and_forces_in_a_field(name):
    """Born charges are those of a supercell; times the field they are the change of forces."""
    backbone = PainnConfig(2.6, **SMALL | {"n_atom_basis": 2}, degree=2)
    sums = ElectrostaticsConfig(k_max=2.0)
    heads = MOMENTS | HEADS[name]
    potential, params = small_model(
        small_config(backbone=backbone, electrostatics=sums, **heads), seed=2
    )
    field = jnp.array([0.03, -0.02, 0.05])

    @UNOPTIMISED
    def evaluate(structure):
        def at(positions):
            return replace(structure, positions=positions)

        def coupling(positions, field):
            return potential.coupling_fn(params, at(positions), field)

        def force(field):
            slope = jax.grad(lambda x: potential.enthalpy_fn(params, at(x), field))
            return -slope(structure.positions)

        forces = jax.vmap(force)(jnp.stack([field, -field]))
        # What the polarizability adds is even in the field.
        change = 0.5 * (forces[0] - forces[1])
        return born_charges(coupling, structure.positions), change

    atoms = rattled(4, count=2, cell=0.8 * TRICLINIC)
    structures = [structure_of(one, potential) for one in (atoms, atoms * (2, 1, 1))]
    size = merge_sizes(map(size_of, structures))
    one, two = (evaluate(on_device(pad_structure(s, size))) for s in structures)
    born = one[0][:2]
    assert np.abs(born[:, 0, 1]).max() > 1e-4
    np.testing.assert_allclose(two[0], np.concatenate([born, born]), rtol=0, atol=1e-10)
    for born, change in (one, two):
        expected = jnp.einsum("a,iab->ib", field, born)
        np.testing.assert_allclose(change, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"degree": 3}, "degree"),
        ({"n_interactions": 0}, "n_interactions"),
        ({"envelope_power": 1}, "envelope_power"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        PainnConfig(4.0, **changes)


def test_a_head_without_its_features_is_refused():
    with pytest.raises(InputError, match="degree 2, 'painn' has 1; raise backbone.degree"):
        small_config(backbone=PainnConfig(4.0), quadrupoles={})
