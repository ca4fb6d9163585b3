"""Shortest distances: those of a set, and which structures are outside it."""

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from jles.structures.batch import build_structure, pad_structure
from jles.structures.distances import distance_range, merged_range, outside, read_range
from jles.structures.sizes import Size
from tests.support.small_systems import rattled


def built(atoms, scale=1.0, cutoff=6.0):
    structure = build_structure(
        atoms.numbers,
        scale * atoms.positions,
        scale * atoms.cell.array,
        atoms.pbc,
        cutoff=cutoff,
        k_max=None,
    )
    # Padding has no distances.
    return pad_structure(structure, Size(len(atoms) + 2, structure.neighbor_mask.shape[1] + 1))


FRAMES = [rattled(n, count=4) for n in range(3)]
KNOWN = distance_range(built(atoms) for atoms in FRAMES)


def test_the_range_holds_the_shortest_distance_of_every_pair_of_elements():
    shortest = []
    for atoms in FRAMES:
        repeated = atoms.repeat((3, 3, 3))
        distances = repeated.get_all_distances() + 1e3 * np.eye(len(repeated))
        numbers = repeated.numbers
        for a, b in (("H", "O"), ("O", "O")):
            is_a, is_b = numbers == atomic_numbers[a], numbers == atomic_numbers[b]
            shortest.append(distances[np.ix_(is_a, is_b)].min(initial=np.inf))
    expected = np.reshape(shortest, (-1, 2)).min(axis=0)
    found = [KNOWN.shortest[8, 1], KNOWN.shortest[8, 8]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert KNOWN.shortest[1, 8] == KNOWN.shortest[8, 1]
    assert KNOWN.shortest[1, 79] == 0.0


def test_the_range_survives_being_written():
    again = read_range(KNOWN.record())
    np.testing.assert_allclose(again.shortest, KNOWN.shortest, atol=1e-4)
    assert abs(again.sparsest - KNOWN.sparsest) < 1e-4
    assert read_range({}) is None


def test_ranges_of_parts_make_that_of_the_whole():
    parts = [distance_range([built(atoms)]) for atoms in FRAMES]
    whole = merged_range(merged_range(*parts[:2]), parts[2])
    np.testing.assert_array_equal(whole.shortest, KNOWN.shortest)
    assert whole.sparsest == KNOWN.sparsest


def test_structures_of_the_set_are_inside_and_those_in_other_units_outside():
    for atoms in FRAMES:
        assert outside(built(atoms), KNOWN) is None
    assert "in the training data" in outside(built(FRAMES[0], 0.5), KNOWN)
    alone = distance_range([built(FRAMES[0])])
    assert "every structure of the training data" in outside(built(FRAMES[0], 1.89), alone)


def test_a_lone_atom_is_fine_and_two_far_apart_are_not():
    assert outside(built(Atoms("O")), KNOWN) is None
    far = built(Atoms("OH", [[0, 0, 0], [0, 0, 9.0]]))
    assert "no atom has a neighbour" in outside(far, KNOWN)
