"""The record a prediction comes back in, what is refused, and the notes that go with it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jles.electrostatics.plan import SumPlan, describe_plan
from jles.errors import InputError
from jles.lattice import reduction
from jles.models.config import ModelConfig
from jles.quantities.catalogue import QUANTITIES, asides
from jles.quantities.refusals import refuse_field
from jles.units import STRONGEST_FIELD

_NET_CHARGE = 1e-3


class Prediction:
    """Results for one structure as NumPy values, in the units of docs/predictions.md.

    Every quantity of the catalogue, and what comes with it, is an attribute: `out.energy`,
    `out.born_charges`, `out.acoustic_sum`; None where it was not asked for. Moments of atoms
    are latent, with the sign that `screening.positive` fixes; what a field couples to is
    physical, see `ScreeningConfig`.

    Attributes:
        values: what there is, by name.
        notes: what must be known to read the numbers.
    """

    def __init__(self, notes: tuple[str, ...] = (), **values: Any):
        self.values: Mapping[str, Any] = values
        self.notes = notes

    def __getattr__(self, name: str):
        # Before `values` is set, as while it is unpickled, nothing is an attribute.
        if name.startswith("_") or name == "values":
            raise AttributeError(name)
        if name not in self.values and name not in QUANTITIES and name not in asides():
            known = ", ".join(QUANTITIES)
            raise AttributeError(f"no quantity '{name}'; known: {known}")
        return self.values.get(name)

    def __dir__(self):
        return [*super().__dir__(), *QUANTITIES, *asides()]

    def __repr__(self):
        shapes = [f"{name}{np.shape(value) or ''}" for name, value in self.values.items()]
        return f"Prediction({', '.join(shapes)})"


def check_wanted(
    want,
    config: ModelConfig,
    pbc=None,
    in_field: bool = False,
    place: str = "want",
    cell=None,
) -> None:
    """Refuses names that do not exist and quantities that model or structure does not have.

    Args:
        want: names of `QUANTITIES`.
        config: of the model.
        pbc: periodic directions of the structure; None asks about the model alone.
        in_field: whether a field is applied.
        place: where the names were given, for errors.
        cell: rows are lattice vectors, angstrom; None does not ask about it.

    Raises:
        InputError: names the quantity and the reason, or what the backbone needs for the cell.
    """
    if isinstance(want, str):
        raise InputError(f"want must be a sequence of names, e.g. ('{want}',)")
    for name in want:
        if name not in QUANTITIES:
            raise InputError(f"want: unknown '{name}'; known: {', '.join(QUANTITIES)}")
    if in_field and pbc is not None and (reason := refuse_field(config, pbc)):
        raise InputError(reason)
    asked = [QUANTITIES[name] for name in want]
    reasons = [quantity.refuse(config) for quantity in asked]
    if pbc is not None:
        reasons += [quantity.refuse(config, pbc, in_field, cell) for quantity in asked]
    for reason in filter(None, reasons):
        raise InputError(f"{place}: {reason}")
    weighted = in_field or any(quantity.polar or quantity.responds for quantity in asked)
    if cell is not None and weighted:
        config.backbone.check_cell(cell, pbc)


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
    """Notes on how to interpret a polarization, its derivatives or an energy in a field.

    Args:
        want: names of `QUANTITIES`.
        charges: latent, e, (atoms,); None where they are not known, as of a cluster in a field.
        total_charge: of the structure, e.
        pbc: periodic directions.
        config: of the model.
        in_field: whether a field is applied.
    """
    if not in_field and not any(QUANTITIES[name].polar for name in want):
        return ()
    notes = []
    if in_field and np.any(pbc):
        notes.append(
            "the energy of a crystal in a field is on the branch of the positions and leaves "
            "out charge that flows through the cell boundary; forces and stress contain it"
        )
    if config.screening.epsilon_infinity is not None and np.any(pbc) and not np.all(pbc):
        notes.append(
            "screening.epsilon_infinity applies to crystals only: "
            "moments of this slab are latent"
        )
    kind = "cell" if np.any(pbc) else "cluster"
    if abs(total_charge) > _NET_CHARGE:
        notes.append(
            f"the {kind} has a charge of {total_charge:g} e: its polarization and its energy "
            "in a field depend on the origin, which is the mean position of its atoms; Born "
            "charges and forces are derivatives at a fixed origin"
        )
        screened = config.screening.epsilon_infinity is not None and np.all(pbc)
        if screened and config.constrains_charge:
            notes.append(
                f"the latent charges sum to {total_charge:g} e; in Born charges and forces of "
                "a field the root of epsilon_infinity multiplies this sum, too, which "
                "sum_rule corrects"
            )
    net = total_charge if charges is None else float(np.sum(charges))
    if abs(net - total_charge) > _NET_CHARGE:
        notes.append(
            f"latent charges sum to {net:.4g} e, not {total_charge:g}: their mean was "
            "subtracted for the polarization"
        )
    return tuple(notes)


def notes_of_sign(
    charges, symbols, total_charge: float, config: ModelConfig
) -> tuple[str, ...]:
    """A note if the total charge fixes another sign than `screening.positive` asks for.

    Args:
        charges: latent, e, (atoms,).
        symbols: chemical symbols, (atoms,).
        total_charge: of the structure, e.
        config: of the model.
    """
    chosen = np.asarray(symbols) == config.screening.positive
    if chosen.all() or not chosen.any() or not config.fixes_sign(total_charge):
        return ()
    if charges[chosen].mean() >= charges[~chosen].mean():
        return ()
    note = (
        f"screening.positive: {config.screening.positive} is more negative than the other "
        f"atoms here; the total charge of {total_charge:g} e fixes the sign of the charges"
    )
    return (note,)


def notes_of_field(config: ModelConfig, pbc, total_charge: float = 0.0) -> tuple[str, ...]:
    """A note if a field would act on charges whose sign or factor is not determined.

    Args:
        config: of the model.
        pbc: periodic directions; only a crystal has a dielectric constant.
        total_charge: of the structure, e.
    """
    keys = [] if config.fixes_sign(total_charge) else ["positive"]
    keys += ["epsilon_infinity"] if np.all(pbc) else []
    missing = [key for key in keys if getattr(config.screening, key) is None]
    if not missing:
        return ()
    what = {
        "positive": "the sign of the charges is arbitrary",
        "epsilon_infinity": "the charges lack the factor sqrt(epsilon_infinity)",
    }
    names = " and ".join(f"screening.{key}" for key in missing)
    note = (
        f"the field acts on latent charges ({names} not given): "
        f"{' and '.join(what[key] for key in missing)}, unless the model was trained on "
        "dipoles or Born charges"
    )
    return (note,)


def notes_of_run(
    config: ModelConfig, pbc, total_charge: float, in_field: bool
) -> tuple[str, ...]:
    """Notes on the screening of a simulation, before its charges are known.

    Args:
        config: of the model.
        pbc: periodic directions.
        total_charge: e.
        in_field: whether a field is applied.
    """
    notes = notes_of_field(config, pbc, total_charge) if in_field else ()
    if config.screening.positive is not None and config.fixes_sign(total_charge):
        note = (
            f"screening.positive has no effect here: the total charge of {total_charge:g} e "
            "fixes the sign of the charges"
        )
        notes += (note,)
    return notes


def notes_of_charge(total_charge: float, config: ModelConfig) -> tuple[str, ...]:
    """A note if the structure has a charge that does not enter the energy of the model."""
    if abs(total_charge) <= _NET_CHARGE or config.sees_charge:
        return ()
    note = (
        f"the energy does not depend on the total charge of {total_charge:g} e: the model has "
        "no state.total_charge, and its charges do not sum to it"
    )
    return (note,)


def notes_of_cell(cell, pbc) -> tuple[str, ...]:
    """A note if a cell was reduced for Born charges that depend on the choice of cell.

    Args:
        cell: as it was given, rows are lattice vectors, angstrom.
        pbc: periodic directions.
    """
    turn = reduction(cell, pbc)
    if not np.all(pbc) or np.array_equal(turn, np.eye(3)):
        return ()
    rows = np.round(turn @ cell, 4).tolist()
    note = (
        "born_mode 'published' depends on the choice of cell; these Born charges are those of "
        f"the reduced cell {rows} of the same lattice"
    )
    return (note,)


def notes_of_sum(plan: SumPlan, config: ModelConfig) -> tuple[str, ...]:
    """A note on the method of the long-range sum if that is not exact."""
    if plan.method != "mesh":
        return ()
    return (f"long range: {describe_plan(plan, config.electrostatics.accuracy)}",)
