"""`jles md` on a tiny model: contents of its files, and resumed runs equal to whole ones."""

import os
import signal
import subprocess
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.io import read

import jles
from jles.config import read_yaml
from jles.dynamics import run_md
from jles.dynamics.engine import Engine
from jles.dynamics.model_system import model_system
from jles.dynamics.resume import checkpoint_of
from jles.dynamics.system import Capacity
from jles.dynamics.trajectory import Trajectory
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.units import EPSILON0
from tests.support.md_runs import CONFIG, FIELD, contents, md
from tests.support.paths import ROOT
from tests.support.small_systems import rattled

EVERY_RECORD = {"thermo": 2, "polarization": 4, "current": 1, "positions": 4, "velocities": 8}
EVERY_RECORD |= {"polarizability": 20, "born_charges": 20, "energy_parts": 2}


def assert_same_run(left, right):
    ours, theirs = (contents(path / "trajectory.h5") for path in (left, right))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    for name in ("trajectory.extxyz", "final.extxyz"):
        assert (left / name).read_bytes() == (right / name).read_bytes()


def test_a_trajectory_has_the_layout_that_was_agreed(whole):
    with h5py.File(whole / "trajectory.h5", "r") as file:
        assert dict(file.attrs) == {
            "format": "jles-trajectory",
            "version": 1,
            "timestep": 0.5,
            "dtype": "float64",
            "program": f"jles {jles.__version__}",
            "ensemble": "langevin",
        }
        assert file["numbers"].shape == file["masses"].shape == (8,)
        assert file["masses"].attrs["unit"] == "u"
        np.testing.assert_array_equal(file["pbc"], [True, True, True])
        for kind, interval in CONFIG["record"].items():
            if kind == "extxyz":
                continue
            group = file[kind]
            assert group.attrs["interval"] == interval
            np.testing.assert_array_equal(group["step"], np.arange(0, 41, interval))
            assert group["step"].dtype == np.int64
            frames = len(group["step"])
            for name, dataset in group.items():
                assert dataset.attrs["unit"]
                assert len(dataset) == frames
                assert dataset.maxshape[0] is None
                assert name == "step" or dataset.dtype == np.float64
    assert len(read(whole / "trajectory.extxyz", ":")) == 5


@pytest.mark.long
def test_what_is_recorded_is_what_the_model_says(folder, atoms, tmp_path):
    model = jles.load(folder / "polarizable", dtype="float64")
    config = CONFIG | {"field": FIELD, "record": EVERY_RECORD}
    final = run_md(model, atoms, config, tmp_path / "out")
    found = contents(tmp_path / "out" / "trajectory.h5")
    for kind, interval in EVERY_RECORD.items():
        np.testing.assert_array_equal(found[f"{kind}/step"], np.arange(0, 41, interval))
    sine = np.sin(2 * np.pi * 0.5 * found["thermo/step"] / 30)[:, None] * [0.0, 0.1, 0.2]
    np.testing.assert_allclose(found["thermo/field"], sine, atol=1e-12)
    start = found["positions/positions"][0]
    np.testing.assert_array_equal(start, atoms.positions)
    frame = atoms.copy()
    frame.positions = found["positions/positions"][-1]
    want = ("energy", "stress", "polarization", "born_charges", "polarizability")
    said = model.predict(frame, want)
    offsets = sum({"H": -3.0, "O": -7.0}[s] for s in frame.symbols)
    thermo = {key.split("/")[1]: v for key, v in found.items() if key.startswith("thermo/")}
    np.testing.assert_allclose(thermo["potential_energy"][-1], said.energy - offsets, atol=1e-9)
    parts = found["energy_parts/short_range"] + found["energy_parts/long_range"]
    np.testing.assert_allclose(parts, thermo["potential_energy"], rtol=1e-12)
    pressure = 2.0 * thermo["kinetic_energy"][-1] / (3.0 * frame.get_volume())
    pressure -= np.trace(said.stress) / 3.0
    np.testing.assert_allclose(thermo["pressure"][-1], pressure, rtol=1e-8)
    np.testing.assert_allclose(thermo["volume"], frame.get_volume())
    np.testing.assert_allclose(
        found["polarization/polarization"][-1], said.polarization, atol=1e-9
    )
    np.testing.assert_allclose(
        found["born_charges/born_charges"][-1], said.born_charges, atol=1e-9
    )
    np.testing.assert_allclose(
        found["polarizability/polarizability"][-1], said.polarizability, rtol=1e-8
    )
    velocities = found["velocities/velocities"][-1]
    drift = velocities.mean(axis=0)
    current = np.einsum("iab,ib->a", said.born_charges, velocities - drift)
    current += atoms.info.get("total_charge", 0.0) * drift
    np.testing.assert_allclose(found["current/current"][-1], current, rtol=1e-8)
    np.testing.assert_array_equal(final.positions, frame.positions)
    stored = read(tmp_path / "out" / "final.extxyz")
    np.testing.assert_allclose(stored.positions, frame.positions, atol=1e-7)


def log_without_speed(out):
    rows = (out / "log.csv").read_text(encoding="utf-8").splitlines()
    return [row.rpartition(",")[0] for row in rows]


def test_the_log_has_a_line_a_report(whole):
    lines = (whole / "log.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("step,time (ps),potential_energy (eV)")
    assert [int(line.split(",")[0]) for line in lines[1:]] == [12, 14, 24, 30, 36, 40]


def test_a_run_that_was_stopped_and_resumed_is_the_same_bit_for_bit(
    folder, whole, tmp_path, monkeypatch, capsys
):
    run, create, calls = Engine.run, Trajectory.create, []

    def created(self, *arguments):
        # A run that is killed once it has a trajectory can be resumed.
        assert checkpoint_of(self.path.parent).is_file()
        create(self, *arguments)

    def stopping(self, state, last):
        calls.append(last)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return run(self, state, last)

    monkeypatch.setattr(Engine, "run", stopping)
    monkeypatch.setattr(Trajectory, "create", created)
    assert md(folder, tmp_path / "out") == 130
    with h5py.File(tmp_path / "out" / "trajectory.h5", "r") as file:
        assert file["thermo/step"][-1] == 30
    monkeypatch.undo()
    assert md(folder, tmp_path / "out", "--resume") == 0
    assert_same_run(tmp_path / "out", whole)
    assert log_without_speed(tmp_path / "out") == log_without_speed(whole)
    assert md(folder, tmp_path / "out", "--resume", "--set", "steps=42") == 0
    first, longer = (read_yaml(path / "config.yaml") for path in (whole, tmp_path / "out"))
    assert longer == first | {"steps": 42}
    assert md(folder, tmp_path / "out") == 2
    assert "already holds a run; give --resume" in capsys.readouterr().err
    assert md(folder, tmp_path / "out", "--resume", "--set", "timestep=0.4") == 2
    assert "(timestep was 0.5, now 0.4)" in capsys.readouterr().err
    change = ("--set", "ensemble={kind: nose-hoover, temperature: 300}")
    assert md(folder, tmp_path / "out", "--resume", *change) == 2
    assert "(ensemble.kind was " in capsys.readouterr().err


_KILLED = """
import os, signal, sys
from jles.cli.main import main
from jles.dynamics.trajectory import Trajectory
append = Trajectory.append
def dying(self, frames, intervals):
    append(self, frames, intervals)
    if self.counts()["thermo"] >= int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
Trajectory.append = dying
main(sys.argv[2:])
"""


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_that_was_killed_and_resumed_is_the_same_bit_for_bit(folder, tmp_path, dtype):
    places = (folder / "model", f"{folder / 'start.xyz'}@-1", folder / "md.yaml")
    options = ["--set", f"dtype={dtype}"]
    # Code that XLA optimises, as users run it: only there another length of the blocks, which
    # is another program, gives the same bits.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}

    def jles_md(out, *more, program=("-m", "jles")):
        arguments = ["md", *map(str, places), "--out", str(tmp_path / out), *options, *more]
        command = [sys.executable, *program, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )

    assert jles_md("whole").returncode == 0
    killed = jles_md("out", program=("-c", _KILLED, "15"))
    assert killed.returncode == -signal.SIGKILL
    assert contents(tmp_path / "out" / "trajectory.h5")["thermo/step"][-1] >= 28
    resumed = jles_md("out", "--resume", "--set", "block=9")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "out", tmp_path / "whole")


IN_A_FIELD = [
    pytest.param(False, {"kind": "nve"}, id="cluster"),
    pytest.param(True, {"kind": "nve"}, id="crystal"),
    pytest.param(
        True,
        {
            "kind": "npt",
            "temperature": 600.0,
            "pressure": 2.0,
            "pressure_unit": "GPa",
            "barostat_time": 100.0,
        },
        id="changing cell",
    ),
]


@pytest.mark.parametrize(("pbc", "ensemble"), IN_A_FIELD)
@pytest.mark.long
def test_energy_is_conserved_in_a_field(folder, tmp_path, capsys, pbc, ensemble):
    model = jles.load(folder / "charged", dtype="float64")
    spread = []
    for timestep, steps in ((0.1, 500), (0.05, 1000)) if pbc else ((0.25, 200),):
        config = {
            "steps": steps,
            "timestep": timestep,
            "dtype": "float64",
            "ensemble": ensemble,
            "velocities": {"temperature": 600.0},
            "field": {"kind": "constant", "amplitude": [0.1, 0.0, 0.4], "unit": "V/angstrom"},
            "record": {"thermo": 1, "positions": 0},
            "block": steps,
        }
        out = tmp_path / str(timestep)
        run_md(model, rattled(0, count=8, pbc=pbc), config, out)
        thermo = contents(out / "trajectory.h5")
        spread.append(np.ptp(thermo["thermo/conserved"]))
        assert np.ptp(thermo["thermo/field_work"]) > 20.0 * spread[-1]
        assert "note: the field acts on latent charges" in capsys.readouterr().err
    if pbc:
        np.testing.assert_allclose(spread[0] / spread[1], 4.0, rtol=0.25)


@pytest.mark.long
def test_forces_at_fixed_displacement_are_longitudinal_whatever_the_screening(folder, tmp_path):
    """Charge crosses the boundary of the cell, as the charges depend on the surroundings."""
    atoms, found = rattled(0, count=8), []
    volume = atoms.get_volume()
    for epsilon in (1.0, 4.0):
        screening = {"epsilon_infinity": epsilon}
        model = jles.load(folder / "charged", dtype="float64", screening=screening)
        start = model.predict(atoms, ("polarization",)).polarization
        scale = np.sqrt(epsilon)
        given = scale * np.array([0.1, 0.0, 0.2])
        config = {
            "steps": 100,
            "timestep": 0.1,
            "dtype": "float64",
            "velocities": {"temperature": 600.0},
            "displacement": {
                "kind": "constant",
                "amplitude": given.tolist(),
                "unit": "V/angstrom",
                "branch": start.tolist(),
            },
            "record": {"thermo": 1, "positions": 1, "polarization": 1, "current": 1},
        }
        run_md(model, atoms, config, tmp_path / str(epsilon))
        found.append(contents(tmp_path / str(epsilon) / "trajectory.h5"))
        polarization = found[-1]["polarization/polarization"]
        current = found[-1]["current/current"]
        flow = 0.05 * np.cumsum(current[1:] + current[:-1], axis=0)
        np.testing.assert_allclose(polarization[1:] - polarization[0], flow, atol=1e-5)
        moved = atoms.copy()
        moved.positions = found[-1]["positions/positions"][-1]
        value = model.predict(moved, ("polarization",)).polarization
        assert np.max(np.abs(value - polarization[-1])) > 1e-3
        left = EPSILON0 * volume * given - (polarization - start)
        field = left / (EPSILON0 * volume * epsilon)
        np.testing.assert_allclose(found[-1]["thermo/field"], field, rtol=1e-9)
        functional = 0.5 * np.sum(left * field, axis=1)
        atol = 1e-3 * np.ptp(functional)
        work = found[-1]["thermo/field_work"]
        np.testing.assert_allclose(functional[0] - functional, work, atol=atol)
    one, other = (each["positions/positions"] for each in found)
    np.testing.assert_allclose(one, other, atol=1e-10)


def test_a_frame_of_a_charged_crystal_says_what_the_model_says_wherever_atoms_are(
    folder, atoms
):
    """Atoms whole cells away, a cell that has grown, more capacity than is needed."""
    model = jles.load(folder / "charged", dtype="float64")
    options = {"skin": 0.4, "moves_cell": True, "in_field": False}
    system = model_system(model, atoms, **options)
    rng = np.random.default_rng(0)
    away = rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    reference = atoms.positions + away
    neighbors, capacity = system.rebuild_neighbors(reference, atoms.cell.array, Capacity())
    cell = jnp.asarray(atoms.cell.array)
    assert bool(system.fits(1.09 * cell, neighbors))
    assert not bool(system.fits(1.6 * cell, neighbors))
    moved = reference + rng.uniform(-0.1, 0.1, reference.shape)
    roomy = Capacity(2 * capacity.neighbors, 2 * capacity.near, SumPlan(grid=KGrid(6, 6, 6)))
    energy_fn = jax.jit(system.energy)
    energies = [
        float(energy_fn(jnp.asarray(moved), cell, around, None))
        for around in (neighbors, system.rebuild_neighbors(moved, atoms.cell.array, roomy)[0])
    ]
    copy = atoms.copy()
    copy.positions = moved
    said = model.predict(copy, ("energy",)).energy + 3.0 * 4 + 7.0 * 4
    np.testing.assert_allclose(energies, said, rtol=1e-10)
    assert (
        system.rebuild_neighbors(moved, cell, Capacity(1, 1, capacity.plan))[1].neighbors
        >= capacity.neighbors
    )
    # At a fixed displacement electrons count that the model does not describe.
    assert system.polarizability is None
    screened = jles.load(folder / "charged", "float64", screening={"epsilon_infinity": 4.0})
    hidden = model_system(screened, atoms, **options).polarizability
    expected = 3.0 * EPSILON0 * copy.get_volume() * np.eye(3)
    np.testing.assert_allclose(jax.jit(hidden)(moved, cell, neighbors), expected, rtol=1e-12)
