"""From the configuration of a backbone to its network."""

import flax.linen as nn

from jles.models.backbones.allegro import Allegro
from jles.models.backbones.cace import Cace
from jles.models.backbones.mace import Mace
from jles.models.backbones.nequip import Nequip
from jles.models.backbones.painn import Painn
from jles.models.backbones.record import BackboneRecord

BACKBONES = {"cace": Cace, "mace": Mace, "nequip": Nequip, "painn": Painn, "allegro": Allegro}
"""Networks by `kind`: `network(config, n_elements)` maps a `Graph` to `Features`."""


def build_backbone(config: BackboneRecord, n_elements: int) -> nn.Module:
    """The network of a backbone.

    Args:
        config: of the backbone.
        n_elements: length of the element list of the model.

    Returns:
        A Flax module whose `__call__(graph)` gives `Features`.
    """
    return BACKBONES[config.kind](config, n_elements)
