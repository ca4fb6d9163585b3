"""From a structure to the environments of its atoms: graph and features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.models.backbones.build import build_backbone
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph, build_graph
from jles.models.config import ModelConfig
from jles.models.network import apply_network
from jles.models.normalization import normalize, unit_normalization
from jles.models.state import state_inputs
from jles.structures.batch import empty_structure, on_device
from jles.structures.sizes import Size
from jles.structures.structure import Structure, check_dtype, check_structure


class Environment(NamedTuple):
    """The input of the heads: a structure, its graph and the features of its atoms."""

    structure: Structure
    graph: Graph
    features: Features


class Environments:
    """The backbone of a model as functions of `(params, structure)`."""

    def __init__(self, config: ModelConfig):
        self._config = config
        self._backbone = build_backbone(config.backbone, config.elements)
        self._species = _species_table(config)

    def init(self, key, dtype) -> tuple[dict, Environment]:
        """Initial parameters, and the environment of one atom whose features are all one."""
        check_dtype("parameters", dtype)
        structure = on_device(empty_structure(Size(1, 1), dtype, self._config.has_labels))
        graph = self._graph(structure)
        features, variables = self._backbone.init_with_output(key, graph)
        features = self._appended(features, structure)
        features = jax.tree.map(jnp.ones_like, features)
        params = {"backbone": dict(variables)["params"]}
        if self._config.normalize_features:
            params["features"] = unit_normalization(self._config, features)
        return params, Environment(structure, graph, features)

    def raw(
        self,
        params: dict,
        structure: Structure,
        bloch: Float[Array, " 3"] | None = None,
        neighbors: Float[Array, "atoms neighbors 3"] | None = None,
    ) -> Environment:
        """Environments with the features of the backbone as they are, not normalized.

        Args:
            params: of the model.
            structure: one structure.
            bloch: t, 1/angstrom, for Bloch-weighted derivatives, see `jles.bloch.weighted`.
            neighbors: positions of the neighbours, angstrom; by default those of the structure.
        """
        check_structure(structure)
        check_dtype("positions", structure.positions.dtype)
        for leaf in jax.tree.leaves(params):
            check_dtype("parameters", leaf.dtype)
        graph = self._graph(structure, bloch, neighbors)
        features = apply_network(
            self._backbone, params["backbone"], graph, precision=self._config.precision
        )
        return Environment(structure, graph, self._appended(features, structure))

    def __call__(
        self,
        params: dict,
        structure: Structure,
        bloch: Float[Array, " 3"] | None = None,
        neighbors: Float[Array, "atoms neighbors 3"] | None = None,
    ) -> Environment:
        """Environments, normalized if the configuration says so; arguments as of `raw`."""
        found = self.raw(params, structure, bloch, neighbors)
        if not self._config.normalize_features:
            return found
        constants = jax.lax.stop_gradient(params["features"])
        return found._replace(features=normalize(found.features, constants))

    def _graph(self, structure, bloch=None, neighbors=None) -> Graph:
        species = jnp.asarray(self._species)[structure.numbers]
        state = self._state(structure, "embedding")
        return build_graph(structure, species, bloch, state, neighbors)

    def _state(self, structure, place: str):
        """The state of the atoms where it enters at this place, else None."""
        config = self._config.state
        enters = config is not None and config.enters == place
        return state_inputs(config, structure) if enters else None

    def _appended(self, features: Features, structure) -> Features:
        """Features with the state of the atoms among the invariants, where it enters there."""
        state = self._state(structure, "features")
        if state is None:
            return features
        return features._replace(
            invariants=jnp.concatenate([features.invariants, state], axis=1)
        )


def _species_table(config: ModelConfig) -> np.ndarray:
    """Atomic number -> place in the element list; padding (0) takes the first place."""
    table = np.zeros(max(config.numbers) + 1, np.int32)
    table[list(config.numbers)] = np.arange(len(config.numbers))
    return table
