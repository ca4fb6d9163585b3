"""Plans of sums: the cells that they fit, and refused inputs."""

import numpy as np
import pytest

from jles.electrostatics import Multipoles, SumPlan, lattice_sum, plan_kgrid, plan_sum
from jles.errors import InputError

RNG = np.random.default_rng(0)
POSITIONS, CELL = RNG.uniform(0.0, 9.0, (12, 3)), np.eye(3) * 9.0
CHARGES = Multipoles(np.tile([0.4, -0.4], 6))


@pytest.mark.parametrize(
    ("pbc", "plan"),
    [
        (True, SumPlan(cluster=True)),
        (True, plan_sum(CELL, POSITIONS, (True, True, False), k_max=3.0)),
        ((True, True, False), plan_kgrid(CELL, 4.0)),
        ((False, True, True), plan_sum(CELL, POSITIONS, (True, True, False), k_max=3.0)),
    ],
)
def test_a_plan_of_another_kind_is_refused(pbc, plan):
    with pytest.raises(InputError, match="is not one for"):
        lattice_sum(CHARGES, POSITIONS, CELL, pbc=pbc, k_max=3.0, plan=plan)


def test_a_slab_that_has_outgrown_its_plan_is_refused():
    pbc = (True, True, False)
    plan = plan_sum(CELL, POSITIONS * [1, 1, 0.05], pbc, k_max=3.0)
    with pytest.raises(InputError, match="the slab needs a height of"):
        lattice_sum(CHARGES, POSITIONS * [1, 1, 4.0], CELL, pbc=pbc, k_max=3.0, plan=plan)


@pytest.mark.parametrize("options", [{"k_max": 1e30}, {"k_max": 2000.0, "method": "auto"}])
def test_sums_that_no_machine_holds_are_refused(options):
    with pytest.raises(InputError, match="smaller k_max"):
        plan_sum(CELL, POSITIONS[:2], True, **options)
