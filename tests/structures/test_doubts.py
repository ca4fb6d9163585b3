"""Doubts about units: none for ordinary bonds and crystals, one if they are in bohr."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from jles.structures.doubts import doubtful_unit, nearest_over_radii
from jles.structures.neighbors import find_neighbors
from jles.units import BOHR


def doubt(atoms):
    table = find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, 12.0)
    i, slot = np.nonzero(table.mask)
    j = table.index[i, slot]
    there = atoms.positions[j] + table.shift[i, slot] @ atoms.cell.array
    apart = np.linalg.norm(there - atoms.positions[i], axis=1)
    return doubtful_unit(nearest_over_radii(atoms.numbers, i, j, apart))


@pytest.mark.parametrize(
    "atoms",
    [
        molecule("H2"),
        molecule("C6H6"),
        bulk("NaCl", "rocksalt", 5.64),
        bulk("Cs", "bcc", 6.05),
        bulk("Ne", "fcc", 4.43),
        bulk("Ar", "fcc", 5.26),
        bulk("Xe", "fcc", 6.2),
    ],
    ids=lambda atoms: str(atoms.symbols),
)
def test_lengths_in_bohr_are_doubted_and_those_in_angstrom_are_not(atoms):
    assert doubt(atoms) is None
    atoms = atoms.copy()
    atoms.positions /= BOHR
    atoms.set_cell(atoms.cell.array / BOHR)
    assert "are positions in bohr" in doubt(atoms)
