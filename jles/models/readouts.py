"""Read-outs: from features to atomic quantities, by a perceptron and a linear map."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.models.config import ReadoutConfig

_UNIFORM = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
_ZEROS = nn.initializers.zeros_init()


class Perceptron(nn.Module):
    """Dense layers with SiLU between them and none after the last."""

    sizes: tuple[int, ...]
    bias: bool = True
    start_at_zero: bool = False

    @nn.compact
    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch out"]:
        """Values of the last layer."""
        for n, size in enumerate(self.sizes):
            is_last = n == len(self.sizes) - 1
            dense = nn.Dense(
                size,
                use_bias=self.bias,
                param_dtype=features.dtype,
                kernel_init=_ZEROS if is_last and self.start_at_zero else _UNIFORM,
                name=f"layers_{n}",
            )
            features = dense(features)
            if not is_last:
                features = jax.nn.silu(features)
        return features


class Readout(nn.Module):
    """`scale` times (perceptron + linear map) of every atom's features.

    The linear map starts at zero, and with `start_at_zero` so does the perceptron. What the
    data do not determine then stays small instead of keeping its random start. Charges cannot
    start at zero: the energy is quadratic in them, so it would have no gradient.
    """

    config: ReadoutConfig
    outputs: int = 1
    start_at_zero: bool = False

    @nn.compact
    def __call__(self, features: Float[Array, "atoms features"]) -> Float[Array, "atoms out"]:
        """The quantities of every atom."""
        config = self.config
        sizes = (*config.hidden, self.outputs)
        values = Perceptron(sizes, config.bias, self.start_at_zero, name="perceptron")(features)
        if config.linear:
            linear = nn.Dense(
                self.outputs,
                use_bias=config.linear_bias,
                param_dtype=features.dtype,
                kernel_init=_ZEROS,
                name="linear",
            )
            values = values + linear(features)
        return jnp.asarray(config.scale, features.dtype) * values
