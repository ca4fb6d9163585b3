"""Read-outs beyond a perceptron: element charges, charge flow, moments, polarizability."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jles.electrostatics.response.induction import positive, positive_tensor
from jles.models.backbones.features import Features
from jles.models.backbones.graph import Graph
from jles.models.config import DirectCharges, FlowCharges, MomentConfig, PolarizabilityConfig
from jles.models.readouts import Perceptron, Readout
from jles.products import einsum


class ElementReadout(nn.Module):
    """A charge of every element, plus a read-out of the surroundings that starts at zero.

    A read-out that starts at random can find the Born charges of a crystal, to first order in
    displacements, from charges that flow between neighbours, and leave the ions neutral.
    """

    config: DirectCharges
    elements: tuple[str, ...]

    @nn.compact
    def __call__(
        self, invariants: Float[Array, "atoms features"], species: Int[Array, " atoms"]
    ) -> Float[Array, "atoms 1"]:
        """Charges, e; `species` are the places of the atoms' elements in `elements`."""
        initial = [self.config.initial[symbol] for symbol in self.elements]
        own = self.param("elements", lambda _: jnp.asarray(initial, invariants.dtype))
        varying = Readout(self.config, start_at_zero=True, name="surroundings")(invariants)
        return own[species][:, None] + varying


class FlowReadout(nn.Module):
    r"""Charges that flow between neighbours: :math:`q_i = \sum_j (t_{ij} - t_{ji})`.

    :math:`t_{ij} = f(r_{ij})\, a_i\cdot b_j`, where a and b are read-outs of the invariants and
    f ends at the cutoff. Each atom gains what its neighbour loses, so the charges sum to zero,
    and so do the Born charges, in crystals as in clusters.
    """

    config: FlowCharges

    @nn.compact
    def __call__(
        self,
        invariants: Float[Array, "atoms features"],
        graph: Graph,
        reach: Float[Array, "atoms neighbors"],
    ) -> Float[Array, "atoms 1"]:
        """Charges, e; `reach` is f of every slot, zero in padding slots."""
        plain = self.config.replace(scale=1.0)
        both = Readout(plain, self.config.outputs, name="sides")(invariants)
        take, give = jnp.split(both, 2, axis=1)
        gained = jnp.einsum("im,inm->in", take, graph.gather(give))
        lost = jnp.einsum("im,inm->in", give, graph.gather(take))
        return self.config.scale * jnp.sum(reach * (gained - lost), axis=1, keepdims=True)


class MomentReadout(nn.Module):
    r"""Vectors or tensors of every atom: :math:`s\sum_c g_c(B) \sum_v W_{vc} X_v`.

    X are the vectors or tensors of the backbone, B its invariants, g a perceptron and s
    `config.scale`. The result is linear in X, and therefore equivariant.
    """

    config: MomentConfig

    @nn.compact
    def __call__(
        self,
        invariants: Float[Array, "atoms features"],
        equivariants: Float[Array, "atoms many ..."],
    ) -> Float[Array, "atoms ..."]:
        """The moment of every atom."""
        config, dtype = self.config, invariants.dtype
        shape = (equivariants.shape[1], config.channels)
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        mixing = self.param("mixing", init, shape, dtype)
        gates = Perceptron((*config.hidden, config.channels), name="perceptron")(invariants)
        # Gate first: the product with the mixing is then one number per vector, not per
        # channel.
        return config.scale * einsum("av...,av->a...", equivariants, gates @ mixing.T)


class PolarizabilityReadout(nn.Module):
    """Scalars (atoms,) or symmetric tensors (atoms, 3, 3) without negative eigenvalues."""

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
