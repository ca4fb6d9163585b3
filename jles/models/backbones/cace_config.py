"""Configuration of the Cartesian atomic cluster expansion."""

import math
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from jles.config import Finite, count, positive
from jles.errors import InputError
from jles.models.backbones.record import BackboneRecord, Choice, Envelope, Sample


class CaceConfig(BackboneRecord, tag_field="kind", tag="cace"):
    """The Cartesian atomic cluster expansion (docs/theory.md; Cheng 2024).

    `messages` are the terms of every message-passing layer: "memory" (the basis of the atom
    itself), "ar" (the bases of the neighbours, weighted by distance), "bchi" (the edges,
    weighted by a scalar function of the neighbour's invariants). `mp_norm` multiplies ar +
    bchi; 1/sqrt(average number of neighbours) is usual.
    """

    n_rbf: count(256) = 6
    n_radial_basis: count(1024) = 12
    n_atom_basis: count(64) = 3
    l_max: count(4, least=0) = 3
    body_order: count(4) = 3
    radial: Literal["bessel", "gaussian", "gaussian-centered", "exponential"] = "bessel"
    envelope: Literal["polynomial", "cosine", "mollifier", "switch"] = "polynomial"
    envelope_power: positive(100.0) = 6.0
    envelope_onset: Annotated[float, Meta(ge=0.0, le=100.0, description="angstrom")] | None = (
        None
    )
    embed_receiver: bool = True
    layers: count(16, least=0) = 0
    messages: tuple[Literal["memory", "ar", "bchi"], ...] = ("memory", "ar", "bchi")
    bchi_hidden: tuple[count(65536), ...] = ()
    bchi_per_l: bool = False
    bchi_per_channel: bool = False
    mp_norm: Finite = 1.0 / math.sqrt(10.0)

    degree_key: ClassVar[str] = "l_max"
    compiles_quickly: ClassVar[bool] = True
    usual_cutoff: ClassVar[float] = 5.0

    @classmethod
    def choices(cls, sample: Sample) -> dict[str, Choice]:
        """Values for a new training file, of keys that depend on the data or are often set."""
        norm = round(1.0 / math.sqrt(max(1.0, sample.neighbors)), 3)
        return {
            "n_atom_basis": Choice(
                3 if sample.elements < 5 else 4, "length of the element embedding"
            ),
            "l_max": Choice(3, "dipoles need 1, quadrupoles 2"),
            "body_order": Choice(3, "4 describes angles better and costs more"),
            "layers": Choice(
                0,
                "1 passes messages: twice the receptive field, four to five times the cost",
            ),
            "mp_norm": Choice(norm, "1/sqrt(average number of neighbours); for layers > 0"),
        }

    def __post_init__(self):
        super().__post_init__()
        onset = self.envelope_onset
        if self.envelope == "switch" and (onset is None or onset >= self.cutoff):
            raise InputError(
                f"envelope 'switch' needs envelope_onset between 0 and the cutoff, got {onset}"
            )
        if self.layers > 0 and not self.messages:
            raise InputError("messages is empty but layers > 0")

    @property
    def degree(self) -> int:
        """Highest degree of the features: 0 invariants, 1 vectors, 2 tensors."""
        return self.l_max

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours."""
        return self.layers

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of the edges."""
        return Envelope(self.cutoff, self.envelope, self.envelope_power, self.envelope_onset)
