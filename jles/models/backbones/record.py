"""What the rest of jles asks of the configuration of a backbone."""

from typing import ClassVar, NamedTuple

from jles.config import Config, positive


class Envelope(NamedTuple):
    """The function that takes everything an edge contributes to zero at the cutoff.

    Attributes:
        cutoff: angstrom.
        shape: "polynomial", "cosine", "mollifier" or "switch".
        power: of the polynomial.
        onset: of the switch, angstrom.
    """

    cutoff: float
    shape: str = "polynomial"
    power: float = 6.0
    onset: float | None = None


class BackboneRecord(Config):
    """Base of the configurations of all backbones, one for each `kind`.

    Heads, potential, structures and model directories use only what is declared here.
    """

    cutoff: positive(100.0, "angstrom")

    degree_key: ClassVar[str]
    """The key that sets `degree`, for messages."""

    @property
    def degree(self) -> int:
        """Highest degree of the features: 0 invariants, 1 vectors, 2 tensors."""
        raise NotImplementedError

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours."""
        raise NotImplementedError

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of the edges; heads that sum over neighbours use the same one."""
        raise NotImplementedError

    @property
    def receptive_field(self) -> float:
        """Distance beyond which no atom changes the features of an atom, angstrom."""
        return self.cutoff * (1 + self.messages_passed)
