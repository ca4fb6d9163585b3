"""Configuration of MACE."""

import re
from typing import ClassVar, Literal

from jles.config import count, positive
from jles.errors import ConfigError, InputError
from jles.models.backbones.record import BackboneRecord, Choice, Envelope, Sample

Interaction = Literal["RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"]


def parse_irreps(text: str) -> tuple[int, int]:
    """Channels and highest degree of irreps such as "128x0e + 128x1o".

    Raises:
        InputError: the irreps are not 0e, 1o, 2e, ... in this order and of one width.
    """
    terms = [re.fullmatch(r"(\d+)x(\d)([eo])", part.strip()) for part in text.split("+")]
    right = all(terms) and all(
        term[2] == str(l) and term[3] == "eo"[l % 2] and term[1] == terms[0][1]
        for l, term in enumerate(terms)
    )
    if not right or not 1 <= int(terms[0][1]) <= 1024 or len(terms) > 4:
        raise InputError(
            f"'{text}': expected irreps of one width from 0e on, up to 3o, such as "
            "'64x0e + 64x1o + 64x2e'"
        )
    return int(terms[0][1]), len(terms) - 1


class MaceConfig(BackboneRecord, tag_field="kind", tag="mace"):
    """MACE (Batatia et al. 2022), with the names of its published implementation.

    `hidden_irreps` are the features that pass between atoms. The last interaction gives
    `last_irreps`; null means scalars only, as published. Heads that need vectors (1o) or
    tensors (2e) read them from every interaction that has them. `avg_num_neighbors` divides the
    sums over neighbours. `silu_scale` multiplies every SiLU of the radial network, so that its
    second moment for normal arguments is one.
    """

    num_interactions: count(8) = 2
    hidden_irreps: str = "64x0e + 64x1o"
    last_irreps: str | None = None
    max_ell: count(3) = 3
    correlation: count(3) = 3
    num_bessel: count(64) = 8
    num_polynomial_cutoff: count(100, least=2) = 5
    radial_MLP: tuple[count(4096), ...] = (64, 64, 64)
    interaction_first: Interaction = "RealAgnosticResidualInteractionBlock"
    interaction: Interaction = "RealAgnosticResidualInteractionBlock"
    avg_num_neighbors: positive(1e6) = 15.0
    silu_scale: positive(100.0) = 1.6765324703310907

    degree_key: ClassVar[str] = "last_irreps"
    usual_rate: ClassVar[float] = 2e-2

    @classmethod
    def choices(cls, sample: Sample) -> dict[str, Choice]:
        """Values for a new training file, of keys that depend on the data or are often set."""
        width = 32 if sample.frames < 500 else 64
        return {
            "num_interactions": Choice(2, "the receptive field is this many cutoffs"),
            "hidden_irreps": Choice(f"{width}x0e + {width}x1o", "128 channels on a GPU"),
            "last_irreps": Choice(
                f"{width}x0e", "quadrupoles need 2e here or in hidden_irreps"
            ),
            "max_ell": Choice(2, "3 is more accurate and costs more"),
            "correlation": Choice(2, "3 is more accurate and costs more"),
            "avg_num_neighbors": Choice(
                round(max(1.0, sample.neighbors), 1), "of this data; scales the sums"
            ),
        }

    def __post_init__(self):
        super().__post_init__()
        for key in ("hidden_irreps", "last_irreps"):
            try:
                channels, highest = parse_irreps(getattr(self, key) or self.hidden_irreps)
            except InputError as error:
                raise ConfigError(f"{key}: {error}") from None
            if channels != self.channels or highest > self.max_ell:
                raise ConfigError(
                    f"{key}: '{getattr(self, key)}' needs {self.channels} channels, those of "
                    f"hidden_irreps, and degrees up to max_ell {self.max_ell}"
                )
        if not self.radial_MLP:
            raise ConfigError("radial_MLP: needs at least one hidden layer, got none")

    @property
    def channels(self) -> int:
        """Channels of every irrep."""
        return parse_irreps(self.hidden_irreps)[0]

    def degree_after(self, t: int) -> int:
        """Highest degree of the features that interaction `t` gives."""
        if t < self.num_interactions - 1:
            return parse_irreps(self.hidden_irreps)[1]
        return parse_irreps(self.last_irreps)[1] if self.last_irreps else 0

    @property
    def degree(self) -> int:
        """Highest degree of the features: 0 invariants, 1 vectors, 2 tensors."""
        return min(2, max(map(self.degree_after, range(self.num_interactions))))

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours; the first interaction has none."""
        return self.num_interactions - 1

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of the edges."""
        return Envelope(self.cutoff, "polynomial", float(self.num_polynomial_cutoff))
