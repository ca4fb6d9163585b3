"""The search of a domain on the device gives the lists that the host makes."""

from functools import partial

import jax
import numpy as np
import pytest

from jles.domains.domain import (
    Capacity,
    Reach,
    enough,
    needed,
    padded_domain,
    rows_around,
)
from jles.domains.search_domain import search_domain
from jles.electrostatics.plan import SumPlan
from jles.structures.neighbors import find_neighbors
from jles.structures.search import plan_search
from tests.support.small_systems import rattled

CELL = np.array([[9.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.4, -0.8, 6.2]])
OWN = np.arange(3, 10)


def host_domain(atoms, reach, capacity=None):
    """The domain of `OWN` as the host makes it, and its capacity."""
    cell = atoms.cell.array
    table = find_neighbors(atoms.positions, cell, atoms.pbc, reach.cutoff)
    rows = rows_around(table, OWN, reach.hops)
    if capacity is None:
        need = needed(table, rows, len(OWN), atoms.positions, cell, reach)
        capacity = enough(Capacity(), need)
    domain = padded_domain(table, rows, len(OWN), atoms.numbers, reach, SumPlan(), capacity)
    return domain, capacity


def compiled_search(atoms, reach, slots):
    """`(domain, positions=, cell=) -> (domain, incomplete)`."""
    plan = plan_search(
        atoms.positions, atoms.cell.array, atoms.pbc, reach.cutoff, slots, binned=False
    )
    return jax.jit(partial(search_domain, plan, reach=reach, numbers=atoms.numbers))


@pytest.mark.parametrize("hops", [0, 2])
def test_the_device_finds_the_lists_of_the_host(hops):
    """After motion, and with atoms that have left the cell."""
    # Elements in the order of a model, one of which does not occur.
    reach = Reach(2.1, hops, (8, 3, 1))
    atoms, moved = rattled(0, 24, CELL), rattled(1, 24, CELL)
    moved.positions += np.random.default_rng(0).integers(-2, 3, (24, 3)) @ CELL
    old, capacity = host_domain(atoms, reach)
    search = compiled_search(atoms, reach, capacity.slots)
    found, incomplete = search(old, positions=moved.positions, cell=CELL)
    expected, _ = host_domain(moved, reach, capacity)
    assert not incomplete
    filled = expected.present
    for name in ("atom", "numbers", "own", "neighbor", "sender", "shift", "present"):
        array, wanted = getattr(found, name), getattr(expected, name)
        assert array.dtype == wanted.dtype
        if name == "neighbor":
            array, wanted = array[filled], wanted[filled]
        np.testing.assert_array_equal(array, wanted, err_msg=name)


@pytest.mark.parametrize("missing", [0, 1])
def test_too_few_rows_are_reported(missing):
    reach = Reach(2.1, 2, (1, 8))
    atoms = rattled(0, 24, CELL)
    full, capacity = host_domain(atoms, reach)
    rows = int((full.numbers > 0).sum()) - missing
    own_alone = reach._replace(hops=0)
    domain, _ = host_domain(atoms, own_alone, capacity._replace(rows=rows))
    search = compiled_search(atoms, reach, capacity.slots)
    assert search(domain, positions=atoms.positions, cell=CELL)[1] == bool(missing)
