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
from jles.dynamics.resume import (
    check_identity,
    check_same_atoms,
    check_sum,
    identity_of,
    sum_settings,
)
from jles.dynamics.run import Run, run_md
from jles.dynamics.system import Capacity
from jles.dynamics.trajectory import Trajectory
from jles.electrostatics.plan import SumPlan, grow_plan, plan_sum
from jles.errors import InputError
from tests.support.commands import snapshot
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


def other_start(atoms, change):
    atoms = atoms.copy()
    if change == "fewer":
        return atoms[:-1]
    if change == "numbers":
        atoms.numbers = atoms.numbers[::-1]
    if change == "masses":
        masses = atoms.get_masses()
        atoms.set_masses(np.where(atoms.numbers == 1, 2.014, masses))
    if change == "pbc":
        atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize(
    ("change", "word"),
    [("fewer", "atoms"), ("numbers", "atoms"), ("masses", "masses"), ("pbc", "periodic")],
)
def test_a_run_is_not_resumed_with_other_atoms(model, atoms, whole, change, word):
    before = snapshot(whole)
    with pytest.raises(InputError, match=f"trajectory.h5: .* started with other {word}"):
        run_md(model, other_start(atoms, change), CONFIG, whole, resume=True)
    assert snapshot(whole) == before
    check_same_atoms(Trajectory(whole / "trajectory.h5"), atoms)


def test_a_run_is_not_resumed_with_another_model_or_state(model, atoms):
    before = json.loads(json.dumps(identity_of(model, atoms)))
    check_identity(PATH, before, identity_of(model, atoms))
    check_identity(PATH, None, identity_of(model, atoms))
    # A key that came later counts with its default; the sum is compared elsewhere.
    older = before | {"model": dict(before["model"])}
    del older["model"]["screening"]
    older["model"]["electrostatics"] = before["model"]["electrostatics"] | {"accuracy": 1e-9}
    check_identity(PATH, older, before)
    offsets = {"model": before["model"] | {"element_energies": {"H": -3.5, "O": -7.0}}}
    for change, word in (
        (offsets, r"another model \(its 'element_energies' differs\)"),
        ({"parameters": "0"}, r"another model \(its parameters differ\)"),
        ({"total_charge": 1.0}, "a total charge of 0 e, not 1 e"),
        ({"state": [1] * len(atoms)}, "other state labels"),
    ):
        with pytest.raises(InputError, match=f"state.npz: the run was started with {word}"):
            check_identity(PATH, before, before | change)


def changed_checkpoint(out, change):
    """Changes what a checkpoint says of itself."""
    path = out / "checkpoint" / "state.npz"
    with np.load(path) as file:
        stored = dict(file)
    about = json.loads(str(stored["about"]))
    change(about)
    np.savez(path, **stored | {"about": np.array(json.dumps(about))})


def test_a_checkpoint_knows_its_total_charge(model, atoms, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    changed_checkpoint(tmp_path / "out", lambda about: about["identity"].update(total_charge=1))
    with pytest.raises(InputError, match="a total charge of 1 e, not 0 e"):
        run_md(model, atoms, CONFIG, tmp_path / "out", resume=True)


def test_a_capacity_that_grows_on_resume_is_reported(model, atoms, whole, tmp_path, capsys):
    """Also that a checkpoint of a version without the identity of the run is resumed."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)

    def change(about):
        about["capacity"]["neighbors"] = 1
        del about["identity"]

    changed_checkpoint(out, change)
    with jax.enable_x64(True):
        Run(model, atoms, from_dict(MdConfig, CONFIG, "config"), out, resume=True)
    assert "capacity grows: neighbours per atom from 1 to" in capsys.readouterr().err
