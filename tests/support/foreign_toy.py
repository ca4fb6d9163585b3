"""A small message-passing model in the form of one written elsewhere."""

import jax
import jax.numpy as jnp

import jles
from jles.models.backbones.features import Features
from jles.models.backbones.foreign import register
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.foreign_model import ForeignModel

OPTIONS = {"width": 4, "steps": 2}


def toy(cutoff, elements, *, width=4, steps=2, function=None) -> ForeignModel:
    """Vectors and tensors of the last step, invariants, and atomic energies.

    Args:
        cutoff: angstrom.
        elements: chemical symbols.
        width: of the invariants.
        steps: how often neighbours pass invariants on.
        function: replaces the model's.
    """

    def init(key):
        shapes = {
            "embedding": (len(elements), width),
            "mixing": [(width, width)] * steps,
            "radial": (3, width),
            "energy": (width,),
        }
        is_shape = {"is_leaf": lambda x: isinstance(x, tuple)}
        shapes, tree = jax.tree.flatten(shapes, **is_shape)
        keys = jax.random.split(key, len(shapes))
        leaves = [jax.random.normal(*one) for one in zip(keys, shapes, strict=True)]
        return jax.tree.unflatten(tree, leaves)

    def model(params, vectors, species, senders, receivers):
        distances = jnp.sqrt(jnp.sum(vectors**2, axis=1))
        x = jnp.minimum(distances / cutoff, 1.0)
        envelope = 10.0 * (1.0 - x) ** 3
        waves = jnp.cos(x[:, None] * jnp.arange(3))
        radial = (waves @ params["radial"]) * envelope[:, None]
        atoms = params["embedding"][species]

        def summed(edges):
            return jax.ops.segment_sum(edges, receivers, len(species))

        for mixing in params["mixing"]:
            messages = radial * atoms[senders] * atoms[receivers]
            atoms = atoms + jax.nn.silu(summed(messages) @ mixing)
        messages = radial * atoms[senders]
        along = messages[:, :, None] * vectors[:, None]
        square = along[:, :, :, None] * vectors[:, None, None, :]
        trace = jnp.trace(square, axis1=2, axis2=3)[..., None, None] * jnp.eye(3) / 3.0
        energies = jnp.tanh(atoms) @ params["energy"]
        return Features(atoms, summed(along), summed(square - trace), energies)

    return ForeignModel(function or model, init)


def toy_config(**changes) -> ForeignConfig:
    """Registers the model and gives its configuration."""
    register("toy", toy)
    values = {"cutoff": 2.8, "name": "toy", "layers": 3, "degree": 2, "options": OPTIONS}
    return ForeignConfig(**values | changes)


def with_function(change):
    """The toy with another result, as arguments of `jles.augment`."""
    plain = toy(2.8, ("H", "O"))

    def changed(params, vectors, species, senders, receivers):
        features = plain.function(params, vectors, species, senders, receivers)
        return change(features, vectors, senders, receivers)

    return changed, plain.init(jax.random.key(0))


def augmented(function, params, **options):
    return jles.augment(function, params, **{"cutoff": 2.8, "elements": ("H", "O")} | options)
