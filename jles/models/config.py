"""Everything needed to rebuild a model, as frozen records that read and write as YAML."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ase.data import atomic_numbers

from jles.errors import InputError

SYMBOLS = frozenset(atomic_numbers) - {"X"}

HEADS = ("dipoles", "quadrupoles", "charge_softness", "polarizability")
"""What an atom may carry beside its charge."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _require_finite(record, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        _require(math.isfinite(value), f"{name} must be a finite number, got {value}")


def _require_sizes(name: str, sizes: tuple[int, ...]) -> None:
    _require(
        all(size >= 1 for size in sizes),
        f"{name}: sizes of layers must be at least 1, got {list(sizes)}; [] for no hidden layer",
    )


def check_symbols(symbols: Sequence[str]) -> None:
    """Refuses `elements` that is empty, names what is no chemical symbol, or one twice.

    Raises:
        InputError: begins with "elements: ".
    """
    _require(len(symbols) > 0, "elements: the list is empty; give chemical symbols")
    for symbol in symbols:
        _require(symbol in SYMBOLS, f"elements: '{symbol}' is not a chemical symbol")
    twice = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
    _require(not twice, f"elements: {', '.join(twice)} given twice")


def check_element_energies(energies: Mapping[str, float]) -> None:
    """Refuses keys of `element_energies` that are no chemical symbols and values not finite.

    Raises:
        InputError: begins with "element_energies: ".
    """
    for symbol, energy in energies.items():
        _require(symbol in SYMBOLS, f"element_energies: '{symbol}' is not a chemical symbol")
        _require(
            math.isfinite(energy),
            f"element_energies: {symbol} must be a finite number (eV), got {energy}",
        )


def is_metallic(config) -> bool:
    """Whether charge flows through the model's crystals until no field is left in them."""
    if config.charges is not None and config.charges.method == "equilibrated":
        return True
    return config.charge_softness is not None and config.response.mode == "self-consistent"


def check_heads(config) -> None:
    """Refuses heads that the charges or the backbone of the same record cannot carry.

    Raises:
        InputError: begins with the name of the head.
    """
    charges, backbone = config.charges, config.backbone
    for name in HEADS:
        if getattr(config, name) is None:
            continue
        _require(charges is not None, f"{name}: needs latent charges, but charges is null")
        _require(
            charges.channels == 1, f"{name}: needs charges.channels 1, got {charges.channels}"
        )
        _require(
            charges.method != "equilibrated",
            f"{name}: needs charges.method 'direct' or 'flow', got '{charges.method}'",
        )
    _require(
        charges is None or charges.total != "softness" or config.charge_softness is not None,
        "charges: total 'softness' needs the head charge_softness, which is null",
    )
    tensor = config.polarizability is not None and config.polarizability.kind == "tensor"
    degrees = {"dipoles": 1, "quadrupoles": 2, "polarizability": 2 if tensor else 0}
    for name, degree in degrees.items():
        if getattr(config, name) is not None and backbone is not None:
            _require(
                backbone.l_max >= degree,
                f"{name}: needs backbone.l_max of at least {degree}, got {backbone.l_max}",
            )


@dataclass(frozen=True)
class CaceConfig:
    """The Cartesian atomic cluster expansion (docs/theory.md; Cheng 2024).

    `messages` are the kinds of every message-passing layer: "memory" (the atom's own basis),
    "ar" (radially weighted neighbour bases), "bchi" (edges weighted by a scalar of the sender's
    invariants). `mp_norm` multiplies ar + bchi, customarily 1/sqrt(average neighbour number).
    """

    cutoff: float
    kind: Literal["cace"] = "cace"
    n_rbf: int = 6
    n_radial_basis: int = 12
    n_atom_basis: int = 3
    l_max: int = 3
    body_order: int = 3
    radial: Literal["bessel", "gaussian", "gaussian-centered", "exponential"] = "bessel"
    envelope: Literal["polynomial", "cosine", "mollifier", "switch"] = "polynomial"
    envelope_power: float = 6.0
    envelope_onset: float | None = None
    embed_receiver: bool = True
    layers: int = 0
    messages: tuple[Literal["memory", "ar", "bchi"], ...] = ("memory", "ar", "bchi")
    bchi_hidden: tuple[int, ...] = ()
    bchi_per_l: bool = False
    bchi_per_channel: bool = False
    mp_norm: float = 1.0 / math.sqrt(10.0)

    def __post_init__(self):
        _require_finite(self, "cutoff", "envelope_power", "mp_norm")
        _require(self.cutoff > 0, f"cutoff must be positive (angstrom), got {self.cutoff}")
        _require_sizes("bchi_hidden", self.bchi_hidden)
        for name in ("n_rbf", "n_radial_basis", "n_atom_basis"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} must be at least 1, got {value}")
        _require(0 <= self.l_max <= 4, f"l_max must be 0 to 4, got {self.l_max}")
        _require(1 <= self.body_order <= 4, f"body_order must be 1 to 4, got {self.body_order}")
        _require(self.layers >= 0, f"layers must not be negative, got {self.layers}")
        _require(
            self.envelope_power > 0, f"envelope_power must be positive: {self.envelope_power}"
        )
        if self.envelope == "switch":
            onset = self.envelope_onset
            _require(
                onset is not None and 0 <= onset < self.cutoff,
                f"envelope 'switch' needs envelope_onset between 0 and the cutoff, got {onset}",
            )
        _require(bool(self.messages) or self.layers == 0, "messages is empty but layers > 0")


@dataclass(frozen=True)
class ReadoutConfig:
    """A perceptron on the features plus, if `linear`, a linear map beside it; then `scale`."""

    hidden: tuple[int, ...] = (32, 16)
    bias: bool = True
    linear: bool = True
    linear_bias: bool = True
    scale: float = 1.0

    def __post_init__(self):
        _require_sizes("hidden", self.hidden)
        _require_finite(self, "scale")


@dataclass(frozen=True)
class ChargeConfig(ReadoutConfig):
    """Latent charges, e: `channels` per atom; `total` is what their sum is made to be.

    total "free" leaves the sum alone (as published); "shift" adds the same amount to every atom
    of a structure so that the sum is the structure's `total_charge`, "softness" to every atom in
    proportion to its charge softness. With method "flow" atoms hand charge to their neighbours, so
    that none is made or lost on the way: `flow_width` products of what one gives and the other
    takes. With method "equilibrated" the read-out gives electronegativity and hardness, and charges
    are those of least energy that sum to `total_charge`, whatever `total` says.
    """

    hidden: tuple[int, ...] = (24, 12)
    bias: bool = False
    linear_bias: bool = False
    scale: float = 0.1
    channels: int = 1
    total: Literal["free", "shift", "softness"] = "free"
    method: Literal["direct", "flow", "equilibrated"] = "direct"
    flow_width: int = 8

    def __post_init__(self):
        super().__post_init__()
        _require(self.channels >= 1, f"channels must be at least 1, got {self.channels}")
        _require(self.flow_width >= 1, f"flow_width must be at least 1, got {self.flow_width}")
        _require(
            self.channels == 1 or self.method == "direct",
            f"channels must be 1 with method '{self.method}', got {self.channels}",
        )

    @property
    def outputs(self) -> int:
        """Numbers per atom that the read-out gives."""
        of_one = {"direct": self.channels, "flow": 2 * self.flow_width, "equilibrated": 2}
        return of_one[self.method]


@dataclass(frozen=True)
class MomentConfig:
    """Latent dipoles (e angstrom) or quadrupoles (e angstrom^2) of every atom.

    `channels` linear mixtures of the backbone's vectors or tensors, each times a number that a
    perceptron makes of the invariants; then `scale`.
    """

    hidden: tuple[int, ...] = (16,)
    channels: int = 8
    scale: float = 0.1

    def __post_init__(self):
        _require_sizes("hidden", self.hidden)
        _require_finite(self, "scale")
        _require(self.channels >= 1, f"channels must be at least 1, got {self.channels}")


@dataclass(frozen=True)
class SoftnessConfig(ReadoutConfig):
    """Charge softness kappa, e/V: `scale` times the softplus of a read-out."""

    hidden: tuple[int, ...] = (16,)
    scale: float = 0.02

    def __post_init__(self):
        super().__post_init__()
        _require(self.scale > 0, f"scale must be positive (e/V), got {self.scale}")


@dataclass(frozen=True)
class PolarizabilityConfig(MomentConfig):
    """Polarizability, e angstrom^2/V (0.0694 of them are 1 angstrom^3), positive by construction.

    "scalar": `scale` times the softplus of a read-out. "tensor": `scale` times A A^T, where A is
    the identity times a read-out plus a traceless tensor as in `MomentConfig`.
    """

    kind: Literal["scalar", "tensor"] = "scalar"
    scale: float = 0.05

    def __post_init__(self):
        super().__post_init__()
        _require(self.scale > 0, f"scale must be positive (e angstrom^2/V), got {self.scale}")


@dataclass(frozen=True)
class ResponseConfig:
    """How softness and polarizability answer, see `jles.electrostatics.Response`."""

    mode: Literal["one-shot", "self-consistent"] = "one-shot"
    conserve_charge: bool = False


@dataclass(frozen=True)
class ScreeningConfig:
    """From latent to physical moments, which no energy or force can tell (docs/conventions.md, 7).

    In crystals polarization, Born charges and applied fields are multiplied by the root of
    `epsilon_infinity`, less what induced dipoles screen; null leaves them latent. `positive` fixes
    the overall sign: the element whose atoms are more positive than the others.
    """

    epsilon_infinity: float | None = None
    positive: str | None = None

    def __post_init__(self):
        epsilon = self.epsilon_infinity
        _require(
            epsilon is None or 1.0 <= epsilon < math.inf,
            f"epsilon_infinity must be at least 1, the vacuum's, got {epsilon}",
        )
        if self.positive is not None:
            symbol = self.positive
            _require(symbol in SYMBOLS, f"positive: '{symbol}' is not a chemical symbol")


@dataclass(frozen=True)
class ElectrostaticsConfig:
    """The lattice sum that belongs to the model: it is trained with its truncation.

    `method` and `accuracy` say how it is summed: "direct", by a particle "mesh" whose forces have
    the relative error `accuracy`, or "auto", which takes the cheaper one for the size of every
    structure. `pair_offset` (angstrom) reproduces published models, whose cluster sums have
    1/(r + 1e-6).
    """

    sigma: float = 1.0
    k_max: float = math.pi
    cutoff: Literal["smooth", "sharp"] = "smooth"
    remove_self: bool = True
    pair_offset: float = 0.0
    method: Literal["auto", "direct", "mesh"] = "auto"
    accuracy: float = 1e-4

    def __post_init__(self):
        _require_finite(self, "sigma", "k_max", "pair_offset")
        _require(self.pair_offset >= 0, f"pair_offset must not be negative: {self.pair_offset}")
        _require(self.sigma > 0, f"sigma must be positive (angstrom), got {self.sigma}")
        _require(self.k_max > 0, f"k_max must be positive (1/angstrom), got {self.k_max}")
        _require(
            1e-10 <= self.accuracy < 0.1,
            f"accuracy must lie between 1e-10 and 0.1, got {self.accuracy}",
        )


@dataclass(frozen=True)
class ModelConfig:
    """A whole model; `charges` null means no long-range part at all.

    `dipoles`, `quadrupoles`, `charge_softness` and `polarizability` are latent, as the charges
    are: given, they take part in the long-range energy and are learnt through it.

    `elements` are chemical symbols in the order of the embedding tables. `element_energies` (eV)
    are added on the host in float64: the network never sees them. `normalize_features` shifts and
    scales the backbone's features by constants measured on the training data before a read-out
    sees them; published models do not.
    """

    elements: tuple[str, ...]
    backbone: CaceConfig
    energy: ReadoutConfig = field(default_factory=ReadoutConfig)
    charges: ChargeConfig | None = field(default_factory=ChargeConfig)
    dipoles: MomentConfig | None = None
    quadrupoles: MomentConfig | None = None
    charge_softness: SoftnessConfig | None = None
    polarizability: PolarizabilityConfig | None = None
    response: ResponseConfig = field(default_factory=ResponseConfig)
    electrostatics: ElectrostaticsConfig = field(default_factory=ElectrostaticsConfig)
    screening: ScreeningConfig = field(default_factory=ScreeningConfig)
    normalize_features: bool = True
    element_energies: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        check_symbols(self.elements)
        check_element_energies(self.element_energies)
        check_heads(self)
        positive = self.screening.positive
        _require(
            positive is None or positive in self.elements,
            f"screening.positive: {positive} is not among the elements {', '.join(self.elements)}",
        )

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the latent quantities beside the charges that the model has."""
        return tuple(name for name in HEADS if getattr(self, name) is not None)

    @property
    def highest_moment(self) -> int:
        """Rank of the highest moment in the sums: 0 charges, 1 dipoles, 2 quadrupoles.

        The Born charges of soft charges need the derivatives of the potential, one rank more.
        """
        if self.quadrupoles is not None:
            return 2
        induced = self.dipoles is not None or self.polarizability is not None
        return int(induced) + int(self.charge_softness is not None)

    @property
    def sum_options(self) -> dict:
        """What `build_structure` and `plan_sum` need to plan the sums of this model."""
        if self.charges is None:
            return {"k_max": None}
        sums = self.electrostatics
        return {
            "k_max": sums.k_max,
            "sigma": sums.sigma,
            "method": sums.method,
            "accuracy": sums.accuracy,
            "rank": self.highest_moment,
        }

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of `elements`, in order."""
        return tuple(atomic_numbers[symbol] for symbol in self.elements)
