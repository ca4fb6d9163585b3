"""From features to what an atom carries: a perceptron with an optional linear map beside it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.models.config import ReadoutConfig


class Perceptron(nn.Module):
    """Dense layers with SiLU between them and none after the last."""

    sizes: tuple[int, ...]
    bias: bool = True

    @nn.compact
    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch out"]:
        for n, size in enumerate(self.sizes):
            dense = nn.Dense(
                size,
                use_bias=self.bias,
                param_dtype=features.dtype,
                kernel_init=nn.initializers.variance_scaling(1.0, "fan_in", "uniform"),
                name=f"layers_{n}",
            )
            features = dense(features)
            if n < len(self.sizes) - 1:
                features = jax.nn.silu(features)
        return features


class Readout(nn.Module):
    """`scale` times (perceptron + linear map) of every atom's features."""

    config: ReadoutConfig
    outputs: int = 1

    @nn.compact
    def __call__(self, features: Float[Array, "atoms features"]) -> Float[Array, "atoms out"]:
        config = self.config
        values = Perceptron((*config.hidden, self.outputs), config.bias, name="perceptron")(features)
        if config.linear:
            linear = nn.Dense(
                self.outputs,
                use_bias=config.linear_bias,
                param_dtype=features.dtype,
                kernel_init=nn.initializers.variance_scaling(1.0, "fan_in", "uniform"),
                name="linear",
            )
            values = values + linear(features)
        return jnp.asarray(config.scale, features.dtype) * values
