"""From the arrays of one structure to a `Prediction`."""

import numpy as np

from jles.electrostatics.plan import SumPlan
from jles.models.config import ModelConfig
from jles.observables.born_charges import acoustic_sum, obey_sum_rule
from jles.observables.polarizability import dielectric_tensor
from jles.predict.prediction import WHOLE, Prediction, notes_of, notes_of_sum


def collect(
    config: ModelConfig,
    out: dict,
    *,
    atoms,
    places,
    plan: SumPlan,
    want,
    field,
    sum_rule: bool,
    total_charge: float,
) -> Prediction:
    """What `outputs` gave for one structure, without padding and with what the host adds.

    The host adds element energies, notes, the branch of the polarization and the sum rule.

    Args:
        config: of the model.
        out: NumPy arrays by name.
        atoms: the structure.
        places: the positions as the model had them, wrapped, angstrom.
        plan: of the electrostatic sums.
        want: names of `QUANTITIES`.
        field: applied, V/angstrom; None for none.
        sum_rule: whether Born charges are made to obey it.
        total_charge: e.
    """
    count = len(atoms)
    energies = config.element_energies
    offset = sum(energies.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols())
    results = {"notes": notes_of_sum(plan, config)}
    for name in want:
        value = out[name]
        if name == "energy":
            results[name] = float(value) + offset
        elif name == "energy_parts":
            parts = {part: float(number) for part, number in value.items()}
            results[name] = parts | {"elements": offset}
        elif name in WHOLE:
            results[name] = np.asarray(value, np.float64)
        else:
            results[name] = np.asarray(value, np.float64)[:count]
    if "charges" in results and config.charges.channels == 1:
        results["charges"] = results["charges"][:, 0]
    if "bare_charges" in out:
        bare = np.asarray(out["bare_charges"], np.float64)[:count]
        in_field = field is not None
        results["notes"] += notes_of(want, bare, total_charge, atoms.pbc, config, in_field)
        # The model wrapped the atoms; the branch is that of the places they were given.
        factor = float(out.get("factor", 0.0))
        moved = factor * (bare - bare.mean()) @ (atoms.positions - places)
        if in_field and "energy" in want:
            results["energy"] -= float(moved @ field)
        if in_field and "energy_parts" in want:
            results["energy_parts"]["long_range"] -= float(moved @ field)
        if "polarization" in want and atoms.pbc.any():
            results["polarization"] = results["polarization"] + moved
            results["polarization_quantum"] = atoms.cell.array[atoms.pbc].copy()
    if "born_charges" in want:
        born = results["born_charges"]
        results["acoustic_sum"] = acoustic_sum(born)
        if sum_rule:
            every = np.ones(count, bool)
            results["born_charges"] = obey_sum_rule(born, every, total_charge)
    if "polarizability" in want and atoms.pbc.all():
        total, volume = results["polarizability"], atoms.get_volume()
        hidden = float(out["factor"]) ** 2
        results["epsilon_infinity"] = dielectric_tensor(total, volume, hidden)
    return Prediction(**results)
