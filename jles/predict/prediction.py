"""What can be asked of a model, what each of it needs, and the record it comes back in."""

from dataclasses import dataclass, field

import numpy as np

from jles.electrostatics.plan import SumPlan, describe_plan
from jles.errors import InputError
from jles.models.config import ModelConfig, is_metallic
from jles.units import STRONGEST_FIELD

QUANTITIES = (
    "energy",
    "forces",
    "stress",
    "charges",
    "dipoles",
    "quadrupoles",
    "dipole",
    "quadrupole",
    "polarization",
    "born_charges",
    "polarizability",
    "polarizability_derivative",
    "piezoelectric",
    "energy_parts",
    "features",
)
WHOLE = frozenset(
    {"stress", "dipole", "quadrupole", "polarization", "polarizability", "piezoelectric"}
)
"""Arrays of the structure; the others are of its atoms."""

RESPONSES = (
    "polarization",
    "born_charges",
    "polarizability",
    "polarizability_derivative",
    "piezoelectric",
)
"""What a field or a displacement does to a crystal."""

_NET_CHARGE = 1e-3


@dataclass(frozen=True)
class Prediction:
    """Results for one structure as NumPy arrays; what was not asked for is None.

    Latent quantities carry the sign that `screening.positive` fixes; what a field couples to is
    physical, see `ScreeningConfig`.

    Attributes:
        energy: eV, element energies included; in a field the enthalpy.
        forces: eV/angstrom, (atoms, 3), those of the field included.
        stress: eV/angstrom^3, (3, 3), ASE's sign; crystals only; in a field at fixed voltage, see
            `energy_forces_stress`.
        charges: latent, e, (atoms,), or (atoms, channels) with several channels; what a response
            induces is in it.
        dipoles: latent, e angstrom, (atoms, 3); what a response induces is in it.
        quadrupoles: latent, e angstrom^2, (atoms, 3, 3), traceless.
        dipole: e angstrom, (3,); clusters only.
        quadrupole: traceless, e angstrom^2, (3, 3), about the mean position; clusters only.
        polarization: e angstrom, (3,): the dipole; of a crystal per cell, on the branch of the
            positions as they are given.
        polarization_quantum: rows e times periodic lattice vectors, e angstrom.
        born_charges: e, (atoms, 3, 3), first index polarization, second displacement.
        acoustic_sum: e, (3, 3): their sum before any projection.
        polarizability: of the whole structure at clamped atoms, e angstrom^2/V, (3, 3).
        polarizability_derivative: Raman tensors dA_ab/dr_ic, e angstrom/V, (atoms, 3, 3, 3).
        epsilon_infinity: that of the electrons the model does not see (1, or what
            `screening.epsilon_infinity` leaves) + polarizability / (eps0 V), (3, 3); crystals only.
        piezoelectric: proper tensor at clamped atoms, e/angstrom^2, (3, 3, 3), first index
            polarization; crystals only.
        energy_parts: eV by name: short_range, long_range, elements.
        features: the backbone's invariants, (atoms, features).
        notes: what must be known to read the numbers.
    """

    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    charges: np.ndarray | None = None
    dipoles: np.ndarray | None = None
    quadrupoles: np.ndarray | None = None
    dipole: np.ndarray | None = None
    quadrupole: np.ndarray | None = None
    polarization: np.ndarray | None = None
    polarization_quantum: np.ndarray | None = None
    born_charges: np.ndarray | None = None
    acoustic_sum: np.ndarray | None = None
    polarizability: np.ndarray | None = None
    polarizability_derivative: np.ndarray | None = None
    epsilon_infinity: np.ndarray | None = None
    piezoelectric: np.ndarray | None = None
    energy_parts: dict[str, float] | None = None
    features: np.ndarray | None = None
    notes: tuple[str, ...] = field(default=())


def check_wanted(want, config: ModelConfig, where: str) -> None:
    """Refuses what is unknown and what needs a head that the model has not.

    Raises:
        InputError: names the quantity and the head.
    """
    if isinstance(want, str):
        raise InputError(f"want must be a sequence of names, e.g. ('{want}',)")
    for name in want:
        if name not in QUANTITIES:
            raise InputError(f"want: unknown '{name}'; known: {', '.join(QUANTITIES)}")
        missing = _missing_head(name, config)
        if missing:
            raise InputError(f"want: '{name}' needs {missing}; {where} has none")


def _missing_head(name: str, config: ModelConfig) -> str | None:
    if name in {"energy", "forces", "stress", "energy_parts", "features"}:
        return None
    if config.charges is None:
        return "latent charges (the head 'charges')"
    if name == "dipoles" and config.dipoles is None and config.polarizability is None:
        return "latent dipoles (the head 'dipoles' or 'polarizability')"
    if name == "quadrupoles" and config.quadrupoles is None:
        return "latent quadrupoles (the head 'quadrupoles')"
    answers = {"polarizability", "charge_softness"} & set(config.heads)
    asked = name in {"polarizability", "polarizability_derivative"}
    if asked and config.charges.kind != "equilibrated" and not answers:
        return "something that answers a field (the head 'polarizability')"
    return None


def check_structure(want, config: ModelConfig, pbc, in_field: bool) -> None:
    """Refuses what this kind of structure does not have.

    Raises:
        InputError: names the quantity and the reason.
    """
    periodic = bool(np.any(pbc))
    if in_field and config.charges is None:
        raise InputError("field: the model has no charges for it to act on (charges is null)")
    if "stress" in want and in_field and periodic and not np.all(pbc):
        raise InputError(
            "want: stress of a slab in a field is not known; leave one of them out"
        )
    if "stress" in want and not periodic:
        raise InputError("want: stress of a structure that is not periodic has no meaning")
    if "piezoelectric" in want and not np.all(pbc):
        raise InputError(
            "want: 'piezoelectric' is that of a crystal, periodic in three directions"
        )
    for name in ("dipole", "quadrupole"):
        if name in want and periodic:
            raise InputError(f"want: '{name}' is that of a cluster; ask for 'polarization'")
    if not periodic:
        return
    if is_metallic(config):
        for name in RESPONSES:
            if name in want:
                raise InputError(
                    f"want: '{name}' of a crystal has no bulk meaning here: with charges.kind "
                    "'equilibrated', or charge_softness in response.mode 'self-consistent', charge "
                    "flows through it as through a metal"
                )
        if in_field and config.charge_softness is not None:
            raise InputError("field: soft charges that see one another answer like a metal")
    soft = config.charge_softness is not None
    fields = {"polarization", "born_charges", "piezoelectric"} & set(want)
    if soft and (fields or in_field):
        asked = f"want: '{min(fields)}'" if fields else "field"
        if not np.all(pbc):
            raise InputError(f"{asked}: slabs of models with charge_softness have none here")
        if "piezoelectric" in want or ("stress" in want and in_field):
            raise InputError(
                "want: how polarization changes with strain is not known of soft charges: "
                "'piezoelectric', and 'stress' in a field, need a model without charge_softness"
            )
    asked = {"polarizability", "polarizability_derivative"} & set(want)
    if asked and config.polarizability is None:
        raise InputError(
            f"want: '{min(asked)}' of a crystal needs the head 'polarizability': soft charges "
            "alone have none in the bulk"
        )


def field_array(value) -> np.ndarray | None:
    """A field as three float64 numbers, V/angstrom.

    Raises:
        InputError: wrong shape, not finite, or so strong that the unit must be another one.
    """
    if value is None:
        return None
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise InputError(f"field must be three finite numbers (V/angstrom), got {value!r}")
    if np.abs(array).max() > STRONGEST_FIELD:
        raise InputError(
            f"field {array.tolist()} V/angstrom is stronger than {STRONGEST_FIELD:g}; is it in "
            "kV/cm? 1 kV/cm is 1e-5 V/angstrom"
        )
    return array


def notes_of(
    want, charges, total_charge: float, pbc, config: ModelConfig, in_field: bool
) -> tuple[str, ...]:
    """Statements without which a polarization, Born charge or energy in a field is misread."""
    notes = []
    if not in_field and not {"polarization", "dipole", "born_charges", "piezoelectric"} & set(
        want
    ):
        return ()
    if in_field and np.any(pbc):
        notes.append(
            "the energy of a crystal in a field is on the branch of the positions, and does not "
            "know charge that flows over the border of the cell; forces and stress do"
        )
    if config.screening.epsilon_infinity is not None and np.any(pbc) and not np.all(pbc):
        notes.append(
            "screening.epsilon_infinity is that of a crystal: moments of this slab are latent ones"
        )
    net = float(np.sum(charges))
    kind = "cell" if np.any(pbc) else "cluster"
    if abs(total_charge) > _NET_CHARGE:
        notes.append(
            f"the {kind} has a charge of {total_charge:g} e: its polarization depends on the "
            "origin; the mean charge was taken off every atom, which refers it to the mean position"
            + (
                ""
                if kind == "cell"
                else ", so that Born charges sum to zero and not to the charge"
            )
        )
    if abs(net - total_charge) > _NET_CHARGE:
        notes.append(
            f"latent charges sum to {net:.4g} e, not {total_charge:g}: the mean was taken off for "
            "the polarization"
        )
    return tuple(notes)


def notes_of_sum(plan: SumPlan, config: ModelConfig) -> tuple[str, ...]:
    """How the long-range part was summed, where that is not exact."""
    if plan.method != "mesh":
        return ()
    return (f"long range: {describe_plan(plan, config.electrostatics.accuracy)}",)
