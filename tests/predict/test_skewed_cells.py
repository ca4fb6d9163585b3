"""Skewed cells of a lattice: results are those of the compact cell, in the user's terms."""

import numpy as np
import pytest

from jles.models.config import DirectCharges
from jles.predict.model import Model
from jles.predict.prediction import notes_of_cell
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    small_backbone,
    small_config,
    small_model,
)

SKEW = np.array([[1, 0, 0], [6, 1, 0], [0, 6, 1]])
IN_PLANE = np.array([[1, 0, 0], [0, 1, 0], [5, 0, 1]])
CONFIG = small_config(
    backbone=small_backbone(l_max=1, body_order=1),
    charges=DirectCharges(hidden=(), total="shift", scale=1.0),
)


@pytest.fixture(scope="module")
def model():
    return Model(CONFIG, small_model(CONFIG)[1], "float64")


@pytest.mark.parametrize(
    ("skew", "pbc", "more"),
    [
        (SKEW, (True, True, True), ("stress", "born_charges", "piezoelectric")),
        (IN_PLANE, (True, False, True), ()),
    ],
    ids=["crystal", "slab"],
)
def test_a_skewed_cell_gives_the_results_of_the_plain_one(model, skew, pbc, more):
    plain = rattled(0, count=4)
    plain.pbc = pbc
    # Atoms of other cells: the branch of the polarization is that of the given positions.
    plain.positions += (np.arange(12).reshape(4, 3) % 3 - 1) * np.array(pbc) @ plain.cell.array
    skewed = plain.copy()
    skewed.set_cell(skew @ plain.cell.array)
    want = ("energy", "forces", "charges", "polarization", *more)
    expected, found = (model.predict(atoms, want) for atoms in (plain, skewed))
    # The height in which a slab is summed depends on the vectors, and leaves an error of 1e-8.
    options = {"rtol": 1e-9, "atol": 1e-11} if all(pbc) else {"rtol": 1e-6, "atol": 1e-6}
    for name in want:
        pair = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(*pair, err_msg=name, **options)
    # The quanta are those of the cell that was given.
    quantum, plain_quantum = found.polarization_quantum, expected.polarization_quantum
    rows = np.flatnonzero(pbc)
    np.testing.assert_allclose(quantum, skew[np.ix_(rows, rows)] @ plain_quantum, atol=1e-9)


def test_published_born_charges_of_a_reduced_cell_have_a_note():
    crystal = (True, True, True)
    assert (
        notes_of_cell(TRICLINIC, crystal) == notes_of_cell(SKEW @ TRICLINIC, 3 * (False,)) == ()
    )
    (note,) = notes_of_cell(SKEW @ TRICLINIC, crystal)
    assert str(TRICLINIC.tolist()) in note
