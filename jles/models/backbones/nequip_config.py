"""Configuration of NequIP."""

from typing import ClassVar

from jles.config import count, positive
from jles.errors import ConfigError
from jles.models.backbones.record import BackboneRecord, Choice, Envelope, Sample


class NequipConfig(BackboneRecord, tag_field="kind", tag="nequip"):
    """NequIP (Batzner et al. 2022), with the names of its published implementation.

    Features have the degrees 0 to `l_max` with natural parity, (-1)^l; the published network
    with `parity: true` also has features of the other parity. Heads read the last layer, whose
    features have the degrees 0 to `last_l_max`: dipoles need 1, quadrupoles 2.
    `invariant_layers` and `invariant_neurons` are the number and the size of the hidden layers
    of the radial network. The root of `avg_num_neighbors` divides the sums over neighbours.
    """

    num_layers: count(8) = 4
    l_max: count(3, least=0) = 2
    last_l_max: count(3, least=0) = 0
    num_features: count(1024) = 64
    num_bessels: count(64) = 8
    polynomial_cutoff_p: count(100, least=2) = 6
    invariant_layers: count(8) = 2
    invariant_neurons: count(4096) = 64
    avg_num_neighbors: positive(1e6) = 15.0

    degree_key: ClassVar[str] = "last_l_max"
    usual_rate: ClassVar[float] = 2e-2

    @classmethod
    def choices(cls, sample: Sample) -> dict[str, Choice]:
        """Values for a new training file, of keys that depend on the data or are often set."""
        return {
            "num_layers": Choice(3, "the receptive field is this many cutoffs"),
            "l_max": Choice(2, "1 is faster, 3 is more accurate"),
            "last_l_max": Choice(0, "dipoles need 1, quadrupoles 2"),
            "num_features": Choice(16 if sample.frames < 500 else 32, "64 on a GPU"),
            "avg_num_neighbors": Choice(
                round(max(1.0, sample.neighbors), 1), "of this data; scales the sums"
            ),
        }

    def __post_init__(self):
        super().__post_init__()
        if self.last_l_max > self.l_max:
            raise ConfigError(
                f"last_l_max: {self.last_l_max} exceeds l_max {self.l_max}; raise l_max"
            )

    def degree_after(self, layer: int) -> int:
        """Highest degree of the features that a layer gives."""
        return self.l_max if layer < self.num_layers - 1 else self.last_l_max

    @property
    def degree(self) -> int:
        """Highest degree of the features: 0 invariants, 1 vectors, 2 tensors."""
        return min(2, self.last_l_max)

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours; the first layer has none."""
        return self.num_layers - 1

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of the edges."""
        return Envelope(self.cutoff, "polynomial", float(self.polynomial_cutoff_p))
