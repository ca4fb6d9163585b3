"""Settings of read-outs and of the kinds of latent charges."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from jles.config import Config, Finite, count
from jles.errors import ConfigError
from jles.models.symbols import check_symbols

Hidden = tuple[count(65536), ...]
"""Sizes of the hidden layers of a perceptron; empty for none."""
ElementCharges = dict[str, Annotated[float, Meta(ge=-100.0, le=100.0, description="e")]]


class ReadoutConfig(Config):
    """A perceptron on the features plus, if `linear`, a linear map beside it; then `scale`."""

    hidden: Hidden = (32, 16)
    bias: bool = True
    linear: bool = True
    linear_bias: bool = True
    scale: Finite = 1.0


class _ChargeReadout(ReadoutConfig):
    hidden: Hidden = (24, 12)
    bias: bool = False
    linear_bias: bool = False
    scale: Finite = 0.1

    channels: ClassVar[int] = 1
    total: ClassVar[str] = "free"

    @classmethod
    def upgrade(cls, values: dict) -> dict:
        """Format 1 had `method` (default direct) for `kind`, and the keys of all methods."""
        by_default = "kind" not in values and "flow_width" in values
        if "method" not in values and not by_default:
            return values
        kind = values.get("kind", values.get("method", "direct"))
        unused = {"method", *_UNUSED.get(str(kind), ())}
        if kind == "flow" and values.get("channels") == 1:
            unused.add("channels")
        return {"kind": kind} | _without(values, unused)


_UNUSED = {"direct": ["flow_width"], "equilibrated": ["channels", "flow_width", "total"]}
"""Keys of charges in format 1 that had no meaning for their method."""


def _without(values: dict, keys: set) -> dict:
    return {key: value for key, value in values.items() if key not in keys}


class DirectCharges(_ChargeReadout, tag_field="kind", tag="direct"):
    """Latent charges, e: `channels` per atom, read from the features.

    `total` is the constraint on their sum: "free" leaves it alone (as published); "shift" adds
    the same amount to every atom so that the sum is the structure's `total_charge`; "softness"
    adds it in proportion to the charge softness of the atoms. `initial` gives every element a
    trained charge with this initial value, to which the read-out is added; the read-out then
    starts at zero.
    """

    channels: count(1024) = 1
    total: Literal["free", "shift", "softness"] = "free"
    initial: ElementCharges = {}

    def __post_init__(self):
        super().__post_init__()
        check_symbols("initial", self.initial)
        if not self.initial:
            return
        if self.channels != 1:
            raise ConfigError(f"initial: needs channels 1, got {self.channels}")
        if not any(self.initial.values()):
            raise ConfigError(
                "initial: all charges are zero, and so is the gradient of the long-range "
                "energy; give at least one element another charge"
            )

    @property
    def outputs(self) -> int:
        """Numbers per atom that the read-out gives."""
        return self.channels


class FlowCharges(_ChargeReadout, tag_field="kind", tag="flow"):
    """Latent charges that pass between neighbours, so that the sum of what passes is zero.

    What passes is the sum of `flow_width` products of what one atom gives and the other takes.
    `total` is as in `DirectCharges`.
    """

    flow_width: count(1024) = 8
    total: Literal["free", "shift", "softness"] = "free"

    @property
    def outputs(self) -> int:
        """Numbers per atom that the read-out gives."""
        return 2 * self.flow_width


class EquilibratedCharges(_ChargeReadout, tag_field="kind", tag="equilibrated"):
    """Charges of least energy that sum to `total_charge`.

    The read-out gives electronegativity and hardness (docs/theory.md, charge equilibration).
    """

    outputs: ClassVar[int] = 2
