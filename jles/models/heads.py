"""Read-outs that turn with the atoms: dipoles, quadrupoles, polarizabilities."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.response import positive, positive_tensor
from jles.models.cace import Features
from jles.models.config import MomentConfig, PolarizabilityConfig
from jles.models.readouts import Perceptron


class MomentReadout(nn.Module):
    r"""Vectors or tensors of every atom: :math:`s\sum_c g_c(B) \sum_v W_{vc} X_v`.

    X are the backbone's vectors or tensors, B its invariants, g a perceptron, s `config.scale`:
    what turns enters linearly, so the answer turns with it.
    """

    config: MomentConfig

    @nn.compact
    def __call__(
        self, invariants: Float[Array, "atoms features"], turning: Float[Array, "atoms many ..."]
    ) -> Float[Array, "atoms ..."]:
        """What every atom carries."""
        config, dtype = self.config, invariants.dtype
        shape = (turning.shape[1], config.channels)
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        mixing = self.param("mixing", init, shape, dtype)
        gates = Perceptron((*config.hidden, config.channels), name="perceptron")(invariants)
        # Gate first: the product with the mixing is then one number per vector, not per channel.
        return config.scale * jnp.einsum("av...,av->a...", turning, gates @ mixing.T)


class PolarizabilityReadout(nn.Module):
    """Scalars (atoms,) or symmetric tensors (atoms, 3, 3) that are never negative."""

    config: PolarizabilityConfig

    @nn.compact
    def __call__(self, features: Features) -> Array:
        """Polarizability of every atom, e angstrom^2/V."""
        config = self.config
        size = Perceptron((*config.hidden, 1), name="size")(features.invariants)[:, 0]
        if config.kind == "scalar":
            return positive(size, config.scale)
        shape = MomentReadout(MomentConfig(config.hidden, config.channels, 1.0), name="shape")
        traceless = shape(features.invariants, features.tensors)
        identity = jnp.eye(3, dtype=traceless.dtype)
        return positive_tensor((1.0 + size)[:, None, None] * identity + traceless, config.scale)
