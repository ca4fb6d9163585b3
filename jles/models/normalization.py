"""Normalized features: shifted and scaled by constants of the training data."""

import jax.numpy as jnp
import numpy as np

from jles.models.backbones.features import EQUIVARIANT, Features
from jles.models.config import ModelConfig


def unit_normalization(config: ModelConfig, features: Features) -> dict:
    """Constants to start with, before the training data have been seen.

    Args:
        config: of the model; it says which equivariant features are read.
        features: of any atoms; only shapes and dtype matter.
    """
    width, dtype = features.invariants.shape[1], features.invariants.dtype
    constants = {"mean": jnp.zeros(width, dtype), "scale": jnp.full(width, width**-0.5, dtype)}
    tensor = config.polarizability is not None and config.polarizability.kind == "tensor"
    used = config.dipoles is not None, config.quadrupoles is not None or tensor
    for name, is_used in zip(EQUIVARIANT, used, strict=True):
        if is_used:
            constants[f"{name}_scale"] = jnp.ones(getattr(features, name).shape[1], dtype)
    return constants


def awaits_statistics(config: ModelConfig, params: dict) -> bool:
    """Whether features have the constants to start with, and read-outs are untrained.

    Read-outs that were trained with these constants must keep them.
    """
    if not config.normalize_features:
        return False
    mean, scale = (np.asarray(params["features"][name]) for name in ("mean", "scale"))
    unit = not mean.any() and np.allclose(scale, len(scale) ** -0.5)
    last = params["energy"]["perceptron"][f"layers_{len(config.energy.hidden)}"]
    return bool(unit and not np.any(last["kernel"]))


def normalize(features: Features, constants: dict) -> Features:
    """Features with invariants shifted and scaled, and equivariant features scaled only.

    Args:
        features: of the backbone.
        constants: `mean`, `scale`, and `vectors_scale` and `tensors_scale` where they are read.
    """
    invariants = (features.invariants - constants["mean"]) * constants["scale"]
    scaled = {}
    for name in EQUIVARIANT:
        values, scale = getattr(features, name), constants.get(f"{name}_scale")
        if values is not None and scale is not None:
            values = values * scale.reshape(-1, *[1] * (values.ndim - 2))
        scaled[name] = values
    return features._replace(invariants=invariants, **scaled)


def scale_first_layers(readout: dict, factor: float) -> dict:
    """Parameters of a read-out, the first layer of each perceptron multiplied by `factor`."""
    scaled = {}
    for name, value in readout.items():
        if name == "layers_0":
            scaled[name] = value | {"kernel": value["kernel"] * factor}
        elif isinstance(value, dict):
            scaled[name] = scale_first_layers(value, factor)
        else:
            scaled[name] = value
    return scaled
