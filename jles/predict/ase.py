"""The ASE calculators of a model and of a committee."""

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from jles.errors import InputError
from jles.predict.prediction import Prediction, field_array
from jles.predict.predictor import Predictor
from jles.predict.spread import mean_and_spread
from jles.quantities.catalogue import QUANTITIES
from jles.structures.neighbors import has_volume


class LatentChargeCalculator(Calculator):
    """Every quantity of the catalogue under ASE's name for it; units of docs/predictions.md.

    `stress` is in Voigt order, `charges` are summed over channels, `born_effective_charges` (e,
    (atoms, 3, 3)) have the polarization as first index. In a field energy, forces and stress
    are those of the enthalpy, the stress at fixed voltage. Neighbour lists are rebuilt on the
    host for every geometry; arrays are padded, so the steps of a run, and other structures of a
    similar size, share one compilation.
    """

    def __init__(self, model: Predictor, field=None):
        super().__init__()
        self._model, self.field = model, field
        self._names = {quantity.ase: quantity for quantity in QUANTITIES.values()}
        self.implemented_properties = ["free_energy", *self._names]

    @property
    def model(self) -> Predictor:
        """The model. It is fixed: another one has a calculator of its own."""
        return self._model

    @property
    def field(self) -> np.ndarray | None:
        """The applied field, (3,), V/angstrom, read-only; None without one.

        A new field is assigned as a whole, `calculator.field = (0.0, 0.0, 0.05)`.

        Raises:
            InputError: on assignment, as for `Predictor.calculator`.
        """
        return self._field

    @field.setter
    def field(self, value):
        array = field_array(value)
        if array is not None:
            array = array.copy()
            array.flags.writeable = False
        self._field, self.results = array, {}

    def set(self, **parameters):
        """ASE's way to change parameters; `field` is the only one.

        Raises:
            InputError: another parameter, or a field that is refused.
        """
        for name in parameters:
            if name != "field":
                raise InputError(f"'{name}' is no parameter of this calculator; it has 'field'")
        if parameters:
            self.field = parameters["field"]
        return parameters

    def check_state(self, atoms, tol=1e-15):
        """Changes since the last calculation, total charge and state included."""
        changes = super().check_state(atoms, tol)
        charge_of = self.model.total_charge
        if self.atoms is not None and charge_of(self.atoms) != charge_of(atoms):
            changes.append("total_charge")
        if self.atoms is not None and self._labels(self.atoms) != self._labels(atoms):
            changes.append("state")
        return changes

    def _labels(self, atoms):
        if not self.model.config.has_labels:
            return None
        key = self.model.state_key
        return np.asarray(atoms.arrays.get(key, atoms.info.get(key))).tolist()

    def get_property(self, name, atoms=None, allow_calculation=True):
        """ASE's way to ask for a result.

        Raises:
            PropertyNotImplementedError: no such name, or the model or the structure does not
                have it.
        """
        if name in QUANTITIES and name not in self.implemented_properties:
            raise PropertyNotImplementedError(
                f"'{name}' has another name in ASE: '{QUANTITIES[name].ase}'"
            )
        return super().get_property(name, atoms, allow_calculation)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Energy and forces always, stress where the cell has a volume, the rest where asked.

        Raises:
            PropertyNotImplementedError: the model or the structure does not have it.
        """
        super().calculate(atoms, properties, system_changes)
        if system_changes:
            self.results = {}
        pbc, in_field = self.atoms.pbc, self.field is not None
        asked = [self._names[name] for name in properties if name in self._names]
        for quantity in asked:
            reason = quantity.refuse(self.model.config, pbc, in_field, self.atoms.cell.array)
            if reason:
                raise PropertyNotImplementedError(reason)
        want = {"energy", "forces"} | {quantity.name for quantity in asked}
        if pbc.any() and has_volume(self.atoms.cell.array) and not in_field:
            want.add("stress")  # costs a few percent here, an evaluation if asked for later
        out = self.model.predict(self.atoms, want=sorted(want), field=self.field)
        self.results |= self._results(out)

    def _results(self, out) -> dict:
        return ase_results(out)


class CommitteeCalculator(LatentChargeCalculator):
    """The same for a `Committee`: means, and their spreads in `results` as `NAME_spread`."""

    def _results(self, out) -> dict:
        mean, spread = mean_and_spread([ase_results(member) for member in out.members])
        return mean | {f"{name}_spread": value for name, value in spread.items()}


def ase_results(out: Prediction) -> dict:
    """A prediction under the names and in the layout of ASE."""
    results = {
        quantity.ase: out.values[name]
        for name, quantity in QUANTITIES.items()
        if name in out.values
    }
    results["free_energy"] = out.energy
    if out.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(out.stress)
    if out.charges is not None and out.charges.ndim == 2:
        results["charges"] = np.sum(out.charges, axis=1)
    return results
