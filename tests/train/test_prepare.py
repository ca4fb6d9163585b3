"""What is fixed before a training begins."""

from types import SimpleNamespace

from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.mesh import MeshPlan
from jles.structures.sizes import Size
from jles.train.prepare import planned_sums
from tests.support.small_systems import small_config


def test_the_log_names_every_planned_sum_once():
    plans = [
        SumPlan(grid=KGrid(1, 2, 3)),
        SumPlan(),
        SumPlan(mesh=MeshPlan(8, 9, 10, 4)),
        SumPlan(cluster=True),
        SumPlan(grid=KGrid(1, 2, 3)),
    ]
    loaders = [
        SimpleNamespace(sizes=[Size(4, 8, plan) for plan in part])
        for part in (plans[:2], plans[2:])
    ]
    prepared = SimpleNamespace(
        train_loader=loaders[0],
        valid_loader=loaders[1],
        potential=SimpleNamespace(config=small_config()),
    )
    grid, mesh, pairs = planned_sums(prepared)
    assert grid == "long range: direct reciprocal sum, indices up to 1x2x3"
    assert mesh.startswith("long range: particle mesh of 8x9x10 points, splines of order 4")
    assert pairs == "long range: sum over pairs"
