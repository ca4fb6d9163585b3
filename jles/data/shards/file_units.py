"""Units that files give in words, such as `hartree/bohr`, with their dimension."""

import re
from collections import Counter

from jles.units import BOHR, HARTREE

_BASES = {
    "1": (1.0, {}),
    "angstrom": (1.0, {"length": 1}),
    "bohr": (BOHR, {"length": 1}),
    "ev": (1.0, {"energy": 1}),
    "hartree": (HARTREE, {"energy": 1}),
    "e": (1.0, {"charge": 1}),
    "v": (1.0, {"energy": 1, "charge": -1}),
}
KNOWN = "angstrom, bohr, eV, hartree, e, V"
"""Units of which products, quotients and powers are understood."""

_PART = r"([*/])([a-z]+|1)(?:\^([0-9]+))?"


def unit_factor(unit: str, ours: str) -> float | None:
    """By what a value is multiplied to have our unit; None for another dimension.

    Args:
        unit: e.g. "hartree/bohr", "e*bohr^2", "eV / angstrom**3"; capitals are the same.
        ours: e.g. "eV/angstrom", "e angstrom^2".
    """
    given, wanted = _parsed(unit), _parsed(ours)
    if given is None or wanted is None or given[1] != wanted[1]:
        return None
    return given[0] / wanted[0]


def _parsed(unit: str) -> tuple[float, dict[str, int]] | None:
    """Factor to angstrom, eV and e, and the powers of length, energy and charge."""
    text = re.sub(r"\s*([*/^])\s*", r"\1", unit.strip().lower().replace("**", "^"))
    text = "*" + re.sub(r"\s+", "*", text)
    if not re.fullmatch(f"(?:{_PART})+", text):
        return None
    factor, powers = 1.0, Counter()
    for sign, name, power in re.findall(_PART, text):
        if name not in _BASES:
            return None
        exponent = int(power or 1) * (1 if sign == "*" else -1)
        size, dimension = _BASES[name]
        factor *= size**exponent
        powers.update({base: exponent * times for base, times in dimension.items()})
    return factor, {base: power for base, power in powers.items() if power}
