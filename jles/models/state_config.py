"""Configuration of charge and spin state as input of a network."""

from typing import Annotated, Literal

from msgspec import Meta

from jles.config import Config
from jles.errors import ConfigError

Label = Annotated[int, Meta(ge=-1000, le=1000)]

SAME_CHARGE = 1e-6
"""Charges that differ by less are the same, e."""


class StateConfig(Config):
    """Charge and spin state as input of the network.

    `total_charge` is the input that every atom gets of the charge of the structure: "total",
    the charge in e; "mean", the charge divided by the number of atoms; null, none. `labels` are
    the integers that an atom may carry, such as a spin multiplicity or an oxidation state.
    `enters` says where the inputs enter: "embedding" adds them to the embedding of the
    elements, "features" appends them to the invariants, as some published models do.
    """

    total_charge: Literal["total", "mean"] | None = "total"
    labels: tuple[Label, ...] = ()
    enters: Literal["embedding", "features"] = "embedding"

    def __post_init__(self):
        super().__post_init__()
        if len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"labels: {list(self.labels)} has a label twice")
        if self.total_charge is None and not self.labels:
            raise ConfigError(
                "total_charge: is null and labels is empty; give one of them, or take out state"
            )

    @property
    def inputs(self) -> int:
        """Number of inputs of an atom."""
        return (self.total_charge is not None) + len(self.labels)
