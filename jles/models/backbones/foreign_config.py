"""Configuration of models written elsewhere."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from jles.config import count, to_nested_copy
from jles.errors import InputError
from jles.models.backbones.record import BackboneRecord, Envelope


class ForeignConfig(BackboneRecord, tag_field="kind", tag="foreign"):
    """A model written elsewhere (docs/foreign-models.md).

    `name` is the one under which the model is registered, `options` are its own: anything that
    JSON can hold. `layers` times the cutoff is the distance beyond which no atom changes the
    features of an atom. `degree` is the highest degree of the features: 0 invariants, 1 vectors,
    2 tensors. `carries` says how exact Born charges of crystals are found: "traced" follows the
    operations of the model; "replica" computes a cluster of `cells` copies of the cell on each
    side, for models whose operations cannot be followed.
    """

    name: str
    layers: count(16) = 1
    degree: count(2, least=0) = 0
    carries: Literal["traced", "replica"] = "traced"
    cells: count(8) = 1
    options: dict[str, Any] = {}

    degree_key: ClassVar[str] = "degree"

    def __post_init__(self):
        options = to_nested_copy(self.options)
        try:
            text = json.dumps(options, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"options: must be what JSON can hold ({error})") from None
        if not isinstance(options, Mapping) or json.loads(text) != options:
            raise InputError("options: must be keys (text) and values that JSON can hold")
        super().__post_init__()

    def __hash__(self):
        # Options may be nested, and need not be told apart here.
        return hash((self.name, self.cutoff, self.layers, self.degree, self.carries))

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours."""
        return self.layers - 1

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of edges in heads that sum over neighbours; the model has its own."""
        return Envelope(self.cutoff)
