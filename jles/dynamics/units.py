"""Internal units of a run: eV, angstrom, u, and the unit of time that follows from them.

That unit is angstrom sqrt(u/eV), about 10.18 fs, as in ASE. Configs and files use fs, K, 1/ps
and GPa. Boltzmann's constant is that of ASE (CODATA).
"""

from ase import units

FEMTOSECOND = units.fs
"""1 fs in internal time units. An internal velocity times this is in angstrom/fs."""

PICOSECOND = 1000.0 * units.fs
"""1 ps in internal time units."""

BOLTZMANN = units.kB
"""eV/K."""

PRESSURE_UNITS = {"eV/angstrom^3": 1.0, "GPa": units.GPa}
"""Accepted units of pressure, in eV/angstrom^3."""
