"""From the configuration of a backbone to its network."""

import flax.linen as nn

from jles.models.backbones.allegro import Allegro
from jles.models.backbones.cace import Cace
from jles.models.backbones.foreign import Foreign, build_foreign
from jles.models.backbones.foreign_checks import check_foreign
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.mace import Mace
from jles.models.backbones.nequip import Nequip
from jles.models.backbones.painn import Painn
from jles.models.backbones.record import BackboneRecord

BACKBONES = {"cace": Cace, "mace": Mace, "nequip": Nequip, "painn": Painn, "allegro": Allegro}
"""Networks by `kind`: `network(config, n_elements)` maps a `Graph` to `Features`."""


def build_backbone(config: BackboneRecord, elements: tuple[str, ...]) -> nn.Module:
    """The network of a backbone.

    Args:
        config: of the backbone.
        elements: of the model, chemical symbols.

    Returns:
        A Flax module whose `__call__(graph)` gives `Features`.
    """
    if isinstance(config, ForeignConfig):
        return Foreign(config, build_foreign(config, elements))
    return BACKBONES[config.kind](config, len(elements))


def check_backbone(
    config: BackboneRecord, elements: tuple[str, ...], params: dict, born_charges: bool
) -> None:
    """Checks what is not known of a backbone by its making: models written elsewhere.

    Args:
        config: of the backbone.
        elements: of the model, chemical symbols.
        params: of the backbone.
        born_charges: whether the model has charges, and so exact Born charges.

    Raises:
        InputError: features of wrong shape or parity, or derivatives that are not exact.
    """
    if isinstance(config, ForeignConfig):
        check_foreign(config, elements, params["model"], born_charges)
