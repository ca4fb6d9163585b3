"""The ASE calculator of a model."""

from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from jles.predict.prediction import Prediction
from jles.predict.predictor import Predictor
from jles.predict.spread import mean_and_spread

RESPONSES = {
    "polarization": "polarization",
    "born_effective_charges": "born_charges",
    "polarizability": "polarizability",
}
"""ASE's names and ours."""


class LatentChargeCalculator(Calculator):
    """Energy (eV), forces (eV/angstrom), stress (eV/angstrom^3, Voigt), charges (e) and more.

    Neighbour lists are rebuilt on the host for every geometry; arrays are padded to sizes with
    room, so steps of a run, and other structures of a similar size, share one compilation.
    `dipole` (e angstrom) is that of a cluster; `polarization` (e angstrom per cell, on the branch
    of the positions), `born_effective_charges` (e, (atoms, 3, 3), first index polarization) and
    `polarizability` (e angstrom^2/V) are there for both. In a field energy, forces and stress are
    those of the enthalpy, the stress at fixed voltage.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "stress",
        "charges",
        "dipole",
        *RESPONSES,
    ]

    def __init__(self, model: Predictor, field=None):
        super().__init__()
        self.model, self.field = model, field

    def check_state(self, atoms, tol=1e-15):
        """What changed since the last calculation; `total_charge` is part of a structure."""
        changes = super().check_state(atoms, tol)
        charge_of = self.model.total_charge
        if self.atoms is not None and charge_of(self.atoms) != charge_of(atoms):
            changes.append("total_charge")
        return changes

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Energy and forces always, stress with every crystal, the rest where asked for."""
        super().calculate(atoms, properties, system_changes)
        periodic = bool(self.atoms.pbc.any())
        want = {"energy", "forces"}
        if periodic and (self.field is None or "stress" in properties):
            want.add(
                "stress"
            )  # a few percent now, a second evaluation if it is asked for later
        elif "stress" in properties:
            raise PropertyNotImplementedError("stress of a cluster")
        want |= {"charges", "dipole"} & set(properties)
        if "dipole" in properties and periodic:
            raise PropertyNotImplementedError("dipole of a periodic structure")
        want |= {ours for name, ours in RESPONSES.items() if name in properties}
        out = self.model.predict(self.atoms, want=sorted(want), field=self.field)
        self.results |= self._results(out)

    def _results(self, out) -> dict:
        return ase_results(out)


class CommitteeCalculator(LatentChargeCalculator):
    """The same of a `Committee`: means; `results` holds the spread of each as `NAME_spread` too."""

    def _results(self, out) -> dict:
        mean, spread = mean_and_spread([ase_results(member) for member in out.members])
        return mean | {f"{name}_spread": value for name, value in spread.items()}


def ase_results(out: Prediction) -> dict:
    """What there is of a prediction under the names that ASE looks for."""
    results = {"energy": out.energy, "free_energy": out.energy, "forces": out.forces}
    if out.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(out.stress)
    if out.charges is not None:
        total = out.charges if out.charges.ndim == 1 else out.charges.sum(axis=1)
        results["charges"] = np.asarray(total)
    if out.dipole is not None:
        results["dipole"] = out.dipole
    for name, ours in RESPONSES.items():
        if getattr(out, ours) is not None:
            results[name] = getattr(out, ours)
    return results
