"""Applying a network: the one place where the precision of its products is set."""

import flax.linen as nn
import jax


def apply_network(network: nn.Module, params: dict, *inputs, precision: str):
    """The output of a network whose matrix products have a precision.

    The precision is recorded in the products when they are traced, so their derivatives have it
    too. Products with a precision of their own keep it.

    Args:
        network: backbone or read-out.
        params: of the network.
        inputs: of the network.
        precision: `ModelConfig.precision`.
    """
    with jax.default_matmul_precision(precision):
        return network.apply({"params": params}, *inputs)
