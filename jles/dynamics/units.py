"""Units of a run: eV, angstrom and u inside, with the time that makes F/m an acceleration.

That time is angstrom sqrt(u/eV), about 10.18 fs, as in ASE; fs, K, 1/ps and GPa are for people.
Boltzmann's constant is ASE's (CODATA).
"""

from ase import units

FEMTOSECOND = units.fs
"""1 fs in angstrom sqrt(u/eV); a velocity per fs is the internal one times this."""

PICOSECOND = 1000.0 * units.fs
"""1 ps in angstrom sqrt(u/eV)."""

BOLTZMANN = units.kB
"""eV/K."""

PRESSURE_UNITS = {"eV/angstrom^3": 1.0, "GPa": units.GPa}
"""Units that a pressure may be given in, eV/angstrom^3."""
