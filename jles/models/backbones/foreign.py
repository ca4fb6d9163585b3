"""Models written elsewhere as backbones, by the names under which they are registered.

A model file names its model and never a module to import: what runs was installed or registered
by the user.
"""

import inspect
import json
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import NamedTuple

import flax.linen as nn
import jax

from jles.bloch.traced import bloch_weighted_call
from jles.config import to_nested_copy
from jles.errors import InputError
from jles.models.backbones.features import Features
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.foreign_model import (
    Edges,
    ForeignModel,
    Layout,
    call,
    check_features,
    edges_of,
    first_line,
    layout,
)
from jles.models.backbones.foreign_replica import replica
from jles.models.backbones.graph import Graph
from jles.models.backbones.jax_md_nequip import jax_md_nequip
from jles.models.backbones.mlip_models import MLIP_MODELS

Factory = Callable[..., ForeignModel]
"""`(cutoff, elements, **options) -> ForeignModel`; elements are chemical symbols."""

ENTRY_POINTS = "jles.foreign"
"""Group of the entry points by which an installed package registers models."""

_BUILT_IN: dict[str, Factory] = {"jax-md-nequip": jax_md_nequip} | MLIP_MODELS
_FACTORIES: dict[str, Factory] = {}
_BUILT: dict[tuple, "Built"] = {}


class Built(NamedTuple):
    """A model, the layout of its parameters, and what was checked of it in this process."""

    model: ForeignModel
    layout: Layout
    checked: set


def register(name: str, factory: Factory) -> Factory:
    """Makes a model known to configurations as `{kind: foreign, name: ...}`, in this process.

    Args:
        name: replaces what was registered under it before.
        factory: `(cutoff, elements, **options) -> ForeignModel`.

    Returns:
        The factory.
    """
    _FACTORIES[name] = factory
    for key in [key for key in _BUILT if key[0] == name]:
        del _BUILT[key]
    return factory


def is_registered(name: str) -> bool:
    """True if a configuration may use this name."""
    return name in {*_FACTORIES, *_BUILT_IN, *entry_points(group=ENTRY_POINTS).names}


def factory_of(name: str) -> Factory:
    """The factory that is registered under a name, or that an installed package offers.

    Raises:
        InputError: no such name, which says how to register it; or a package whose entry point
            cannot be loaded.
    """
    if name in _FACTORIES:
        return _FACTORIES[name]
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        try:
            return entry.load()
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(
                f"backbone.name: '{name}' cannot be loaded from its package: {entry.value} "
                f"({reason}); install the package again"
            ) from error
    offered = sorted({*_BUILT_IN, *_FACTORIES, *entry_points(group=ENTRY_POINTS).names})
    raise InputError(
        f"backbone.name: '{name}' is not registered ({', '.join(offered)} are); "
        f"call jles.models.backbones.foreign.register('{name}', factory) first, or install a "
        f"package with this entry point in the group '{ENTRY_POINTS}'"
    )


def build_foreign(config: ForeignConfig, elements: tuple[str, ...]) -> Built:
    """The model of a configuration.

    Raises:
        InputError: the name is not registered, an option does not exist, the factory fails or
            returns something else, or parameters that cannot be stored.
    """
    options = to_nested_copy(config.options)
    key = (config.name, config.cutoff, elements, json.dumps(options, sort_keys=True))
    if key not in _BUILT:
        factory = factory_of(config.name)
        try:
            inspect.signature(factory).bind(config.cutoff, elements, **options)
        except TypeError as error:
            raise InputError(f"backbone.options of '{config.name}': {error}") from None
        with about(config):
            try:
                model = factory(config.cutoff, elements, **options)
            except InputError:
                raise
            except Exception as error:
                reason = f"{type(error).__name__}: {first_line(error)}"
                raise InputError(f"backbone.options: its factory fails ({reason})") from error
            if not isinstance(model, ForeignModel):
                raise InputError(
                    f"its factory returns {type(model).__name__}; return "
                    "ForeignModel(function, init)"
                )
            _BUILT[key] = Built(model, layout(model), set())
    return _BUILT[key]


@contextmanager
def about(config: ForeignConfig):
    """Errors of the input begin with the name of the model."""
    try:
        yield
    except InputError as error:
        raise InputError(f"foreign model '{config.name}': {error}") from None


class Foreign(nn.Module):
    """A model written elsewhere, with exact Born charges without a change of its source.

    It keeps the model that was registered when it was made.
    """

    config: ForeignConfig
    built: Built

    @nn.compact
    def __call__(self, graph: Graph) -> Features:
        """Features of every atom."""
        model, arranged, _ = self.built
        dtype = graph.vectors.dtype
        if self.is_initializing():
            leaves = self.param("model", lambda key: arranged.named(model.init(key), dtype))
        else:
            leaves = self.get_variable("params", "model")
        params = arranged.params(leaves)
        config = self.config
        needs_replica = graph.bloch is not None and config.layers > 1
        with about(config):
            if needs_replica and config.carries == "replica":
                cluster = replica(graph, config)
                found = cluster.home(evaluate(config, model, params, cluster.edges))
                return check_features(found, graph.species.shape[0], config.degree, dtype)
            edges = edges_of(graph, config.cutoff)
            found = evaluate(config, model, params, edges)
            found = check_features(found, edges.species.shape[0], config.degree, dtype)
        return jax.tree.map(lambda values: values[:-1], found)


def evaluate(config: ForeignConfig, model: ForeignModel, params, edges: Edges) -> Features:
    """Features of all atoms, with Bloch-weighted derivatives where the edges have a weight."""

    def function(*arguments):
        return call(model.function, *arguments)

    *arguments, weight = edges
    if weight is None or config.layers == 1:
        return function(params, *arguments)
    return bloch_weighted_call(function, weight, params, *arguments)
