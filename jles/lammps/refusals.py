"""Models and boxes that cannot be evaluated in parts."""

from jles.errors import InputError
from jles.lammps.domain import Reach
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.config import FlowCharges, ModelConfig


def check_model(config: ModelConfig, where: str) -> None:
    """Refuses models whose atoms see more than their surroundings.

    Args:
        config: of the model.
        where: its name in errors.

    Raises:
        InputError: names the key of the model's configuration.
    """
    reasons = {
        "backbone.kind 'foreign'": isinstance(config.backbone, ForeignConfig),
        "state": config.state is not None,
    }
    if {"charge_softness", "polarizability"} & set(config.heads):
        mode = config.response.mode
        reasons[f"response.mode '{mode}'"] = mode != "one-shot"
        reasons["response.conserve_charge"] = config.response.conserve_charge
    if config.charges is not None:
        kind, total = config.charges.kind, config.charges.total
        reasons["charges.kind 'equilibrated'"] = kind == "equilibrated"
        reasons[f"charges.total '{total}'"] = total != "free"
    for key, found in reasons.items():
        if found:
            raise InputError(
                f"{where}: {key} cannot be divided among MPI ranks yet; jles md or jles serve "
                "run such a model"
            )


def check_boundary(config: ModelConfig, periodic) -> None:
    """Refuses open directions where there is a lattice sum.

    Args:
        config: of the model.
        periodic: of each direction of the box.

    Raises:
        InputError: names the boundary.
    """
    if config.charges is not None and not all(periodic):
        letters = " ".join("p" if p else "f" for p in periodic)
        raise InputError(
            f"boundary {letters}: a model with latent charges needs boundary p p p in LAMMPS; "
            "jles md runs slabs and clusters"
        )


def reach_of(config: ModelConfig) -> Reach:
    """How far a model looks; charges that flow depend on the features of neighbours."""
    backbone = config.backbone
    flows = isinstance(config.charges, FlowCharges)
    return Reach(backbone.cutoff, backbone.messages_passed + int(flows), config.numbers)
