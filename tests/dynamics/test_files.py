"""Files of a run: complete at any time, and a full disk is reported."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from typing import NamedTuple

import h5py
import jax
import numpy as np
import pytest

from jles import journal
from jles.analysis.run import open_run
from jles.dynamics import trajectory as trajectories
from jles.dynamics.block import BlockState
from jles.dynamics.checkpoint import load_checkpoint, save_checkpoint
from jles.dynamics.engine import RecordedFrames, RunState
from jles.dynamics.report import COLUMNS, Drift, Log, describe
from jles.dynamics.system import Capacity
from jles.dynamics.trajectory import Trajectory
from jles.electrostatics.plan import SumPlan, merge_plans, plan_sum
from jles.electrostatics.sums.kgrid import KGrid
from jles.errors import InputError
from jles.structures.skin import Reference


def block_of(first, count, atoms=5):
    rng = np.random.default_rng(first)
    steps = np.arange(first, first + count)
    return {
        "thermo": RecordedFrames(steps, {"temperature": rng.normal(size=count)}),
        "positions": RecordedFrames(steps, {"positions": rng.normal(size=(count, atoms, 3))}),
    }


INTERVALS = {"thermo": 1, "positions": 1}


@pytest.fixture
def trajectory(tmp_path):
    made = Trajectory(tmp_path / "trajectory.h5")
    arrays = {"numbers": np.ones(5, int), "masses": np.ones(5), "pbc": np.ones(3, bool)}
    made.create({"timestep": 0.5}, arrays)
    return made


@contextlib.contextmanager
def little_disk(size):
    """Limits the size of files, so that writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_blocks_follow_one_another_and_can_be_taken_back(trajectory):
    for first, count in ((0, 7), (7, 0), (7, 3)):
        trajectory.append(block_of(first, count), INTERVALS)
    assert trajectory.counts() == {"thermo": 10, "positions": 10}
    trajectory.truncate({"thermo": 7, "positions": 4})
    steps, places = trajectory.column("positions", "step", "positions")
    np.testing.assert_array_equal(steps, range(4))
    np.testing.assert_array_equal(places, block_of(0, 7)["positions"].values["positions"][:4])
    with pytest.raises(InputError, match="4 frames of /positions, but the checkpoint counts 5"):
        trajectory.truncate({"thermo": 7, "positions": 5})
    with pytest.raises(InputError, match="0 frames of /charges, but the checkpoint counts 1"):
        trajectory.truncate({"charges": 1})
    trajectory.path.write_bytes(b"")
    with pytest.raises(InputError, match="0 frames of .thermo, but the checkpoint counts 7"):
        trajectory.truncate({"thermo": 7})


def test_a_full_disk_leaves_the_frames_before_it(trajectory):
    trajectory.append(block_of(0, 10), INTERVALS)
    size = trajectory.path.stat().st_size
    with little_disk(size + 2000), pytest.raises(InputError) as caught:
        trajectory.append(block_of(10, 4000), INTERVALS)
    assert str(caught.value).startswith(f"{trajectory.path}: no space left on the disk")
    with h5py.File(trajectory.path, "r") as file:
        expected = block_of(0, 10)["positions"].values["positions"]
        np.testing.assert_array_equal(file["positions/positions"], expected)
    assert trajectory.path.stat().st_size == size
    trajectory.append(block_of(10, 4000), INTERVALS)
    assert trajectory.counts() == {"thermo": 4010, "positions": 4010}
    # Space that was reserved and not used is released.
    assert trajectory.path.stat().st_size < size + 4000 * 17 * 8 * 1.5


def test_someone_else_may_read_while_a_run_writes(trajectory):
    trajectory.append(block_of(0, 10), INTERVALS)
    program = (
        "import h5py, sys; f = h5py.File(sys.argv[1], 'r'); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(trajectory.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout.readline() == b"open\n"
        trajectory.append(block_of(10, 5), INTERVALS)
        reader.communicate(b"\n")
    assert trajectory.counts()["thermo"] == 15


class Moving(NamedTuple):
    """Stands for a `Motion` at no fixed displacement."""

    a: np.ndarray
    key: np.ndarray
    polarization: None = None


def a_state(dtype=np.float64):
    places = np.arange(6.0).reshape(2, 3).astype(dtype)
    moving = Moving(places, np.array([1, 2], np.uint32))
    loop = BlockState(moving, np.int32(7), np.int32(6))
    return RunState(loop, None, Reference(places + 1, np.eye(3, dtype=dtype)), Capacity(9), 5)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    state = a_state()._replace(capacity=Capacity(9, 4, SumPlan(grid=KGrid(1, 2, 3))))
    sums = {"method": "mesh", "accuracy": 1.3e-5}
    save_checkpoint(tmp_path / "a" / "state.npz", state, {"frames": {"thermo": 3}}, sums)
    kept = load_checkpoint(tmp_path / "a" / "state.npz", a_state())
    assert kept.capacity == Capacity(9, 4, SumPlan(grid=KGrid(1, 2, 3)))
    assert isinstance(kept.capacity.plan, SumPlan)
    assert isinstance(kept.capacity.plan.grid, KGrid)
    assert kept.rebuilt_at == 5
    assert kept.written == {"frames": {"thermo": 3}}
    assert kept.electrostatics == sums
    np.testing.assert_array_equal(kept.loop.motion.a, state.loop.motion.a)
    assert kept.loop.motion.key.dtype == np.uint32
    np.testing.assert_array_equal(kept.reference.positions, state.reference.positions)


@pytest.mark.parametrize(
    "capacity",
    [
        {"neighbors": 9, "near": 4, "grid": [1, 2, 3]},
        {"neighbors": 9, "near": 4, "plan": [[1, 2, 3], None, None, False]},
    ],
    ids=["version 2", "version 3"],
)
def test_checkpoints_of_earlier_versions_stay_readable(tmp_path, capacity):
    """Older versions call the capacity `room`; version 2 stores a grid, not a plan."""
    about = {
        "version": 3 if "plan" in capacity else 2,
        "room": capacity,
        "looked_at": 5,
        "written": {"frames": {"thermo": 3}, "extxyz": 0},
    }
    leaves = jax.tree.leaves((a_state().loop, a_state().reference))
    arrays = {f"leaf{n}": leaf for n, leaf in enumerate(leaves)}
    np.savez(tmp_path / "state.npz", about=np.array(json.dumps(about)), **arrays)
    kept = load_checkpoint(tmp_path / "state.npz", a_state())
    assert kept.capacity == Capacity(9, 4, SumPlan(grid=KGrid(1, 2, 3)))
    assert isinstance(kept.capacity.plan.grid, KGrid)
    assert kept.rebuilt_at == 5
    assert kept.written["frames"] == {"thermo": 3}
    assert kept.electrostatics is None
    np.testing.assert_array_equal(kept.reference.positions, a_state().reference.positions)


def test_a_checkpoint_of_another_kind_or_none_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        load_checkpoint(path, a_state())
    save_checkpoint(path, a_state(), {})
    with pytest.raises(InputError, match="another system, ensemble or precision"):
        load_checkpoint(path, a_state(np.float32))
    with little_disk(100), pytest.raises(InputError, match="free some space"):
        save_checkpoint(path, a_state(), {})
    assert load_checkpoint(path, a_state()).rebuilt_at == 5


def test_drift_is_the_slope_of_a_straight_line_however_it_is_cut(rng):
    times = np.sort(rng.uniform(0.0, 5.0, 50))
    energies = -1e4 + 0.03 * times + 0.01 * rng.normal(size=50)
    drift = Drift(atoms=10)
    assert drift.slope == 0.0
    for part in np.split(np.arange(50), [3, 3, 20]):
        drift.add(times[part], energies[part])
    whole = Drift(atoms=10)
    whole.add(times, energies)
    assert drift.slope == whole.slope
    expected = 1e3 * np.polyfit(times, energies + 1e4, 1)[0] / 10
    np.testing.assert_allclose(drift.slope, expected, rtol=1e-8)


def test_the_log_forgets_what_will_be_made_again(tmp_path):
    log = Log(tmp_path / "log.csv")
    log.start()
    for step in (10, 20, 30):
        log.append(dict.fromkeys(COLUMNS, 1.5) | {"step": step})
    with (tmp_path / "log.csv").open("a", encoding="utf-8") as file:
        file.write("40,cut off")
    log.start(up_to=20)
    rows = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "10", "20"]
    words = describe({"temperature": 300.0, "drift": 0.1, "speed": 2.0})
    assert words == "300 K  drift 0.1 meV/atom/ps  2 ns/day"
    assert describe({"speed": 2.0}) == "2 ns/day"
    unknown = {"temperature": 300.0, "drift": np.nan, "speed": 2.0}
    assert describe(unknown) == "300 K  2 ns/day"


def test_a_mesh_of_earlier_versions_need_not_grow(tmp_path):
    """Their plans do not say which waves are needed: only the mesh decides when it is small."""
    need = plan_sum(9.0 * np.eye(3), None, True, k_max=3.0, method="mesh")
    state = a_state()._replace(capacity=Capacity(9, 4, need._replace(grid=None)))
    save_checkpoint(tmp_path / "state.npz", state, {})
    kept = load_checkpoint(tmp_path / "state.npz", a_state()).capacity.plan
    assert kept.mesh == need.mesh
    assert merge_plans([kept, need]) == kept


class Killed(BaseException):
    """Stands for the end of the process: no code handles it."""


def kill_after(patch, left):
    """Raises `Killed` after so many changes on the disk."""
    left = iter(range(left))

    def counted(act):
        def do(*arguments):
            if next(left, None) is None:
                raise Killed
            act(*arguments)

        return do

    def in_halves(file, changes):
        for change in changes:
            middle = change.start + len(change.data) // 2
            apply(file, [change.within(0, middle)])
            apply(file, [change])

    apply = counted(journal._apply)
    patch.setattr(journal, "_apply", in_halves)
    for name in ("replace", "unlink"):
        patch.setattr(os, name, counted(getattr(os, name)))


def kill(*_):
    raise Killed


def frames_of(trajectory):
    return [
        *trajectory.column("thermo", "step", "temperature"),
        *trajectory.column("positions", "step", "positions"),
    ]


def same(left, right):
    return all(map(np.array_equal, left, right))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.append(block_of(120, 20), INTERVALS),
        lambda one: one.truncate({"thermo": 60, "positions": 60}),
    ],
    ids=["append", "truncate"],
)
def test_a_process_killed_at_any_moment_loses_no_earlier_frame(
    trajectory, monkeypatch, tmp_path, change
):
    """Chunks are so small here that the tree of them grows."""
    monkeypatch.setattr(trajectories, "_CHUNK_BYTES", 256)
    for first in range(0, 120, 30):
        trajectory.append(block_of(first, 30), INTERVALS)
    one = Trajectory(tmp_path / "one.h5")
    before, finished = frames_of(trajectory), []
    while True:
        shutil.copy(trajectory.path, one.path)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            kill_after(patch, len(finished))
            change(one)
            break
        found = frames_of(one)
        finished.append(not same(found, before))
        after = found if finished[-1] else None
        # The next change completes the one that was cut off.
        one.append(block_of(1000, 1), INTERVALS)
        assert same([rows[:-1] for rows in frames_of(one)], found)
    assert same(after, frames_of(one))
    assert len(finished) > 10
    assert finished == sorted(finished)
    assert set(finished) == {False, True}


def test_an_analysis_reads_what_a_killed_process_left(trajectory, monkeypatch):
    trajectory.append(block_of(0, 10), INTERVALS)
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        # The end of the file is written at once; then comes the journal.
        patch.setattr(journal, "_finish", kill)
        trajectory.append(block_of(10, 5), INTERVALS)
    with h5py.File(trajectory.path, "r") as file:
        assert len(file["thermo/step"]) == 10
    run = open_run(trajectory.path.parent)
    np.testing.assert_array_equal(run.read("thermo", "temperature").steps, range(15))
    assert journal.journal_of(trajectory.path).exists()


def test_an_incomplete_journal_is_named(trajectory):
    """As after a power failure: it is not flushed to the disk."""
    trajectory.append(block_of(0, 10), INTERVALS)
    left = journal.journal_of(trajectory.path)
    for content in (b"", bytes(16), np.array([1, 9, 3, 5]).tobytes()):
        left.write_bytes(content)
        with pytest.raises(InputError, match="journal: is incomplete.*; remove it if"):
            trajectory.counts()
    left.unlink()
    assert trajectory.counts() == {"thermo": 10, "positions": 10}
