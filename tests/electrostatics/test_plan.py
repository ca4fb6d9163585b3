"""Plans of sums: the cells that they fit, and refused inputs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics import (
    Multipoles,
    SumPlan,
    lattice_sum,
    merge_kgrids,
    plan_is_too_small,
    plan_kgrid,
    plan_sum,
)
from jles.electrostatics.plan import check_memory, merge_plans, plan_cost
from jles.errors import InputError

RNG = np.random.default_rng(0)
POSITIONS, CELL = RNG.uniform(0.0, 9.0, (12, 3)), np.eye(3) * 9.0
CHARGES = Multipoles(np.tile([0.4, -0.4], 6))

MEASURED = {
    (1536, 0): 0.63,
    (1536, 1): 0.46,
    (1536, 2): 0.34,
    (5184, 0): 1.78,
    (5184, 1): 1.34,
    (5184, 2): 0.57,
    (12288, 0): 2.30,
    (12288, 1): 2.30,
    (12288, 2): 1.67,
}
"""Time of the direct sum divided by that of the mesh, by atoms and rank."""


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
    tall = POSITIONS * [1, 1, 4.0]
    with pytest.raises(InputError, match="the slab needs a height of"):
        lattice_sum(CHARGES, tall, CELL, pbc=pbc, k_max=3.0, plan=plan)
    # Under jit nothing is checked: there the plan is asked afterwards.
    assert plan_is_too_small(plan, CELL, 3.0, positions=tall)
    assert not plan_is_too_small(plan, CELL, 3.0, positions=POSITIONS * [1, 1, 0.05])
    assert plan_is_too_small(plan, 2 * CELL, 3.0, positions=POSITIONS * [1, 1, 0.05])
    assert plan_is_too_small(plan, CELL, 3.0, positions=POSITIONS, sigma=9.0)
    with pytest.raises(InputError, match="pass positions=positions"):
        plan_is_too_small(plan, CELL, 3.0)
    with pytest.raises(InputError, match="one of a batch"):
        plan_is_too_small(plan.for_batch(), CELL, 3.0, positions=tall)


@pytest.mark.parametrize("thickness", [20.0, 60.0, 200.0])
def test_a_plan_is_used_while_the_gap_to_the_images_suffices(thickness):
    pbc, cell = (True, True, False), np.diag([4.0, 4.0, 1.0])

    def slab(height):
        return POSITIONS[:6] * [0.4, 0.4, 0.0] + np.arange(6)[:, None] * [0, 0, height / 5]

    def energy(plan=None):
        sums = {"k_max": 3.0, "plan": plan}
        charges = Multipoles(CHARGES.charges[:6])
        return float(lattice_sum(charges, slab(thickness), cell, pbc=pbc, **sums).energy)

    plan = plan_sum(cell, slab(thickness - 0.5), pbc, k_max=3.0)
    assert energy(plan) == pytest.approx(energy(), abs=1e-6)
    with pytest.raises(InputError, match="the slab needs a height of"):
        energy(plan_sum(cell, slab(0.8 * thickness - 5.0), pbc, k_max=3.0))


@pytest.mark.parametrize("options", [{"k_max": 1e30}, {"k_max": 2000.0, "method": "auto"}])
def test_sums_that_no_machine_holds_are_refused(options):
    with pytest.raises(InputError, match="smaller k_max"):
        plan_sum(CELL, POSITIONS[:2], True, **options)


def planned(atoms, rank, method, accuracy=1e-4, density=0.1003):
    """The plan of a cubic box, by default of the density of water."""
    cell = np.eye(3) * (atoms / density) ** (1.0 / 3.0)
    options = {"k_max": math.pi, "method": method, "accuracy": accuracy, "rank": rank}
    return plan_sum(cell, np.zeros((atoms, 3)), True, **options)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_cheaper_sum_is_direct_for_few_atoms_and_the_mesh_for_many(rank):
    methods = [planned(4**n, rank, "auto").method for n in range(2, 10)]
    assert methods[0] == "direct"
    assert methods[-1] == "mesh"
    assert methods == sorted(methods)


@pytest.mark.parametrize(("atoms", "rank"), MEASURED)
def test_the_choice_is_the_one_that_was_measured(atoms, rank):
    ratio = MEASURED[atoms, rank]
    costs = [plan_cost(planned(atoms, rank, how), atoms, rank) for how in ("direct", "mesh")]
    assert 1 / 1.5 < costs[0] / costs[1] / ratio < 1.5
    if not 1 / 1.3 < ratio < 1.3:
        found = planned(atoms, rank, "auto").method
        assert found == ("direct" if ratio < 1.0 else "mesh")


@given(
    atoms=st.integers(1, 10_000),
    rank=st.integers(0, 2),
    accuracy=st.floats(1e-6, 0.01),
    density=st.floats(0.03, 0.3),
)
def test_auto_is_as_cheap_as_the_cheaper_one(atoms, rank, accuracy, density):
    costs = {
        how: plan_cost(planned(atoms, rank, how, accuracy, density), atoms, rank)
        for how in ("auto", "direct", "mesh")
    }
    assert costs["auto"] == min(costs["direct"], costs["mesh"])


@given(edges=st.lists(st.floats(6.0, 40.0), min_size=2, max_size=5), rank=st.integers(0, 2))
def test_a_mesh_merged_with_a_direct_sum_needs_no_more_waves_than_the_cells(edges, rank):
    cells = [np.diag([edge, 9.0, 1.2 * edge]) for edge in edges]
    plans = [
        plan_sum(cell, np.zeros((1, 3)), True, k_max=3.0, method=method, rank=rank)
        for cell, method in zip(cells, ["direct"] + 4 * ["mesh"], strict=False)
    ]
    needed = merge_kgrids(plan_kgrid(cell, 3.0) for cell in cells)
    assert merge_plans(plans) == SumPlan(needed)
    # In any order, and however they are paired.
    assert merge_plans([merge_plans(plans[1:]), plans[0]]) == SumPlan(needed)


def test_a_merged_plan_that_no_machine_holds_is_refused():
    long = np.eye(3) * 4.0 + np.diag([2000.0, 0.0, 0.0])
    cells = [np.roll(long, n, (0, 1)) for n in range(3)]
    plans = [plan_sum(cell, np.zeros((1, 3)), True, k_max=3.0) for cell in cells]
    with pytest.raises(InputError, match=r"^a batch needs .* GiB for the direct.*; split it"):
        check_memory(merge_plans(plans), "a batch", "split it")
