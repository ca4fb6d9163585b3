"""Units of the analysis: eV, angstrom, fs, e and u inside, experimental units in results.

Constants are those of ASE (CODATA), as in the dynamics; eps0 is that of `jles.units`.
"""

from ase import units

BOLTZMANN = units.kB
"""k_B, eV/K."""


PLANCK = 1e15 * units._hplanck / units._e
"""h, eV fs."""


SPEED_OF_LIGHT = 1e-5 * units._c
"""c, angstrom/fs."""


ATOMIC_MASS = 1.0 / units.fs**2
"""One u, eV fs^2/angstrom^2: u (angstrom/fs)^2 times this is an energy in eV."""


WAVENUMBER = 1e8 / SPEED_OF_LIGHT
"""One 1/fs as a wavenumber, 1/cm."""


CONDUCTIVITY = 1e25 * units._e
"""One e/(V angstrom fs), S/m."""


DIFFUSION = 0.1
"""One angstrom^2/fs, cm^2/s."""


POLARIZATION = 1e22 * units._e
"""One e/angstrom^2, microC/cm^2."""


ENERGY_DENSITY = 1e24 * units._e
"""One eV/angstrom^3, J/cm^3."""
