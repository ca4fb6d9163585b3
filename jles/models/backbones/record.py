"""Base of the configurations of backbones: the interface to the rest of jles."""

from typing import Any, ClassVar, NamedTuple

from jles.config import Config, positive
from jles.errors import ConfigError


class Envelope(NamedTuple):
    """The smooth cutoff function that multiplies every contribution of an edge.

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


class Sample(NamedTuple):
    """Properties of a data set from which the sizes of a backbone are chosen.

    Attributes:
        cutoff: angstrom.
        neighbors: average number of neighbours within the cutoff.
        elements: number of elements.
        frames: number of structures to learn from.
    """

    cutoff: float
    neighbors: float
    elements: int
    frames: int


class Choice(NamedTuple):
    """A value to start from, and the comment that a file shows beside it."""

    value: Any
    comment: str


class BackboneRecord(Config):
    """Base of the configurations of all backbones, one for each `kind`.

    Heads, potential, structures and model directories use only what is declared here.
    """

    cutoff: positive(100.0, "angstrom")

    @classmethod
    def upgrade(cls, values: dict) -> dict:
        """Reads `r_max`, the name of the cutoff in other programs."""
        if "r_max" not in values:
            return values
        if "cutoff" in values:
            raise ConfigError("r_max: is another name of cutoff, which is given too; keep one")
        return {"cutoff" if key == "r_max" else key: value for key, value in values.items()}

    degree_key: ClassVar[str]
    """The key that sets `degree`, for messages."""

    embeds_state: ClassVar[bool] = True
    """Whether charge and spin state can be embedded with the elements."""

    compiles_quickly: ClassVar[bool] = False
    """Whether steps of a training are as fast if they are compiled with `quick_options`."""

    usual_cutoff: ClassVar[float] = 4.5
    """Cutoff of a new training file, angstrom."""

    usual_rate: ClassVar[float] = 1e-2
    """Learning rate of a new training file."""

    @classmethod
    def choices(cls, sample: Sample) -> dict[str, Choice]:
        """Values for a new training file, of keys that depend on the data or are often set."""
        return {}

    @property
    def title(self) -> str:
        """What the backbone is called in the description of a model."""
        return self.kind

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

    def check_cell(self, cell, pbc) -> None:
        """Refuses a cell in which exact Born charges would need another configuration.

        Args:
            cell: rows are lattice vectors, angstrom.
            pbc: which of them are periodic.

        Raises:
            InputError: names the key to change.
        """

    @property
    def receptive_field(self) -> float:
        """Distance beyond which no atom changes the features of an atom, angstrom."""
        return self.cutoff * (1 + self.messages_passed)
