"""Doubts about a single structure: the unit of its positions, and forgotten periodicity."""

import numpy as np
from ase.data import covalent_radii
from jaxtyping import Bool, Float, Int

from jles.structures.distances import edges
from jles.structures.structure import Structure

BOHR, NANOMETRE = 1.6, 0.6
"""Nearest neighbours, in sums of covalent radii, above and below which a unit is doubtful."""

_RADII = covalent_radii.copy()
# Noble gases do not bond: half the distance of neighbours in their crystals, angstrom.
_RADII[[2, 10, 18, 36, 54, 86]] = 1.8, 1.6, 1.9, 2.0, 2.2, 2.2


def nearest_over_radii(numbers: Int[np.ndarray, " atoms"], i, j, distances) -> np.ndarray:
    """Distance of the nearest neighbour over the sum of the covalent radii.

    Receivers `i` and senders `j` are those of all neighbours; the unit of distances is
    angstrom. Atoms without a neighbour are left out.
    """
    radii = _RADII[numbers]
    nearest = np.full(len(numbers), np.inf)
    np.minimum.at(nearest, i, distances / (radii[i] + radii[j]))
    return nearest[np.isfinite(nearest)]


def doubtful_unit(nearest: Float[np.ndarray, " atoms"]) -> str | None:
    """A question about the unit of positions, from `nearest_over_radii`; None: no doubt."""
    if len(nearest) == 0:
        return None
    typical = float(np.median(nearest))
    said = f"nearest neighbours are at {typical:.2f} times the sum of their covalent radii"
    if typical > BOHR:
        return f"{said}: are positions in bohr (1 bohr = 0.529177 angstrom)?"
    if typical < NANOMETRE:
        return f"{said}: are positions in nm or in fractions of the cell?"
    return None


def unusual_distances(structure: Structure) -> str | None:
    """A question about the unit of a structure on the host, without data to compare with."""
    i, j, distances = edges(structure)
    if len(distances) == 0 and np.count_nonzero(structure.mask) > 1:
        return "no atom has a neighbour within the cutoff: are positions and cell in angstrom?"
    return doubtful_unit(nearest_over_radii(np.asarray(structure.numbers), i, j, distances))


def forgotten_periodicity(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
    cutoff: float,
) -> str | None:
    """A remark on a cell without periodic directions; None if it is a box around a molecule.

    In such a box periodic images would be beyond the cutoff. Lengths are in angstrom.
    """
    if np.any(pbc) or abs(np.linalg.det(cell)) <= 1.0:
        return None
    inverse = np.linalg.inv(cell)
    empty = 1.0 - np.ptp(positions @ inverse, axis=0)
    if np.min(empty / np.linalg.norm(inverse, axis=0)) >= cutoff:
        return None
    return "there is a cell but pbc F F F; the structure is read as a molecule in vacuum"
