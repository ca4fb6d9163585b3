"""Configuration of PaiNN."""

from typing import ClassVar, Literal

from jles.config import count, positive
from jles.models.backbones.record import BackboneRecord, Choice, Envelope, Sample


class PainnConfig(BackboneRecord, tag_field="kind", tag="painn"):
    """PaiNN (Schütt, Unke, Gastegger 2021), with the names of its published implementation.

    `degree` is the highest degree of the features that the heads read: 0 invariants, 1 vectors
    (as published), 2 tensors (an extension). Vectors pass between atoms in all three cases. The
    root of `avg_num_neighbors` divides the sums over neighbours. The envelope is the polynomial
    of CACE and MACE; the published one is a cosine, whose curvature jumps at the cutoff.
    """

    n_atom_basis: count(1024) = 64
    n_interactions: count(16) = 3
    n_rbf: count(256) = 8
    degree: Literal[0, 1, 2] = 1
    envelope_power: count(100, least=2) = 5
    avg_num_neighbors: positive(1e6) = 15.0

    degree_key: ClassVar[str] = "degree"
    usual_rate: ClassVar[float] = 2e-2

    @classmethod
    def choices(cls, sample: Sample) -> dict[str, Choice]:
        """Values for a new training file, of keys that depend on the data or are often set."""
        return {
            "n_atom_basis": Choice(64, "channels; 128 on a GPU"),
            "n_interactions": Choice(2, "the receptive field is this many cutoffs"),
            "degree": Choice(1, "dipoles need 1; quadrupoles need 2, at three times the cost"),
            "avg_num_neighbors": Choice(
                round(max(1.0, sample.neighbors), 1), "of this data; scales the sums"
            ),
        }

    @property
    def passed_degree(self) -> int:
        """Highest degree of the features that pass between atoms."""
        return max(1, self.degree)

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours; the first interaction has none."""
        return self.n_interactions - 1

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of the edges."""
        return Envelope(self.cutoff, "polynomial", float(self.envelope_power))
