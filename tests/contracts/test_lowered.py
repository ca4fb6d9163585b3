"""Laws of the lowered programs, on CPU, CUDA and TPU alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.products import matmul
from tests.support.lowered import lowered
from tests.support.marks import long_unless
from tests.support.programs import EVERYTHING, FIELD, PROGRAMS, program, quantity

# Half a minute to trace; the other programs hold the same sums and networks.
SLOW = {
    "stress",
    "stress in a field",
    "cluster in a field",
    "Born charges that respond",
    "gradient of a compiled function",
    "equilibrated",
    "lattice_sum on a mesh",
    "MACE",
    "Born charges of MACE",
    "gradient of a compiled MACE",
}
EVERY_PROGRAM = pytest.mark.parametrize(
    "name", [long_unless(name not in SLOW, name) for name in PROGRAMS]
)
MOST_LOOPS = {
    "stress in a field": 2,
    "piezoelectric tensor": 2,
    "self-consistent": 3,
    "equilibrated": 3,
    "mesh": 3,
    "lattice_sum": 2,
    "lattice_sum on a mesh": 24,
    "training": 1,
    "dynamics": 2,
    "neighbour search in bins": 1,
}
"""While loops of the programs that have any, all platforms together."""


@EVERY_PROGRAM
def test_no_factor_of_a_product_is_rounded(name):
    assert program(name).dots
    assert program(name).rounded == []
    assert program(name).convolutions == 0


@pytest.mark.parametrize(
    "name",
    [long_unless(name not in SLOW, name) for name in PROGRAMS if name != "equilibrated"],
)
def test_no_array_of_a_float32_program_is_float64(name):
    """With float64 on, so that an array of NumPy that slips in is not converted silently."""
    assert program(name).float64 == []


@EVERY_PROGRAM
def test_a_program_has_few_loops(name):
    assert program(name).loops <= MOST_LOOPS.get(name, 0)


def test_a_low_precision_is_that_of_the_network_alone():
    low = quantity(EVERYTHING.replace(precision="default"), "crystal", "stress")
    rounded = low.rounded
    assert len(rounded) > 20
    assert len(low.dots) > len(rounded)
    assert all(3 not in dot.contracted for dot in rounded)
    high = quantity(EVERYTHING.replace(precision="high"), "crystal", "energy", FIELD)
    assert {dot.precision for dot in high.rounded} == {("HIGH", "HIGH")}


def test_what_the_laws_forbid_is_found():
    positions, cell = np.ones((5, 3), np.float32), np.ones((3, 3), np.float32)

    def wrong(positions, cell):
        plain = positions @ cell
        wide = plain * np.ones(3)
        return jax.lax.while_loop(lambda x: x[0, 0] < 9.0, lambda x: 2.0 * x, wide)

    found = lowered(wrong, positions, cell, strict=False)
    assert {dot.contracted for dot in found.rounded} == {(3,)}
    assert found.float64
    assert found.loops == 1
    with pytest.raises(NotImplementedError, match="callback"):
        lowered(lambda x: jax.pure_callback(np.sin, x, x), positions)
    with pytest.raises(jax.dtypes.TypePromotionError):
        lowered(wrong, positions, cell)
    assert lowered(matmul, positions, cell).rounded == []
    assert lowered(jnp.matmul, positions, cell).rounded != []
