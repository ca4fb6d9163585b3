"""The element of each atom type of LAMMPS."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from jaxtyping import Float, Int

from jles.errors import InputError

_MASS_TOLERANCE = 0.02
"""Relative difference from the standard atomic mass; isotopes need `--types`."""


def elements_of_types(
    symbols: Sequence[str] | None, masses, known: Sequence[int]
) -> Int[np.ndarray, " types"]:
    """Atomic number of each type, from symbols where they are given, otherwise from masses.

    Args:
        symbols: one for each type, in order; None to identify elements by their masses.
        masses: of the types, g/mol; None where LAMMPS has no masses of types.
        known: atomic numbers that the model knows.

    Raises:
        InputError: names the type, and what to give.
    """
    if symbols is not None:
        return _of_symbols(symbols, None if masses is None else len(masses), known)
    if masses is None:
        raise InputError(
            "LAMMPS has no masses of atom types here; give --types, an element for each type"
        )
    return np.array([_of_mass(n, mass, known) for n, mass in enumerate(masses, 1)])


def element_energies(
    numbers: Int[np.ndarray, " atoms"], energies: Mapping[str, float]
) -> Float[np.ndarray, " atoms"]:
    """The element energies of atoms, eV; by symbol, zero for others."""
    of_atoms = [energies.get(chemical_symbols[z], 0.0) for z in numbers.tolist()]
    return np.array(of_atoms, np.float64)


def _of_symbols(symbols, types, known):
    if types is not None and len(symbols) != types:
        raise InputError(
            f"--types names {len(symbols)} elements ({' '.join(symbols)}), LAMMPS has {types} "
            "atom types"
        )
    for symbol in symbols:
        if atomic_numbers.get(symbol) not in known:
            raise InputError(f"--types: {symbol} is not among the model's {_names(known)}")
    return np.array([atomic_numbers[symbol] for symbol in symbols])


def _of_mass(number: int, mass: float, known) -> int:
    near = [z for z in known if abs(mass / atomic_masses[z] - 1.0) < _MASS_TOLERANCE]
    if len(near) != 1:
        which = "two of" if near else "none of"
        raise InputError(
            f"atom type {number} has mass {mass:g}, that of {which} the model's elements "
            f"{_names(known)}; give --types, an element for each type"
        )
    return near[0]


def _names(known) -> str:
    return ", ".join(chemical_symbols[z] for z in known)
