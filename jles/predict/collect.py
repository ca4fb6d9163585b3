"""From the arrays of one structure to a `Prediction`."""

import jax
import numpy as np

from jles.electrostatics.plan import SumPlan
from jles.errors import InputError
from jles.models.config import ModelConfig
from jles.predict.prediction import (
    Prediction,
    notes_of,
    notes_of_cell,
    notes_of_charge,
    notes_of_field,
    notes_of_sign,
    notes_of_sum,
)
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.evaluation import BornMode
from jles.quantities.quantity import Host


def collect(
    config: ModelConfig,
    out: dict,
    *,
    atoms,
    places,
    plan: SumPlan,
    want,
    field,
    born_mode: BornMode,
    sum_rule: bool,
    total_charge: float,
) -> Prediction:
    """The results of `outputs` for one structure, without padding, finished on the host.

    Args:
        config: of the model.
        out: NumPy arrays by name.
        atoms: the structure.
        places: the positions as the model had them, wrapped, angstrom.
        plan: of the electrostatic sums.
        want: names of `QUANTITIES`.
        field: applied, V/angstrom; None for none.
        born_mode: of the Born charges.
        sum_rule: whether Born charges are made to obey the acoustic sum rule.
        total_charge: e.

    Raises:
        InputError: a result is not a finite number.
    """
    notes, moved, bare = notes_of_sum(plan, config), np.zeros(3), None
    if "bare_charges" in out:
        bare = np.asarray(out["bare_charges"], np.float64)[: len(atoms)]
        # The model wrapped the atoms; results are on the branch of the given positions.
        moved = float(out["factor"]) * (bare - bare.mean()) @ (atoms.positions - places)
    notes += notes_of(want, bare, total_charge, atoms.pbc, config, field is not None)
    if field is not None:
        notes += notes_of_field(config, atoms.pbc, total_charge)
    charges = out.get("bare_charges", out.get("charges"))
    if charges is not None:
        latent = np.reshape(charges, (len(charges), -1)).sum(axis=1)[: len(atoms)]
        notes += notes_of_sign(latent, atoms.symbols, total_charge, config)
    notes += notes_of_charge(total_charge, config)
    if born_mode == "published" and "born_charges" in want:
        notes += notes_of_cell(atoms.cell.array, atoms.pbc)
    host = Host(config, atoms, out, moved, field, total_charge, sum_rule)
    results = {}
    for name in want:
        found = QUANTITIES[name].results(out[name], host)
        _check_finite(name, found, config)
        results |= found
    return Prediction(notes, **results)


def _check_finite(name: str, found: dict, config: ModelConfig) -> None:
    for value in map(np.asarray, jax.tree.leaves(found)):
        if np.isfinite(value).all():
            continue
        where = ""
        if QUANTITIES[name].per_atom and value.ndim:
            where = f" of atom {np.argwhere(~np.isfinite(value))[0][0]}"
        raise InputError(f"'{name}'{where} is not a finite number: {_why(config)}")


def _why(config: ModelConfig) -> str:
    if config.charges is not None and config.charges.kind == "equilibrated":
        return "the equilibration of the charges did not converge for this geometry"
    if config.response.mode == "self-consistent":
        return (
            "the self-consistent response did not converge; polarizabilities or softness are "
            "too large for moments this close (other positions, or a model with a wider "
            "sigma); in a slab, charge softness needs conserve_charge"
        )
    return "the model fails for this geometry, or its parameters are damaged"
