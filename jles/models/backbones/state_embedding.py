"""Charge and spin state in the initial features of a backbone."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.models.backbones.graph import Graph


def with_state(
    module: nn.Module,
    graph: Graph,
    embedded: Float[Array, "atoms channels"],
    name: str = "state_embedding",
) -> Float[Array, "atoms channels"]:
    r"""The embedding of each atom's element and state, :math:`e_i + \sum_s x_{is} V_{z_i s}`.

    The second term is linear in the state x. It extrapolates smoothly to charges beyond those
    of the training, and it is zero for neutral structures without labels. V starts at zero.

    Args:
        module: the backbone, which gets the parameter V, (elements, inputs, channels). It has
            an attribute `n_elements`.
        graph: with the state x of every atom, or None, which adds nothing.
        embedded: e, the embedding of the element of every atom.
        name: of the parameter.
    """
    if graph.state is None:
        return embedded
    shape = (module.n_elements, graph.state.shape[1], embedded.shape[1])
    table = module.param(name, nn.initializers.zeros, shape, embedded.dtype)
    return embedded + jnp.einsum("as,asc->ac", graph.state, table[graph.species])


def initial_features(
    module: nn.Module, graph: Graph, table: Float[Array, "elements channels"]
) -> Float[Array, "atoms 1 channels"] | None:
    """Scalars before the first layer of an equivariant network.

    Args:
        module: as of `with_state`.
        graph: as of `with_state`.
        table: embedding of each element.

    Returns:
        None without a state. The scalars are then those of the elements, which makes the first
        layer cheaper.
    """
    if graph.state is None:
        return None
    return with_state(module, graph, table[graph.species])[:, None]
