"""Everything needed to rebuild a model.

A new kind of backbone brings its own record and is added to `BackboneConfig`.
"""

from typing import Annotated, Literal

from ase.data import atomic_numbers
from msgspec import Meta

from jles.config import Config, Finite, count, positive
from jles.errors import ConfigError
from jles.models.backbones.allegro_config import AllegroConfig
from jles.models.backbones.cace_config import CaceConfig
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.mace_config import MaceConfig
from jles.models.backbones.nequip_config import NequipConfig
from jles.models.backbones.painn_config import PainnConfig
from jles.models.charge_config import (
    DirectCharges,
    EquilibratedCharges,
    FlowCharges,
    Hidden,
    ReadoutConfig,
)
from jles.models.state_config import SAME_CHARGE, StateConfig
from jles.models.sum_config import ElectrostaticsConfig
from jles.models.symbols import check_symbols

BackboneConfig = (
    CaceConfig | MaceConfig | NequipConfig | PainnConfig | AllegroConfig | ForeignConfig
)
"""All backbones; the first one is that of a section without `kind`."""

HEADS = ("dipoles", "quadrupoles", "charge_softness", "polarizability")
"""Optional heads, beside energy and charges."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def check_heads(config) -> None:
    """Refuses heads that the charges or the backbone of the same record cannot carry.

    Raises:
        ConfigError: names the head.
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
            not isinstance(charges, EquilibratedCharges),
            f"{name}: needs charges.kind 'direct' or 'flow', got '{charges.kind}'",
        )
    _require(
        charges is None or charges.total != "softness" or config.charge_softness is not None,
        "charges: total 'softness' needs the head charge_softness, which is null",
    )
    _require(
        config.electrostatics.self_terms == 1 or (charges is not None and charges.channels > 1),
        "electrostatics: self_terms other than 1 needs charges.channels above 1",
    )
    for name in ("dipoles", "quadrupoles", "polarizability"):
        _require(
            config.electrostatics.pair_offset == 0.0 or getattr(config, name) is None,
            "electrostatics: pair_offset is that of published models of charges alone; it "
            f"cannot be combined with {name}: set it to 0",
        )
    tensor = isinstance(config.polarizability, TensorPolarizability)
    degrees = {"dipoles": 1, "quadrupoles": 2, "polarizability": 2 if tensor else 0}
    for name, degree in degrees.items():
        if getattr(config, name) is not None and backbone is not None:
            _require(
                backbone.degree >= degree,
                f"{name}: needs a backbone of degree {degree}, '{backbone.kind}' has "
                f"{backbone.degree}; raise backbone.{backbone.degree_key}",
            )
    embedded = config.state is not None and config.state.enters == "embedding"
    _require(
        not embedded or backbone is None or backbone.embeds_state,
        "state: enters 'embedding', which a foreign backbone does not have; set state.enters: "
        "features",
    )


Elements = Annotated[tuple[str, ...], Meta(min_length=1, description="chemical symbols")]
ElementEnergies = dict[str, Annotated[float, Meta(ge=-1e9, le=1e9, description="eV")]]


ChargeConfig = DirectCharges | FlowCharges | EquilibratedCharges


class MomentConfig(Config):
    """Latent dipoles (e angstrom) or quadrupoles (e angstrom^2) of every atom.

    `channels` linear mixtures of the backbone's vectors or tensors, each times an output of a
    perceptron on the invariants; then `scale`.
    """

    hidden: Hidden = (16,)
    channels: count(1024) = 8
    scale: Finite = 0.1


class SoftnessConfig(ReadoutConfig):
    """Charge softness kappa, e/V: `scale` times the softplus of a read-out."""

    hidden: Hidden = (16,)
    scale: positive(1e9, "e/V") = 0.02


class ScalarPolarizability(Config, tag_field="kind", tag="scalar"):
    """Polarizability, e angstrom^2/V, positive by construction.

    1 angstrom^3 is 0.0694 e angstrom^2/V. The polarizability is `scale` times the softplus of a
    perceptron on the invariants.
    """

    hidden: Hidden = (16,)
    scale: positive(1e9, "e angstrom^2/V") = 0.05

    @classmethod
    def upgrade(cls, values: dict) -> dict:
        """Format 1 gave scalars the key of tensors, without meaning."""
        return {key: value for key, value in values.items() if key != "channels"}


class TensorPolarizability(ScalarPolarizability, tag_field="kind", tag="tensor"):
    """Polarizability tensors, e angstrom^2/V, without negative eigenvalues.

    `scale` times A A^T, where A is the identity times a perceptron on the invariants plus a
    traceless tensor with `channels` as in `MomentConfig`.
    """

    channels: count(1024) = 8

    @classmethod
    def upgrade(cls, values: dict) -> dict:
        """Unchanged since format 1."""
        return values


PolarizabilityConfig = ScalarPolarizability | TensorPolarizability


class ResponseConfig(Config):
    """Response of charge softness and polarizability, see `jles.Response`."""

    mode: Literal["one-shot", "self-consistent"] = "one-shot"
    conserve_charge: bool = False


class ScreeningConfig(Config):
    """From latent to physical moments; energies and forces do not determine the factor.

    See docs/conventions.md, section 7. In crystals polarization, Born charges and applied
    fields are multiplied by the root of `epsilon_infinity`, less what induced dipoles screen;
    null leaves them latent. `positive` fixes the overall sign: the element whose atoms are more
    positive than the others.
    """

    epsilon_infinity: Annotated[float, Meta(ge=1.0, le=1e6)] | None = None
    positive: str | None = None

    def __post_init__(self):
        super().__post_init__()
        check_symbols("positive", [self.positive] if self.positive else [])


class ModelParts(Config, kw_only=True):
    """The keys that a model and the `model` section of a training file have in common.

    `state` null means that the network does not see the charge and spin state.
    `charges` null means no long-range part at all. `dipoles`, `quadrupoles`, `charge_softness`
    and `polarizability` are latent like the charges: each head that is given contributes to the
    long-range energy and is learnt through it. `normalize_features` shifts and scales the
    features of the backbone, before the read-outs, by constants of the training data; published
    models do not. `precision` is that of the matrix products of the network on accelerators, by
    its name in JAX (docs/accelerators.md); everything else has full precision.
    """

    state: StateConfig | None = None
    energy: ReadoutConfig = ReadoutConfig()
    charges: ChargeConfig | None = DirectCharges()
    dipoles: MomentConfig | None = None
    quadrupoles: MomentConfig | None = None
    charge_softness: SoftnessConfig | None = None
    polarizability: PolarizabilityConfig | None = None
    response: ResponseConfig = ResponseConfig()
    electrostatics: ElectrostaticsConfig = ElectrostaticsConfig()
    normalize_features: bool = True
    precision: Literal["highest", "high", "default"] = "highest"


class ModelConfig(ModelParts):
    """A whole model.

    `elements` are chemical symbols in the order of the embedding tables. The host adds
    `element_energies` (eV) in float64: the network never sees them.
    """

    elements: Elements
    backbone: BackboneConfig
    screening: ScreeningConfig = ScreeningConfig()
    element_energies: ElementEnergies = {}

    def __post_init__(self):
        super().__post_init__()
        check_heads(self)
        check_symbols("elements", self.elements)
        check_symbols("element_energies", self.element_energies)
        if self.initial_charges:
            given, known = set(self.initial_charges), set(self.elements)
            _require(
                given == known,
                f"charges.initial: has {', '.join(sorted(given))}; give one charge (e) to each "
                f"element of the model: {', '.join(self.elements)}",
            )
        positive = self.screening.positive
        _require(
            positive is None or positive in self.elements,
            f"screening.positive: {positive} is not among the elements "
            f"{', '.join(self.elements)}",
        )

    @property
    def initial_charges(self) -> dict[str, float]:
        """Initial charges of the elements, e; empty if the read-out alone gives the charges."""
        return self.charges.initial if isinstance(self.charges, DirectCharges) else {}

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
    def responds(self) -> bool:
        """Whether charges or dipoles are induced."""
        return self.charge_softness is not None or self.polarizability is not None

    @property
    def charges_respond(self) -> bool:
        """Whether charges depend on the potential at their atom."""
        equilibrated = self.charges is not None and self.charges.kind == "equilibrated"
        return equilibrated or self.charge_softness is not None

    @property
    def has_labels(self) -> bool:
        """Whether the network reads a label of every atom."""
        return self.state is not None and bool(self.state.labels)

    @property
    def sees_charge(self) -> bool:
        """Whether the energy depends on the total charge of a structure."""
        if self.state is not None and self.state.total_charge is not None:
            return True
        return self.constrains_charge

    @property
    def constrains_charge(self) -> bool:
        """Whether the charges of a structure sum to its total charge."""
        charges = self.charges
        return charges is not None and (
            charges.total != "free" or charges.kind == "equilibrated"
        )

    def fixes_sign(self, total_charge):
        """Whether the sign of the charges is that of their sum, not a free choice.

        Args:
            total_charge: of the structure, e; may be traced.
        """
        return self.constrains_charge & (abs(total_charge) > SAME_CHARGE)

    @property
    def sum_options(self) -> dict:
        """Arguments of `build_structure` and `plan_sum` that plan the sums of this model."""
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
