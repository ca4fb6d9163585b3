"""Units and constants: angstrom, electronvolt, elementary charge; nothing else defines one.

1/(2 eps0) is 90.4756 eV angstrom e^-2 exactly, by definition (docs/conventions.md, section 1).
"""

import math

HALF_INVERSE_EPSILON0 = 90.4756
"""1/(2 eps0), eV angstrom / e^2. The value of the published models; CODATA's is 4e-7 larger."""

COULOMB_CONSTANT = HALF_INVERSE_EPSILON0 / (2.0 * math.pi)
"""k_e = 1/(4 pi eps0), eV angstrom / e^2."""

EPSILON0 = 0.5 / HALF_INVERSE_EPSILON0
"""Vacuum permittivity, e^2 / (eV angstrom)."""

PUBLISHED_CHARGE_DIVISOR = 9.48933
"""The divisor of raw latent charges in papers: sqrt(90.0474), two digits of eps0 transposed.

Their charges are 0.24 % too large; used only to compare with published numbers.
"""

BOHR = 0.529177210544
"""Bohr radius, angstrom (CODATA 2022)."""

HARTREE = 27.211386245981
"""Hartree energy, eV (CODATA 2022)."""

FIELD_UNITS = {"V/angstrom": 1.0, "kV/cm": 1e-5}
"""Units that a field may be given in, V/angstrom."""

STRONGEST_FIELD = 10.0
"""V/angstrom; more tears any atom apart and can only be a field in other units."""


def pretty(unit: str) -> str:
    """A unit as people write it: e angstrom^2/V becomes e Å²/V."""
    for plain, sign in (("angstrom", "Å"), ("^2", "²"), ("^3", "³")):
        unit = unit.replace(plain, sign)
    return unit
