"""Configuration of models written elsewhere."""

import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from jles.config import count, to_nested_copy
from jles.errors import ConfigError, InputError
from jles.models.backbones.record import BackboneRecord, Choice, Envelope, Sample


class ForeignConfig(BackboneRecord, tag_field="kind", tag="foreign"):
    """A model written elsewhere (docs/foreign-models.md).

    `name` is the one under which the model is registered, `options` are its own: anything that
    JSON can hold. No atom farther away than `layers` times the cutoff changes the features of
    an atom. `degree` is the highest degree of the features: 0 invariants, 1 vectors,
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
    embeds_state: ClassVar[bool] = False

    def __post_init__(self):
        options = to_nested_copy(self.options)
        try:
            text = json.dumps(options, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"options: must be what JSON can hold ({error})") from None
        if not isinstance(options, Mapping) or json.loads(text) != options:
            raise ConfigError("options: must be keys (text) and values that JSON can hold")
        super().__post_init__()

    def __hash__(self):
        # Options may be nested, and need not be told apart here.
        return hash((self.name, self.cutoff, self.layers, self.degree, self.carries))

    @property
    def title(self) -> str:
        """What the backbone is called in the description of a model."""
        return f"foreign, '{self.name}'"

    @classmethod
    def choices(cls, sample: Sample) -> dict[str, Choice]:
        """Values of keys that depend on the data, or that users change first."""
        options = {
            "graph_net_steps": 2,
            "hidden_irreps": "16x0e + 8x1o",
            "sh_irreps": "1x0e + 1x1o",
            "n_neighbors": round(max(1.0, sample.neighbors), 1),
        }
        return {
            "name": Choice("jax-md-nequip", "or another model that is registered"),
            "layers": Choice(2, "the receptive field is this many cutoffs"),
            "degree": Choice(0, "1 for dipoles, 2 for quadrupoles; needs options for them"),
            "options": Choice(options, "of the model itself"),
        }

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours."""
        return self.layers - 1

    def check_cell(self, cell, pbc) -> None:
        """Refuses a periodic cell whose replica would not hold the receptive field.

        Args:
            cell: rows are lattice vectors, angstrom.
            pbc: which of them are periodic.

        Raises:
            InputError: says how many cells are needed.
        """
        if self.carries != "replica" or self.layers == 1 or not np.any(pbc):
            return
        height = np.min(1.0 / np.linalg.norm(np.linalg.pinv(cell), axis=0)[pbc])
        needed = math.ceil(self.receptive_field / height)
        if needed > self.cells:
            raise InputError(
                f"the cell is {height:.2f} angstrom high, and {self.cells} copies of it on "
                f"each side do not hold the receptive field of {self.receptive_field:g} "
                f"angstrom; set backbone.cells: {needed}"
            )

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of edges in heads that sum over neighbours; the model has its own."""
        return Envelope(self.cutoff)
