"""A short-range model written elsewhere, with latent charges on its features."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

from jles.bloch.traced import reach_of
from jles.errors import InputError, InputWarning
from jles.models.backbones.features import EQUIVARIANT, Features
from jles.models.backbones.foreign import (
    Factory,
    about,
    build_foreign,
    factory_of,
    is_registered,
    register,
)
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.foreign_model import (
    ForeignModel,
    call,
    check_features,
    check_params,
)
from jles.models.config import ModelConfig
from jles.models.potential import build_potential
from jles.predict.model import Model

_GIVEN: dict[str, tuple[Factory, Callable]] = {}
"""Factories that `augment` registered itself, and their functions, by name."""

_OWN = ("elements", "backbone")
"""Keys of `ModelConfig` that other arguments of `augment` give."""


def augment(
    function: Callable | str,
    params=None,
    *,
    cutoff: float,
    elements: Sequence[str],
    name: str | None = None,
    options: Mapping | None = None,
    layers: int | None = None,
    degree: int | None = None,
    carries: str = "traced",
    cells: int = 1,
    dtype: str = "float32",
    seed: int = 0,
    **parts,
) -> Model:
    """A model with the features and energies of a function, and latent charges on top.

    The charges and the correction of the atomic energies are read-outs of the features, which
    are not trained yet. Save the model and train it with `model.start_from`.

    Args:
        function: `(params, vectors, species, senders, receivers) -> Features`, or a pair of
            invariants or `Features` and atomic energies, see `ForeignModel`; or the name of a
            registered model.
        params: of the function, a tree of arrays. None with the name of a registered model:
            initial ones.
        cutoff: of the edges, angstrom.
        elements: chemical symbols; `species` are places in this list.
        name: of the function in model directories; by default its `__name__`. A lambda or a
            partial function needs one. Other processes register a factory under this name
            before they load the model.
        options: of the factory, kept in the model directory.
        layers: the receptive field in cutoffs; by default what tracing finds, and 1 for a
            model without charges that cannot be traced.
        degree: highest degree of the features that are used; by default all.
        carries: "traced" or "replica", see `ForeignConfig`.
        cells: see `ForeignConfig`.
        dtype: "float32" or "float64".
        seed: of the initial read-outs.
        parts: keys of `ModelConfig`, e.g. `charges`, `dipoles` or `element_energies`.

    Raises:
        InputError: the function returns something else, its features do not transform as they
            should, an operation cannot be followed, or a key of `parts` is wrong.
    """
    _check_arguments(elements, parts)
    name = function if isinstance(function, str) else _named(function, name, params)
    elements, options = tuple(elements), dict(options or {})
    backbone = ForeignConfig(cutoff, name, carries=carries, cells=cells, options=options)
    with jax.enable_x64(dtype == "float64"):
        charged = parts.get("charges", {}) is not None
        layers, degree = _measured(backbone, elements, params, layers, degree, charged)
        backbone = backbone.replace(layers=layers, degree=degree)
        config = ModelConfig(elements=elements, backbone=backbone, **parts)
        initial = build_potential(config).init(jax.random.key(seed), jnp.dtype(dtype))
        if params is not None:
            arranged = build_foreign(backbone, elements).layout
            initial["backbone"] = {"model": arranged.named(params, jnp.dtype(dtype))}
    return Model(config, initial, dtype, name)


def _check_arguments(elements, parts) -> None:
    """Refuses elements that are no sequence, and keys that the configuration does not have."""
    if isinstance(elements, str) or not isinstance(elements, Iterable):
        raise InputError(
            f"elements: is {elements!r}; give chemical symbols, e.g. elements=('H', 'O')"
        )
    known = [key for key in ModelConfig.__struct_fields__ if key not in _OWN]
    for key in parts:
        if key not in known:
            raise InputError(f"augment: unknown key '{key}'; known keys: {', '.join(known)}")


def _named(function, name, params) -> str:
    """The name under which the function is registered."""
    if not callable(function):
        raise InputError(
            f"function: is of type {type(function).__name__}; give a function of (params, "
            "vectors, species, senders, receivers) or the name of a registered model"
        )
    _check_signature(function)
    if params is None:
        raise InputError("params: missing; give the parameters of the function")
    name = getattr(function, "__name__", None) if name is None else name
    if name in (None, "<lambda>"):
        raise InputError("name: missing; the function has no name of its own, so give name=")
    if is_registered(name):
        factory, earlier = _GIVEN.get(name, (None, None))
        if factory is None or factory_of(name) is not factory:
            raise InputError(
                f"name: '{name}' is registered already; give another name, or '{name}' in "
                "place of the function"
            )
        if earlier is not function:
            warnings.warn(
                f"name: '{name}' was another function until now; models saved with that one "
                "will load with this one, so give each function a name",
                InputWarning,
                stacklevel=3,
            )

    def factory(cutoff, elements, **options):
        return ForeignModel(function, lambda _: params)

    _GIVEN[name] = register(name, factory), function
    return name


def _measured(backbone, elements, params, layers, degree, charged) -> tuple[int, int]:
    """Layers and degree, as given or as the function has them."""
    model = build_foreign(backbone, elements).model

    def function(*arguments) -> Features:
        return call(model.function, *arguments)

    dtype = jnp.zeros(0).dtype
    if params is not None:
        with about(backbone):
            check_params(model, params)
    shapes = jax.eval_shape(model.init, jax.random.key(0)) if params is None else params
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(getattr(leaf, "shape", ()), dtype), shapes
    )
    ends = jax.ShapeDtypeStruct((6,), int)
    arguments = shapes, jax.ShapeDtypeStruct((6, 3), dtype), *[ends] * 3
    with about(backbone):
        found = _shapes(function, arguments)
        if degree is None:
            has = [getattr(found, name) is not None for name in EQUIVARIANT]
            degree = 0 if not has[0] else 1 + int(has[1])
        # A wrong shape is named here; the trace below would stop at the operation behind it.
        _shapes(lambda *graph: check_features(function(*graph), 6, degree, dtype), arguments)
        if layers is None and backbone.carries == "replica":
            raise InputError(
                "layers: needed with carries 'replica': the receptive field over the cutoff"
            )
        if layers is not None:
            return layers, degree
        try:
            return reach_of(function, *arguments), degree
        except InputError:
            # Without charges nothing is weighted, so the function need not be followed.
            if charged:
                raise
            return 1, degree


_UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def _shapes(function, arguments) -> Features:
    """Shapes of the features.

    Raises:
        InputError: JAX cannot trace the function.
    """
    try:
        return jax.eval_shape(function, *arguments)
    except _UNTRACEABLE as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"JAX cannot trace it ({reason}); use jax.numpy in place of numpy, and no values "
            "of arrays in if, for or int()"
        ) from None


def _check_signature(function: Callable) -> None:
    """Refuses a function that cannot take the five arguments."""
    try:
        inspect.signature(function).bind(*range(5))
    except ValueError:
        return  # it has no signature that Python could read
    except TypeError as error:
        raise InputError(
            f"function: cannot take (params, vectors, species, senders, receivers) ({error})"
        ) from None
