"""A model written elsewhere: its functions, and calls of them."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.errors import InputError
from jles.models.backbones.features import EQUIVARIANT, Features
from jles.models.backbones.graph import Graph


class ForeignModel(NamedTuple):
    """A model written elsewhere: pure functions of its parameters.

    Attributes:
        function: `(params, vectors, species, senders, receivers) -> Features`, or a pair
            `(features, energies)` of invariants or `Features` and atomic energies (eV).
            `vectors` (edges, 3) point from receivers to senders, angstrom; `species` (atoms,)
            are places in the element list. What an edge contributes must vanish at the cutoff.
        init: `key -> params`, a tree of arrays of floating-point numbers.
    """

    function: Callable
    init: Callable


class Edges(NamedTuple):
    """A graph as lists of edges, with one atom more, at which all padding edges end.

    Attributes:
        vectors: from receivers to senders, angstrom.
        species: of the atoms.
        senders: neighbours.
        receivers: atoms that have the neighbours.
        weight: of Bloch-weighted derivatives; None for plain ones.
    """

    vectors: Float[Array, "edges 3"]
    species: Int[Array, " atoms"]
    senders: Int[Array, " edges"]
    receivers: Int[Array, " edges"]
    weight: Float[Array, " edges"] | None = None


def edges_of(graph: Graph, cutoff: float) -> Edges:
    """The edges of a graph.

    Padding, and neighbours beyond the cutoff, become edges of the additional atom with itself,
    twice as long as the cutoff. No atom of the structure depends on them, whatever a model does
    with edges that long.
    """
    inside = (graph.present > 0.0) & (graph.distances < cutoff)
    atoms = inside.shape[0]
    far = jnp.array([2.0 * cutoff, 0.0, 0.0], graph.vectors.dtype)
    vectors = jnp.where(inside[..., None], graph.vectors, far)
    weight = graph.bloch_weight
    if weight is not None:
        weight = jnp.where(inside, weight, 1.0).reshape(-1)
    return Edges(
        vectors.reshape(-1, 3),
        jnp.pad(graph.species, (0, 1)),
        jnp.where(inside, graph.index, atoms).reshape(-1),
        jnp.where(inside, jnp.arange(atoms)[:, None], atoms).reshape(-1),
        weight,
    )


def call(function: Callable, params, vectors, species, senders, receivers) -> Features:
    """The features of all atoms, with the rules of promotion that JAX has by default."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return to_features(function(params, vectors, species, senders, receivers))


def to_features(result) -> Features:
    """The result of a foreign function as `Features`.

    Raises:
        InputError: something else.
    """
    if isinstance(result, Features):
        return result
    if isinstance(result, tuple) and len(result) == 2:
        return to_features(result[0])._replace(energies=result[1])
    if isinstance(result, Mapping) and set(result) <= set(Features._fields):
        if "invariants" in result:
            return Features(**{name: result.get(name) for name in Features._fields})
    elif hasattr(result, "ndim"):
        return Features(result, None, None)
    raise InputError(
        f"returns {type(result).__name__}; return jles.Features, invariants (atoms, features), "
        "or a pair of one of them and atomic energies"
    )


_SHAPES = {
    "invariants": ("features",),
    "vectors": ("vectors", 3),
    "tensors": ("tensors", 3, 3),
    "energies": (),
}


def check_features(features: Features, atoms: int, degree: int, dtype) -> Features:
    """The features up to a degree, after a check of shapes and types.

    Args:
        features: arrays.
        atoms: their number.
        degree: highest degree of the features.
        dtype: of the vectors the features were computed from.

    Raises:
        InputError: features of another shape or type, or of a lower degree.
    """
    for l, name in enumerate(EQUIVARIANT, start=1):
        if degree < l:
            features = features._replace(**{name: None})
        elif getattr(features, name) is None:
            raise InputError(
                f"returns no {name}, but backbone.degree is {degree}; set it to {l - 1} or "
                f"return Features({name}=...)"
            )
    if features.invariants is None:
        raise InputError("returns no invariants; return at least one for every atom")
    for name, shape in _SHAPES.items():
        values = getattr(features, name)
        if values is None:
            continue
        fits = len(values.shape) == 1 + len(shape) and all(
            have == want or (isinstance(want, str) and have > 0)
            for have, want in zip(values.shape, (atoms, *shape), strict=True)
        )
        if not fits:
            wanted = ", ".join(map(str, ("atoms", *shape)))
            raise InputError(
                f"returns {name} of shape {tuple(values.shape)} for {atoms} atoms; return "
                f"({wanted}{'' if shape else ','})"
            )
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise InputError(
                f"returns {name} in {values.dtype}, not a floating-point type; let the type "
                "follow the vectors"
            )
        if jnp.finfo(values.dtype).bits < jnp.finfo(dtype).bits:
            raise InputError(
                f"returns {name} in {values.dtype} for vectors in {dtype}; let the type follow "
                f"the vectors, or use dtype {values.dtype}"
            )
    return jax.tree.map(lambda values: values.astype(dtype), features)


class Layout(NamedTuple):
    """Names of the parameters of a model in files.

    Attributes:
        names: of the leaves, in order.
        shapes: of the leaves. Those without any number are not stored.
        tree: structure of the parameters.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    tree: jax.tree_util.PyTreeDef

    def named(self, params, dtype) -> dict:
        """The leaves of parameters by name."""
        leaves = jax.tree.leaves(params)
        return {
            name: jnp.asarray(leaf, dtype)
            for name, leaf in zip(self.names, leaves, strict=True)
            if jnp.size(leaf)
        }

    def params(self, leaves: Mapping):
        """The parameters that have these leaves."""
        dtype = next(iter(leaves.values())).dtype
        named = zip(self.names, self.shapes, strict=True)
        found = [
            leaves[name] if math.prod(shape) else jnp.zeros(shape, dtype)
            for name, shape in named
        ]
        return jax.tree.unflatten(self.tree, found)


def layout(model: ForeignModel) -> Layout:
    """The layout of the parameters of a model.

    Raises:
        InputError: no parameters, or a leaf that is no array of floating-point numbers.
    """
    try:
        shapes = jax.eval_shape(model.init, jax.random.key(0))
    except TypeError as error:
        raise InputError(f"params: not a tree of arrays ({first_line(error)})") from None
    names, sizes = [], []
    for path, leaf in jax.tree.leaves_with_path(shapes):
        # A dot would be read as a level of the tree of all parameters.
        name = jax.tree_util.keystr(path, simple=True, separator="/").replace(".", "_")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InputError(
                f"params: leaf '{name}' is {leaf.dtype}, not a floating-point type; keep it in "
                "the function or in options"
            )
        names.append(name if name and name not in names else f"{name}/{len(names)}")
        sizes.append(leaf.shape)
    if not any(map(math.prod, sizes)):
        raise InputError("params: the model has no parameters; give it one at least")
    return Layout(tuple(names), tuple(sizes), jax.tree.structure(shapes))


def check_params(model: ForeignModel, params) -> None:
    """Refuses parameters that are not like the initial ones of the model.

    Raises:
        InputError: names the first leaf that is missing, unknown or of another shape.
    """
    initial, given = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): getattr(leaf, "shape", ())
            for path, leaf in jax.tree.leaves_with_path(tree)
        }
        for tree in (jax.eval_shape(model.init, jax.random.key(0)), params)
    )
    for name in initial | given:
        wanted, shape = initial.get(name), given.get(name)
        if wanted == shape:
            continue
        what = f"has shape {shape}, not {wanted}"
        what = "is missing" if shape is None else what
        what = "is not one of the model" if wanted is None else what
        raise InputError(f"params: leaf '{name}' {what}; give the parameters of this model")


def first_line(error: Exception) -> str:
    """The first line of a message, of at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
