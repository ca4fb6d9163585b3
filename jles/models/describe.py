"""A model in a few lines of text."""

import math

from jles.models.config import ModelConfig


def describe(config: ModelConfig, params=None) -> str:
    """Backbone, elements, receptive field, heads, long range and number of parameters.

    Args:
        config: of the model.
        params: parameters, or their shapes; None to leave their number out.
    """
    backbone = config.backbone
    reach = backbone.cutoff * (1 + backbone.layers)
    lines = {
        "backbone": f"{backbone.kind}, {backbone.layers} message-passing layer(s)",
        "elements": ", ".join(config.elements),
        "cutoff": f"{backbone.cutoff:g} angstrom, receptive field {reach:g} angstrom",
        "heads": ", ".join(_heads(config)),
        "long range": _long_range(config),
    }
    if params is not None:
        lines["parameters"] = f"{_count(params)} numbers"
    return "\n".join(f"{name + ':':<12}{value}" for name, value in lines.items())


def _heads(config: ModelConfig) -> list[str]:
    if config.charges is None:
        return ["energy"]
    channels = config.charges.channels
    charges = f"charges ({channels} channels)" if channels > 1 else "charges"
    return ["energy", charges, *config.heads]


def _long_range(config: ModelConfig) -> str:
    if config.charges is None:
        return "none"
    sums = config.electrostatics
    by = "direct sum"
    if sums.method != "direct":
        by = f"particle mesh (relative error of forces {sums.accuracy:g})"
    if sums.method == "auto":
        by = f"direct sum or {by}, whichever is cheaper"
    return (
        f"{by}; sigma {sums.sigma:g} angstrom, k_max {sums.k_max:.6g} 1/angstrom, "
        f"{sums.cutoff} cutoff"
    )


def _count(tree) -> int:
    if isinstance(tree, dict):
        return sum(_count(value) for value in tree.values())
    return math.prod(tree.shape)
