"""Units of LAMMPS in eV and angstrom."""

from ase.units import kcal, mol

from jles.errors import InputError

_ENERGIES = {"metal": 1.0, "real": kcal / mol}
"""eV; both have lengths in angstrom."""


def energy_unit(style: str) -> float:
    """The unit of energy of a style, eV.

    Raises:
        InputError: a style other than metal and real.
    """
    if style not in _ENERGIES:
        raise InputError(f"units {style}: jles works with units metal and units real")
    return _ENERGIES[style]
