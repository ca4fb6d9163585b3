"""An ASE calculator of ions with known charges, as a teacher whose student can be checked."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from jles.units import COULOMB_CONSTANT

CHARGE = 0.7
STRENGTH, LENGTH = 2000.0, 0.25


class Salt(Calculator):
    """Point charges of a cluster, +0.7 e for Na and -0.7 e for Cl, with exponential walls.

    The energy is shifted by the initial charges and the spin of the atoms (eV), so that labels
    tell whether the teacher saw them.
    """

    implemented_properties = ["energy", "forces", "charges"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        charges = np.where(self.atoms.numbers == 11, CHARGE, -CHARGE)
        vectors = self.atoms.positions[:, None] - self.atoms.positions[None]
        distances = np.linalg.norm(vectors, axis=-1)
        np.fill_diagonal(distances, np.inf)
        coulomb = COULOMB_CONSTANT * charges[:, None] * charges / distances
        wall = STRENGTH * np.exp(-distances / LENGTH)
        push = (coulomb / distances + wall / LENGTH) / distances
        self.results = {
            "energy": 0.5 * float(np.sum(coulomb + wall)) + _shift(self.atoms),
            "forces": np.sum(push[..., None] * vectors, axis=1),
            "charges": charges,
        }


def _shift(atoms) -> float:
    return float(atoms.get_initial_charges().sum() + atoms.info.get("spin", 0.0))


def cluster(side=2, length=2.7) -> Atoms:
    """A cube of the rock-salt structure."""
    places = np.array(list(np.ndindex(side, side, side)))
    symbols = ["Na" if place.sum() % 2 == 0 else "Cl" for place in places]
    return Atoms(symbols, length * places)


class Broken(Salt):
    """The same with forces that are not finite from the third evaluation on."""

    evaluations = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.evaluations += 1
        if self.evaluations > 2:
            self.results["forces"] = np.full((len(self.atoms), 3), np.nan)


class Forceless(Salt):
    """The same without forces."""

    implemented_properties = ["energy"]
