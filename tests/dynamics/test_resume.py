"""What must not change when a run is resumed, and what a resumed run says."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jles.config import from_dict
from jles.dynamics.checkpoint import Checkpoint
from jles.dynamics.config import MdConfig
from jles.dynamics.resume import check_sum, sum_settings
from jles.dynamics.run import Run
from jles.dynamics.system import Capacity
from jles.electrostatics.plan import SumPlan, grow_plan, plan_sum
from jles.errors import InputError
from tests.support.md_runs import CONFIG

PATH = Path("state.npz")


def plan(method, accuracy=1e-4):
    sites = np.zeros((9, 3))
    return plan_sum(50.0 * np.eye(3), sites, True, k_max=3.0, method=method, accuracy=accuracy)


MESH, FINE_MESH, COARSE_MESH = plan("mesh"), plan("mesh", 1e-6), plan("mesh", 1e-2)
DIRECT, CLUSTER = plan("direct"), SumPlan(cluster=True)


def kept(sums, electrostatics):
    return Checkpoint(None, None, Capacity(9, 4, sums), 0, {}, electrostatics)


def resume(before, accuracy, now, accuracy_now):
    check_sum(PATH, kept(before, sum_settings(before, accuracy)), now, accuracy_now)


@pytest.mark.parametrize(
    ("before", "now", "remedy"),
    [
        ((MESH, 1e-4), (FINE_MESH, 1e-6), "--method mesh --accuracy 0.0001$"),
        ((FINE_MESH, 1e-6), (MESH, 1e-4), "--method mesh --accuracy 1e-06$"),
        ((MESH, 1e-4), (DIRECT, 1e-4), "--method mesh --accuracy 0.0001$"),
        ((DIRECT, 1e-4), (MESH, 1e-4), "--method direct$"),
        ((CLUSTER, 1e-4), (MESH, 1e-4), "the model and the structure of its start$"),
        ((None, 1e-4), (MESH, 1e-4), "the model and the structure of its start$"),
    ],
)
def test_another_sum_is_refused_with_the_options_that_resume_the_run(before, now, remedy):
    with pytest.raises(InputError, match="state.npz: .* resume it with " + remedy) as caught:
        resume(*before, *now)
    assert "\n" not in str(caught.value)
    resume(*before, *before)


def test_meshes_of_one_order_and_another_accuracy_are_different_sums():
    assert MESH.mesh.order == FINE_MESH.mesh.order
    with pytest.raises(InputError, match="another electrostatic sum"):
        resume(MESH, 1e-4, FINE_MESH, 1e-6)


@pytest.mark.parametrize("sums", [DIRECT, CLUSTER, SumPlan(), None])
def test_the_accuracy_of_the_mesh_matters_for_the_mesh_only(sums):
    resume(sums, 1e-4, sums, 1e-6)


def test_a_sum_that_has_grown_is_the_same_sum():
    resume(grow_plan(MESH, 1.5), 1e-4, MESH, 1e-4)


def test_checkpoints_without_an_accuracy_are_compared_by_method_and_order():
    check_sum(PATH, kept(MESH, None), FINE_MESH, 1e-6)
    check_sum(PATH, kept(CLUSTER, None), CLUSTER, 1e-4)
    assert COARSE_MESH.mesh.order != MESH.mesh.order
    for now, accuracy in ((COARSE_MESH, 1e-2), (DIRECT, 1e-4)):
        with pytest.raises(InputError, match="--method mesh and the --accuracy of its start"):
            check_sum(PATH, kept(MESH, None), now, accuracy)
    with pytest.raises(InputError, match="resume it with --method direct$"):
        check_sum(PATH, kept(DIRECT, None), MESH, 1e-4)


def test_a_capacity_that_grows_on_resume_is_reported(model, atoms, whole, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    path = out / "checkpoint" / "state.npz"
    with np.load(path) as file:
        stored = dict(file)
    about = json.loads(str(stored["about"]))
    about["capacity"]["neighbors"] = 1
    np.savez(path, **stored | {"about": np.array(json.dumps(about))})
    with jax.enable_x64(True):
        Run(model, atoms, from_dict(MdConfig, CONFIG, "config"), out, resume=True)
    assert "capacity grows: neighbours per atom from 1 to" in capsys.readouterr().err
