"""Numerical checks of models written elsewhere, on small random structures.

Nothing about such a model is known beforehand: what it returns is rotated, reflected and
permuted with the atoms, and exact Born charges by tracing are compared with a long chain of
copies.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.bloch.sites import NO_FORWARD_MODE
from jles.bloch.traced import reach_of
from jles.errors import InputError
from jles.models.backbones.features import Features
from jles.models.backbones.foreign import Built, about, build_foreign, evaluate
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.foreign_model import Edges, call, check_features
from jles.models.digest import digest_of

_ATOMS = 5
_HOME = 4
_NEAR_CUTOFF = 0.999
_TOLERANCE = {"float32": 2e-3, "float64": 1e-7}
_JUMP = 1e-2


def check_foreign(
    config: ForeignConfig, elements: tuple[str, ...], leaves: dict, born_charges: bool
) -> None:
    """Checks a model once in a process for the same parameters.

    What is checked: shapes, symmetries, cutoff, reach and exact Born charges.

    Args:
        config: of the backbone.
        elements: of the model.
        leaves: parameters of the backbone by name.
        born_charges: whether the model has charges, and so exact Born charges.

    Raises:
        InputError: what is wrong, and a remedy.
    """
    built = build_foreign(config, elements)
    checked = config, born_charges, digest_of(leaves)
    if checked in built.checked:
        return
    with about(config), jax.default_matmul_precision("highest"):
        params = built.layout.params(leaves)
        dtype = jax.tree.leaves(params)[0].dtype
        _check_finite(leaves)
        _check_symmetries(config, built, params, len(elements), dtype)
        if born_charges and config.carries == "traced":
            _check_reach(config, built, params, dtype)
        if born_charges:
            _check_born_charges(config, built, params, len(elements), dtype)
    built.checked.add(checked)


def _check_finite(leaves: dict) -> None:
    for name, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            raise InputError(f"params: leaf '{name}' is NaN or infinite; train the model again")


def _check_precision(built: Built, params, dtype, error: float) -> None:
    """Refuses, once a check has failed, a function that computes in less than float64."""
    if dtype != np.float64 or not error <= 10.0 * _TOLERANCE["float32"]:
        return
    ends = jax.ShapeDtypeStruct((_ATOMS,), int)
    vectors = jax.ShapeDtypeStruct((_ATOMS, 3), dtype)
    function = partial(call, built.model.function)
    traced = jax.make_jaxpr(function)(params, vectors, *[ends] * 3)
    lower = re.search(r"\b(bf16|f16|f32)\[", str(traced))
    if lower:
        raise InputError(
            f"computes in {lower[1]} for vectors in float64 (wrong by {error:.1g} of the size "
            "of its features); let types follow the vectors, or use dtype float32"
        )


class _Cluster(NamedTuple):
    """A small structure: edges between all atoms, and which of them are left out."""

    places: np.ndarray
    species: np.ndarray
    absent: np.ndarray


def _check_symmetries(config, built: Built, params, n_elements: int, dtype) -> None:
    """Refuses features that do not transform as they should, or that jump at the cutoff."""
    rng = np.random.default_rng(0)
    cutoff, shape = config.cutoff, (_ATOMS, _ATOMS)
    places = _apart(rng, 0.75 * cutoff)
    # The last atom is near the cutoff of the first one, and beyond that of the others.
    outward = places[0] - places[:-1].mean(axis=0)
    places[-1] = places[0] + _NEAR_CUTOFF * cutoff * outward / np.linalg.norm(outward)
    species = rng.permutation(np.arange(_ATOMS) % n_elements)
    absent = np.eye(_ATOMS, dtype=bool)
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    absent |= distances >= cutoff
    turn, order = _rotation(rng), rng.permutation(_ATOMS)
    without = np.ones(shape, bool)
    without[:-1, :-1] = absent[:-1, :-1]
    # The last two atoms see each other, at two distances, and no others.
    apart = absent.copy()
    apart[:-2, -2:] = apart[-2:, :-2] = True
    apart[-2:, -2:] = np.eye(2, dtype=bool)
    pairs = np.stack([places, places])
    pairs[:, -1] = places[-2] + np.outer([0.35, 0.7], [cutoff, 0.0, 0.0])
    variants = {
        "plain": _Cluster(places, species, absent),
        "rotation": _Cluster(places @ turn, species, absent),
        "inversion": _Cluster(-places, species, absent),
        "permutation": _Cluster(places[order], species[order], absent[np.ix_(order, order)]),
        "cutoff": _Cluster(places, species, without),
        "others": _Cluster(pairs[0], species, apart),
        "moved": _Cluster(pairs[1], species, apart),
    }

    @jax.jit
    @jax.vmap
    def features(cluster: _Cluster):
        found = call(built.model.function, params, *_edges_of_cluster(cluster, cutoff, dtype))
        found = check_features(found, _ATOMS + 1, config.degree, dtype)
        return jax.tree.map(lambda values: values[:-1], found)

    stacked = _Cluster(*(np.stack(parts) for parts in zip(*variants.values(), strict=True)))
    found = features(stacked)
    of = {
        name: jax.tree.map(lambda values, n=n: np.asarray(values[n], np.float64), found)
        for n, name in enumerate(variants)
    }
    plain, tolerance = of.pop("plain"), _TOLERANCE[dtype.name]
    of["others"], moved = (
        jax.tree.map(lambda values: values[:-2], of.pop(name)) for name in ("others", "moved")
    )
    expected = {
        "rotation": _turned(plain, turn),
        "inversion": _turned(plain, -np.eye(3)),
        "permutation": jax.tree.map(lambda values: values[order], plain),
        "cutoff": plain,
        "others": moved,
    }
    remedies = {
        "rotation": "return invariants, vectors and tensors as such",
        "inversion": "return true scalars, polar vectors and true tensors only",
        "permutation": "let them depend on an atom by its species and edges alone",
        "cutoff": "give the cutoff of the model, or multiply what edges contribute by an "
        "envelope that ends there",
        "others": "let them depend on an atom by its species and edges alone",
    }
    for what, features_there in of.items():
        allowed = _JUMP if what == "cutoff" else tolerance
        name, error = _largest(features_there, expected[what])
        if not error <= allowed:
            _check_precision(built, params, dtype, error)
            how = "at the cutoff" if what == "cutoff" else f"under {what} of the structure"
            size = f"wrong by {error:.1g} of their size"
            size = "NaN or infinite" if not np.isfinite(error) else size
            verb = f"jump {how}" if what == "cutoff" else f"do not transform {how}"
            verb = "depend on atoms that no edges lead to" if what == "others" else verb
            raise InputError(f"its {name} {verb} ({size}); {remedies[what]}")
    tensors = plain.tensors
    if tensors is not None and not (
        _largest_of(np.swapaxes(tensors, -1, -2), tensors) < tolerance
        and np.abs(np.trace(tensors, axis1=-1, axis2=-2)).max()
        <= tolerance * max(np.abs(tensors).max(), 1.0)
    ):
        raise InputError(
            "its tensors are not symmetric and traceless; return that part of them only"
        )


def _apart(rng, radius: float) -> np.ndarray:
    """Positions at random in a ball, none closer than a third of its radius."""
    places = []
    while len(places) < _ATOMS:
        place = rng.uniform(-radius, radius, 3)
        far = all(np.linalg.norm(place - other) > radius / 3 for other in places)
        if np.linalg.norm(place) < radius and far:
            places.append(place)
    return np.array(places)


def _rotation(rng) -> np.ndarray:
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def _edges_of_cluster(cluster: _Cluster, cutoff: float, dtype) -> tuple:
    """Vectors, species, senders and receivers; absent edges end at an additional atom."""
    places, absent = jnp.asarray(cluster.places, dtype), cluster.absent
    far = jnp.array([2.0 * cutoff, 0.0, 0.0], dtype)
    vectors = jnp.where(absent[..., None], far, places[None] - places[:, None])
    numbers = jnp.arange(_ATOMS)
    senders = jnp.where(absent, _ATOMS, numbers[None, :])
    receivers = jnp.where(absent, _ATOMS, numbers[:, None])
    species = jnp.pad(cluster.species, (0, 1))
    return vectors.reshape(-1, 3), species, senders.reshape(-1), receivers.reshape(-1)


def _turned(features: Features, turn) -> Features:
    vectors, tensors = features.vectors, features.tensors
    return features._replace(
        vectors=None if vectors is None else vectors @ turn,
        tensors=None if tensors is None else np.einsum("xa,yb,itxy->itab", turn, turn, tensors),
    )


def _largest(found: Features, expected: Features) -> tuple[str, float]:
    """The features that deviate most, and the deviation in units of their size."""
    errors = {
        name: _largest_of(values, getattr(expected, name))
        for name, values in found._asdict().items()
        if values is not None
    }
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    return worst, errors[worst]


def _largest_of(found, expected) -> float:
    """The largest deviation in units of the features of the same atom."""
    error, size = (
        np.abs(values).reshape(len(values), -1).max(axis=1)
        for values in (found - expected, expected)
    )
    return float(np.max(error / np.maximum(size, 1e-3 * max(size.max(), 1e-3))))


def _check_reach(config, built: Built, params, dtype) -> None:
    """Refuses a function that sees atoms farther away than its configuration says."""
    ends = jax.ShapeDtypeStruct((_ATOMS,), int)
    vectors = jax.ShapeDtypeStruct((_ATOMS, 3), dtype)
    found = reach_of(partial(call, built.model.function), params, vectors, *[ends] * 3)
    if found > config.layers:
        raise InputError(
            f"layers: {config.layers}, but its features depend on atoms {found} cutoffs away; "
            f"set backbone.layers: {found}"
        )


def _check_born_charges(config, built: Built, params, n_elements: int, dtype) -> None:
    """Compares Bloch-weighted derivatives in a periodic chain with those in a long chain."""
    rng = np.random.default_rng(1)
    cutoff, copies = config.cutoff, 2 * config.layers + 3
    home = rng.uniform(0.0, 1.0, (_HOME, 3)) * [0.1, 0.5, 0.5] * cutoff
    home[:, 0] += np.arange(_HOME) * 1.1 / _HOME * cutoff
    period = np.array([1.1 * cutoff, 0.0, 0.0])
    images = np.arange(copies) - copies // 2
    places = (home[None] + images[:, None, None] * period).reshape(-1, 3)
    receivers, senders = _pairs(places, cutoff)
    species = np.arange(_HOME) % n_elements
    vectors = places[senders] - places[receivers]
    chain = Edges(vectors, np.tile(species, copies), senders, receivers)
    derivative = _derivative(config, built, params, dtype)
    first = _HOME * (copies // 2)

    def of_chain(motion, wave):
        """Derivatives of the atoms in the middle, and their weights taken back."""
        moved = motion * np.exp(-places @ wave)[:, None]
        found = derivative(chain, moved[senders] - moved[receivers])
        back = np.exp(home @ wave)
        return jax.tree.map(lambda all_of: (all_of[first : first + _HOME].T * back).T, found)

    motion, wave = rng.normal(size=(_HOME, 3)), rng.normal(size=3) * 0.3 / cutoff
    everywhere = np.tile(motion, (copies, 1))
    expected = of_chain(everywhere, wave)
    if config.carries == "replica":
        away = np.linalg.norm(places[:, None] - home, axis=-1).min(axis=1)
        near = (away < config.receptive_field)[:, None]
        found = of_chain(everywhere * near, wave)
    else:
        inside = receivers // _HOME == copies // 2
        at, other = receivers[inside] % _HOME, senders[inside] % _HOME
        weight = np.exp(-vectors[inside] @ wave)
        cell = Edges(vectors[inside], species, other, at, weight)
        found = derivative(cell, motion[other] * weight[:, None] - motion[at])
    name, error = _largest(found, expected)
    if not error <= 10.0 * _TOLERANCE[dtype.name]:
        _check_precision(built, params, dtype, error)
        raise InputError(
            f"the derivatives of its {name} in a crystal differ from those in a long chain of "
            f"cells by {error:.1g} of their size; set layers to how often edges pass features "
            f"on (now {config.layers}), or carries to 'replica' (now '{config.carries}')"
        )


def _derivative(config, built: Built, params, dtype) -> Callable:
    """The derivative of features as vectors move, `(edges, motion) -> Features` in float64."""

    @jax.jit
    def along(edges: Edges, motion):
        vectors, *rest = edges

        def features(moved):
            found = evaluate(config, built.model, params, Edges(moved, *rest))
            return check_features(found, len(rest[0]), config.degree, dtype)

        return jax.jvp(features, (vectors,), (motion,))[1]

    def of(edges: Edges, motion) -> Features:
        weight = None if edges.weight is None else jnp.asarray(edges.weight, dtype)
        edges = edges._replace(vectors=jnp.asarray(edges.vectors, dtype), weight=weight)
        try:
            found = along(edges, jnp.asarray(motion, dtype))
        except TypeError as error:
            if "custom_vjp" not in str(error):
                raise
            raise InputError(NO_FORWARD_MODE) from None
        return jax.tree.map(lambda values: np.asarray(values, np.float64), found)

    return of


def _pairs(places, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    return np.nonzero((distances < cutoff) & (distances > 0.0))
