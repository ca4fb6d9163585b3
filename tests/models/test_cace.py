"""The backbone against its mathematics: an edge-by-edge oracle, symmetries, limits."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.models.backbones.angular import (
    evaluate_monomials,
    invariant_terms,
    invariants,
    monomials,
)
from jles.models.backbones.cace import n_features
from jles.models.backbones.envelope import envelope
from jles.models.backbones.radial import initial_frequencies, radial_functions
from jles.models.config import CaceConfig
from jles.structures.batch import pad_structure, size_of
from tests.support.small_systems import (
    TRICLINIC,
    random_orthogonal,
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

ORDERS = list(itertools.product(range(5), range(1, 5)))


# --- angular part -----------------------------------------------------------------------------


def test_monomials_come_by_degree_then_descending():
    assert monomials(3) == (
        (0, 0, 0),
        *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        *((2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 2, 0), (0, 1, 1), (0, 0, 2)),
        *((3, 0, 0), (2, 1, 0), (2, 0, 1), (1, 2, 0), (1, 1, 1), (1, 0, 2)),
        *((0, 3, 0), (0, 2, 1), (0, 1, 2), (0, 0, 3)),
    )
    assert [len(monomials(l)) for l in range(5)] == [
        1,
        4,
        10,
        20,
        35,
    ]


def test_monomials_are_products_of_components(rng):
    vectors = rng.normal(size=(7, 3))
    for values, powers in zip(
        evaluate_monomials(jnp.asarray(vectors), 4), monomials(4), strict=True
    ):
        np.testing.assert_allclose(values, np.prod(vectors**powers, axis=1), rtol=1e-13)


@pytest.mark.parametrize(
    ("l_max", "counts"),
    [
        (0, (1, 1, 1, 1)),
        (1, (1, 2, 2, 2)),
        (2, (1, 3, 4, 4)),
        (3, (1, 4, 6, 7)),
        (4, (1, 5, 9, 13)),
    ],
)
def test_number_of_invariants(l_max, counts):
    assert tuple(len(invariant_terms(l_max, order)) for order in (1, 2, 3, 4)) == counts


def atomic_basis(weights, units, l_max):
    """One entry per monomial, summed over neighbours."""
    return [jnp.sum(weights * y) for y in evaluate_monomials(jnp.asarray(units), l_max)]


def invariants_by_angles(weights, units, l_max, body_order):
    """The same invariants as sums over pairs, triples and quadruples of neighbours.

    Nothing but cosines between neighbours enters, so every one is invariant by inspection.
    """
    cos = units @ units.T
    pair = [np.outer(weights, weights) * cos**l for l in range(l_max + 1)]
    values = [np.sum(weights)]
    if body_order >= 2:
        values += [np.sum(pair[l]) for l in range(1, l_max + 1)]
    if body_order >= 3:
        for l1 in range(1, l_max + 1):
            for l2 in range(l1, l_max - l1 + 1):
                values.append(np.sum(weights * (weights @ cos**l1) * (weights @ cos**l2)))
    if body_order >= 4:
        for l1, l2, d in itertools.product(range(1, l_max + 1), repeat=3):
            if l1 < l2 and l2 + d <= l_max:
                ends = (weights @ cos**l1) * weights, (weights @ cos**l2) * weights
                values.append(ends[0] @ cos**d @ ends[1])
    return values


@pytest.mark.parametrize(("l_max", "body_order"), ORDERS)
def test_invariants_are_sums_over_angles_between_neighbours(l_max, body_order, rng):
    weights, vectors = rng.normal(size=5), rng.normal(size=(5, 3))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = invariants(atomic_basis(weights, units, l_max), l_max, body_order)
    expected = invariants_by_angles(weights, units, l_max, body_order)
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-12)


@given(seed=st.integers(0, 10**6))
def test_no_rotation_or_reflection_changes_an_invariant(seed):
    rng = np.random.default_rng(seed)
    weights, vectors = rng.normal(size=6), rng.normal(size=(6, 3))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    before = invariants(atomic_basis(weights, units, 4), 4, 4)
    turned = invariants(atomic_basis(weights, units @ random_orthogonal(seed), 4), 4, 4)
    np.testing.assert_allclose(turned, before, rtol=1e-9, atol=1e-11)


# --- radial part ------------------------------------------------------------------------------


def test_radial_functions_follow_their_formulas():
    r, cutoff, count = np.linspace(0.4, 3.9, 9), 4.0, 5
    frequencies = initial_frequencies(count, cutoff)
    np.testing.assert_allclose(frequencies, np.arange(1, 6) * math.pi / 4.0)
    centers, widths = np.linspace(0.8, cutoff, count), np.linspace(1.0, cutoff, count)
    lengths = np.linspace(0.0, cutoff, count + 2)[1:-1]
    expected = {
        "bessel": [float(np.float32(math.sqrt(0.5))) * np.sin(w * r) / r for w in frequencies],
        "gaussian": [np.exp(-0.5 * ((r - c) / 0.8) ** 2) for c in centers],
        "gaussian-centered": [np.exp(-0.5 * (r / w) ** 2) for w in widths],
        "exponential": [np.exp(-r / length) for length in lengths],
    }
    for name, columns in expected.items():
        config = CaceConfig(cutoff=cutoff, radial=name, n_rbf=count)
        values = radial_functions(jnp.asarray(r), config, jnp.asarray(frequencies))
        np.testing.assert_allclose(values, np.stack(columns, -1), rtol=1e-12, err_msg=name)


def test_bessel_functions_vanish_at_the_cutoff():
    config = CaceConfig(cutoff=3.7, n_rbf=6)
    values = radial_functions(
        jnp.array([3.7]), config, jnp.asarray(initial_frequencies(6, 3.7))
    )
    np.testing.assert_allclose(values, 0.0, atol=1e-12)


ENVELOPES = [
    {"envelope": "polynomial", "envelope_power": 2.0},
    {"envelope": "polynomial", "envelope_power": 5.0},
    {"envelope": "polynomial", "envelope_power": 6.0},
    {"envelope": "polynomial", "envelope_power": 5.5},
    {"envelope": "cosine"},
    {"envelope": "mollifier"},
    {"envelope": "switch", "envelope_onset": 1.5},
]


def envelope_formula(x, config):
    if config.envelope == "polynomial":
        p = config.envelope_power
        return (
            1.0
            - (p + 1) * (p + 2) / 2 * x**p
            + p * (p + 2) * x ** (p + 1)
            - p * (p + 1) / 2 * x ** (p + 2)
        )
    if config.envelope == "cosine":
        return 0.5 * (math.cos(math.pi * x) + 1.0)
    if config.envelope == "mollifier":
        return math.exp(1.0 - 1.0 / (1.0 - x * x))
    y = (x * config.cutoff - config.envelope_onset) / (config.cutoff - config.envelope_onset)
    if y <= 0.0:
        return 1.0
    rise, fall = math.exp(-1.0 / y), math.exp(-1.0 / (1.0 - y))
    return fall / (rise + fall)


@pytest.mark.parametrize("options", ENVELOPES)
def test_envelope_follows_its_formula_and_is_zero_outside(options):
    config = CaceConfig(cutoff=3.0, **options)
    inside = np.array([0.1, 0.7, 1.2, 1.6, 2.2, 2.9])
    expected = [envelope_formula(r / 3.0, config) for r in inside]
    np.testing.assert_allclose(
        envelope(jnp.asarray(inside), config.envelope_of_edges), expected, rtol=1e-11
    )
    far = jnp.array([3.0, 3.0001, 7.0, 1e3])
    np.testing.assert_array_equal(envelope(far, config.envelope_of_edges), 0.0)


@pytest.mark.parametrize("options", ENVELOPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_envelope_ends_smoothly_with_finite_derivatives(options, dtype):
    """C2 at the cutoff; the cosine, whose curvature jumps by definition, C1."""
    spec = CaceConfig(cutoff=3.0, **options).envelope_of_edges

    @jax.jit
    @jax.vmap
    def derivatives(r):
        """Value, slope and curvature."""

        def slope(r):
            return jax.jvp(lambda r: envelope(r, spec), (r,), (jnp.ones_like(r),))

        (value, first), (_, second) = jax.jvp(slope, (r,), (jnp.ones_like(r),))
        return jnp.stack([value, first, second])

    just_inside = np.nextafter(dtype(3.0), dtype(0.0))
    after_onset = np.nextafter(dtype(1.5), dtype(2.0))
    values = derivatives(jnp.array([just_inside, 1.5, after_onset, 3.0, 1e3], dtype))
    assert values.dtype == dtype
    assert np.isfinite(values).all()
    smooth = 2 if options["envelope"] == "cosine" else 3
    np.testing.assert_allclose(
        values[0, :smooth], 0.0, atol=1e-4 if dtype == np.float32 else 1e-8
    )


# --- the whole backbone against an oracle -----------------------------------------------------


def edges_of(atoms, cutoff):
    """(sender, receiver, r_receiver - r_sender) of every pair of images, by brute force."""
    if atoms.pbc.any():
        heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
        counts = np.ceil(cutoff / heights).astype(int) + 1
    else:
        counts = np.zeros(3, int)
    for image in itertools.product(*(range(-n, n + 1) for n in counts)):
        shift = np.array(image) @ atoms.cell.array
        for sender, receiver in itertools.product(range(len(atoms)), repeat=2):
            d = atoms.positions[receiver] - atoms.positions[sender] + shift
            if (sender != receiver or any(image)) and np.linalg.norm(d) < cutoff:
                yield sender, receiver, d


def multiplicity(monomial):
    return math.factorial(sum(monomial)) / math.prod(map(math.factorial, monomial))


def oracle_symmetrize(basis, config):
    """B of section 6 from A as a dict monomial -> (atoms, K, C)."""
    of_degree = {l: [m for m in basis if sum(m) == l] for l in range(config.l_max + 1)}

    def plus(a, b):
        return tuple(np.add(a, b))

    features = [basis[0, 0, 0]]
    if config.body_order >= 2:
        for l in range(1, config.l_max + 1):
            features.append(sum(multiplicity(a) * basis[a] ** 2 for a in of_degree[l]))
    if config.body_order >= 3:
        for l1, l2 in itertools.product(range(1, config.l_max + 1), repeat=2):
            if l1 <= l2 and l1 + l2 <= config.l_max:
                features.append(
                    sum(
                        multiplicity(a)
                        * multiplicity(b)
                        * basis[a]
                        * basis[b]
                        * basis[plus(a, b)]
                        for a in of_degree[l1]
                        for b in of_degree[l2]
                    )
                )
    if config.body_order >= 4:
        for l1, l2, l3 in itertools.product(range(1, config.l_max + 1), repeat=3):
            if l1 < l2 and l2 + l3 <= config.l_max:
                features.append(
                    sum(
                        multiplicity(a)
                        * multiplicity(b)
                        * multiplicity(d)
                        * (basis[a] * basis[b] * basis[plus(a, d)] * basis[plus(b, d)])
                        for a in of_degree[l1]
                        for b in of_degree[l2]
                        for d in of_degree[l3]
                    )
                )
    return np.stack(features, axis=2)


def oracle_perceptron(layers, x):
    for n in range(len(layers)):
        x = x @ layers[f"layers_{n}"]["kernel"] + layers[f"layers_{n}"]["bias"]
        if n < len(layers) - 1:
            x = x / (1.0 + np.exp(-x))
    return x


def oracle_features(params, config, species, edges):
    """Sections 2 to 7 of the specification as loops over edges, layer by layer."""
    shape = (config.n_radial_basis, config.n_atom_basis**2)
    powers = monomials(config.l_max)
    senders = params["sender_embedding"]
    receivers = params["receiver_embedding"] if config.embed_receiver else senders
    mixing = [params[f"radial_mixing_{l}"] for l in range(config.l_max + 1)]

    def edge_attribute(sender, receiver, d):
        r = np.linalg.norm(d)
        cut = envelope_formula(r / config.cutoff, config)
        # The prefactor is a float32 in published models.
        prefactor = float(np.float32(math.sqrt(2.0 / config.cutoff)))
        radial = prefactor * np.sin(params["bessel_weights"] * r) / r * cut
        channel = np.outer(senders[species[sender]], receivers[species[receiver]]).ravel()
        return r, cut, {m: np.outer(radial * np.prod((d / r) ** m), channel) for m in powers}

    attributes = [(s, r, *edge_attribute(s, r, d)) for s, r, d in edges]

    def zeros():
        return {m: np.zeros((len(species), *shape)) for m in powers}

    def summed_and_mixed(weight):
        basis = zeros()
        for sender, receiver, _, _, attribute in attributes:
            for m in powers:
                edge = attribute[m] * weight(sender, sum(m))
                basis[m][receiver] += np.einsum("mc,mkc->kc", edge, mixing[sum(m)])
        return basis

    basis = summed_and_mixed(lambda sender, l: 1.0)
    layers = [oracle_symmetrize(basis, config)]
    for t in range(config.layers):
        update = zeros()
        if "ar" in config.messages:
            for sender, receiver, r, cut, _ in attributes:
                for m in powers:
                    decay = np.exp(-r * params[f"ar_decay_{t}_{sum(m)}"]) * cut
                    prefactor = params[f"ar_prefactor_{t}_{sum(m)}"]
                    update[m][receiver] += basis[m][sender] * prefactor * decay
        if "bchi" in config.messages:
            flat = layers[-1].reshape(len(species), -1)
            n_l = config.l_max + 1 if config.bchi_per_l else 1
            n_c = shape[1] if config.bchi_per_channel else 1
            scalars = oracle_perceptron(params[f"bchi_{t}"], flat).reshape(-1, n_l, n_c)
            message = summed_and_mixed(
                lambda sender, l, w=scalars: w[sender, l if w.shape[1] > 1 else 0]
            )
            update = {m: update[m] + message[m] for m in powers}
        new = {m: config.mp_norm * update[m] for m in powers}
        if "memory" in config.messages:
            new = {m: new[m] + basis[m] * params[f"memory_{t}_{sum(m)}"] for m in powers}
        basis = new
        layers.append(oracle_symmetrize(basis, config))
    return np.stack(layers, axis=-1).reshape(len(species), -1)


VARIANTS = {
    "no messages, l 4, body order 4": {"l_max": 4, "body_order": 4, "envelope_power": 5.5},
    "one embedding, body order 2": {
        "embed_receiver": False,
        "body_order": 2,
        "n_atom_basis": 3,
    },
    "memory": {"layers": 1, "messages": ("memory",)},
    "ar": {"layers": 1, "messages": ("ar",), "mp_norm": 0.4},
    "bchi": {"layers": 1, "messages": ("bchi",)},
    "bchi per l": {"layers": 1, "messages": ("bchi",), "bchi_per_l": True, "bchi_hidden": (3,)},
    "bchi per channel": {"layers": 1, "messages": ("bchi",), "bchi_per_channel": True},
    "bchi per l and channel": {
        "layers": 1,
        "messages": ("bchi",),
        "bchi_per_l": True,
        "bchi_per_channel": True,
    },
    "all, two layers, cosine": {"layers": 2, "body_order": 2, "l_max": 1, "envelope": "cosine"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_features_equal_the_edge_wise_oracle(name):
    """A triclinic cell smaller than the cutoff: self images and several images of one pair."""
    backbone = small_backbone(**VARIANTS[name])
    potential, params = small_model(
        small_config(elements=("O", "H", "C"), backbone=backbone, charges=None)
    )
    atoms = rattled(3, count=4, cell=0.7 * TRICLINIC, symbols=("H", "C", "O"))
    species = [("O", "H", "C").index(symbol) for symbol in atoms.symbols]
    edges = list(edges_of(atoms, backbone.cutoff))
    assert any(sender == receiver for sender, receiver, _ in edges)
    assert np.linalg.norm(atoms.cell.array, axis=1).min() < backbone.cutoff
    expected = oracle_features(params["backbone"], backbone, species, edges)
    # Padding changes nothing: atoms and slots beyond those there are.
    bare = structure_of(atoms, potential)
    need = size_of(bare)
    padded = pad_structure(bare, need._replace(atoms=6, neighbors=need.neighbors + 3))
    features = jax.jit(potential.features_fn)(params, padded).invariants[: len(atoms)]
    assert features.shape == (len(atoms), n_features(backbone))
    kinds = features.reshape(4, backbone.n_radial_basis, -1, backbone.n_atom_basis**2)
    reference = expected.reshape(kinds.shape)
    # Kinds differ by orders of magnitude; each is held to its own largest value.
    scale = np.abs(reference).max(axis=(0, 1, 3), keepdims=True)
    np.testing.assert_allclose(kinds / scale, reference / scale, atol=1e-11)
