"""A model in a few lines of text."""

import math

from jles.config import to_dict
from jles.models.config import ModelConfig


def describe(config: ModelConfig, params) -> str:
    """A model as lines of text, see `description`."""
    lines = description(config, params).items()
    return "\n".join(f"{name + ':':<12}{value}" for name, value in lines)


def description(config: ModelConfig, params) -> dict[str, str]:
    """Backbone, elements, cutoff, heads, long range, screening and so on, by name.

    Args:
        config: of the model.
        params: parameters, or their shapes.
    """
    backbone = config.backbone
    cutoff, reach = backbone.cutoff, backbone.receptive_field
    cutoffs = f" ({reach / cutoff:.2g} cutoffs)" if reach > cutoff else ""
    return {
        "backbone": f"{backbone.title}, features up to degree {backbone.degree}",
        "elements": ", ".join(config.elements),
        "cutoff": f"{cutoff:g} angstrom, receptive field {reach:g} angstrom{cutoffs}",
        **_state(config),
        "heads": ", ".join(_heads(config)),
        **_long_range(config),
        **_screening(config),
        **_precision(config),
        "parameters": str(_count(params)),
    }


def _state(config: ModelConfig) -> dict[str, str]:
    state = config.state
    if state is None:
        return {}
    parts = [] if state.total_charge is None else [f"{state.total_charge} charge"]
    if state.labels:
        parts.append("labels " + ", ".join(map(str, state.labels)))
    places = {"embedding": "embedding of the elements", "features": "invariants"}
    return {"state": f"{' and '.join(parts)}, in the {places[state.enters]}"}


def _heads(config: ModelConfig) -> list[str]:
    if config.charges is None:
        return ["energy"]
    channels = config.charges.channels
    charges = f"charges ({channels} channels)" if channels > 1 else "charges"
    return ["energy", charges, *config.heads]


def _long_range(config: ModelConfig) -> dict[str, str]:
    if config.charges is None:
        return {"long range": "none"}
    sums = config.electrostatics
    mesh = f"particle mesh (relative error of the forces {sums.accuracy:g})"
    by = {
        "direct": "direct sum",
        "mesh": mesh,
        "auto": f"direct sum or {mesh}, whichever is cheaper",
    }
    return {
        "long range": (
            f"latent charges of width sigma {sums.sigma:g} angstrom, k_max {sums.k_max:.6g} "
            f"1/angstrom, {sums.cutoff} cutoff"
        ),
        "summed by": by[sums.method],
    }


def _screening(config: ModelConfig) -> dict[str, str]:
    given = [f"{key} {value}" for key, value in to_dict(config.screening).items() if value]
    return {"screening": ", ".join(given)} if given else {}


def _precision(config: ModelConfig) -> dict[str, str]:
    if config.precision == "highest":
        return {}
    return {"precision": f"{config.precision}, of the network's products on accelerators"}


def _count(tree) -> int:
    if isinstance(tree, dict):
        return sum(_count(value) for value in tree.values())
    return math.prod(tree.shape)
