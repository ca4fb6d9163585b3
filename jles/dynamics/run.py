"""A whole run: from a model, a structure and a config to a directory of results."""

import contextlib
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jles.compiling import compiling
from jles.config import from_dict, to_dict
from jles.dynamics.block import RunPlan
from jles.dynamics.checkpoint import load_checkpoint, save_checkpoint
from jles.dynamics.config import MdConfig
from jles.dynamics.engine import Engine, Outcome, RecordedFrames, RunState
from jles.dynamics.ensembles import build_integrator
from jles.dynamics.extxyz import append_frames, in_place, write_final
from jles.dynamics.fields import wave
from jles.dynamics.forces import Forcing
from jles.dynamics.model_system import model_system
from jles.dynamics.records import build_recorders
from jles.dynamics.report import Drift, Log, MdProgress
from jles.dynamics.resume import (
    arrays_of,
    check_config,
    check_identity,
    check_same_atoms,
    check_sum,
    checkpoint_of,
    claimed,
    identity_of,
    sum_settings,
)
from jles.dynamics.start import (
    check_charge,
    check_start,
    choice_of_velocities,
    initial_momenta,
    placed,
)
from jles.dynamics.trajectory import Trajectory
from jles.dynamics.units import BOLTZMANN
from jles.electrostatics.plan import SumPlan, describe_plan
from jles.errors import InputError, naming
from jles.files import TRAJECTORY, write_atomically
from jles.local_devices import devices_of
from jles.models.atoms import check_atoms
from jles.predict.model import Model
from jles.predict.prediction import notes_of_run
from jles.quantities.catalogue import QUANTITIES
from jles.strict_yaml import to_yaml
from jles.version import __version__

_IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def run_md(model: Model, atoms, config: MdConfig | dict, out, resume: bool = False):
    """Runs molecular dynamics and writes `config.yaml`, `trajectory.h5`, `log.csv` and more.

    Args:
        model: loaded with the precision `config.dtype`.
        atoms: `ase.Atoms`, the initial structure, with or without velocities.
        config: see docs/dynamics.md.
        out: directory to write.
        resume: continue from the last checkpoint in `out`.

    Returns:
        `ase.Atoms`: the last state, positions not wrapped.

    Raises:
        InputError: model, atoms, config or `out` is wrong, another process writes into `out`,
            or the run became unstable.
    """
    with claimed(out, resume):
        return run_claimed(model, atoms, config, out, resume)


def run_claimed(
    model: Model, atoms, config: MdConfig | dict, out, resume: bool, start: str = ""
):
    """`run_md` in a directory that is claimed; `start` names the atoms in errors."""
    if isinstance(config, dict):
        config = from_dict(MdConfig, config, "config")
    check_types(model, atoms, config)
    if config.dtype != model.dtype:
        raise InputError(f"dtype: is {config.dtype}, but the model was loaded as {model.dtype}")
    with naming(start):
        check_start(atoms, config)
    with jax.enable_x64(model.dtype == "float64"):
        return Run(model, atoms, config, Path(out), resume, start).finish()


def check_types(model, atoms, config) -> None:
    """Refuses paths where objects are needed; says how to make them."""
    check_atoms(atoms)
    if not isinstance(model, Model):
        kind = type(model).__name__
        raise InputError(f"model: is of type {kind}; load it first, jles.load(directory)")
    if not isinstance(config, MdConfig):
        kind = type(config).__name__
        raise InputError(f"config: is of type {kind}; give an MdConfig or a dict of its keys")


class Run:
    """One run and its directory."""

    def __init__(
        self, model: Model, atoms, config: MdConfig, out: Path, resume: bool, start: str = ""
    ):
        self.atoms, self.config, self.out = atoms, config, out
        self.keys = model.input_keys
        self._accuracy = model.config.electrostatics.accuracy
        self.trajectory = Trajectory(out / TRAJECTORY)
        self.log = Log(out / "log.csv")
        self.drift = Drift(len(atoms))
        self._last_row: dict = {}
        with naming(start):
            self._identity = identity_of(model, atoms)
            momenta = initial_momenta(atoms, config)
            inside, self._place = placed(atoms)
            plan, forcing = plan_run(model, inside, config)
        self.plan, self.engine = plan, Engine(plan, forcing, self._say)
        self._progress: MdProgress | None = None
        if resume:
            check_config(out / "config.yaml", config)
            check_same_atoms(self.trajectory, atoms)
        with naming(start):
            self.state = self._start(plan, inside.positions, momenta, model.dtype)
        self.frame_bytes = 0
        if resume:
            self._resume()
        else:
            self._create()
            if note := choice_of_velocities(atoms, config):
                self._say(note)
            in_field = bool(config.field or config.displacement)
            known = atoms.pbc, plan.system.charge, in_field
            for note in notes_of_run(model.config, *known):
                self._say(f"note: {note}")

    def finish(self):
        """Runs the remaining steps and returns the last state as `ase.Atoms`."""
        config = self.config
        with MdProgress(config.steps, self.state.step, config.timestep) as self._progress:
            sums = self.state.capacity.plan
            if sums is not None and sums != SumPlan():
                self._say(f"long range: {describe_plan(sums, self._accuracy)}")
            if self.state.step >= config.steps:
                self._say("the run is complete; raise steps to continue it")
            done, first = False, True
            while not done:
                with compiling("time steps") if first else contextlib.nullcontext():
                    outcome = self.engine.run(self.state, self._next_stop())
                first = False
                self._write(outcome)
                done = outcome.done or outcome.state.step >= config.steps
                if done or outcome.state.step % config.checkpoint == 0:
                    self._save(self.trajectory.counts())
            if outcome.done:
                self._say(f"step {self.state.step}: all forces are below the tolerance")
            elif config.ensemble.kind == "minimise":
                self._say(f"step {self.state.step}: forces are still above the tolerance")
        return write_final(
            self.out / "final.extxyz",
            self.atoms,
            self.state,
            self.plan,
            self._place,
            self.keys,
        )

    def _start(self, plan: RunPlan, positions, momenta, dtype) -> RunState:
        given = (each.astype(dtype) for each in (positions, momenta, plan.system.cell))
        with compiling("start", self._say):
            return self.engine.start(*given, jax.random.PRNGKey(self.config.seed))

    def _create(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self._write_config()
        (self.out / "trajectory.extxyz").unlink(missing_ok=True)
        self.log.start()
        attributes = {
            "timestep": self.config.timestep or 0.0,
            "dtype": self.config.dtype,
            "program": f"jles {__version__}",
            "ensemble": self.config.ensemble.kind,
        }
        # First the checkpoint: a directory with a trajectory holds a run to resume.
        self._save({})
        self.trajectory.create(attributes, arrays_of(self.atoms))

    def _write_config(self) -> None:
        text = to_yaml(to_dict(self.config))
        write_atomically(self.out / "config.yaml", text)

    def _resume(self) -> None:
        kept = load_checkpoint(self._checkpoint, self.state)
        check_identity(self._checkpoint, kept.identity, self._identity)
        # Older checkpoints are of runs in the cell and at the place of the start.
        origin = np.array(kept.written.get("origin", (0.0, 0.0, 0.0)))
        self._place = self._place._replace(origin=origin)
        if kept.written.get("cell_of_start", _IDENTITY) != self._place.turn.tolist():
            raise InputError(
                f"{self._checkpoint}: is of a start with another cell, or of a jles that did "
                "not reduce skewed ones; resume it with its own start, or start anew"
            )
        check_sum(self._checkpoint, kept, self.state.capacity.plan, self._accuracy)
        with naming(str(self._checkpoint)):
            self.state = self.engine.resume(
                kept.loop, kept.reference, kept.capacity, kept.rebuilt_at
            )
        if self.state.step < self.config.steps:
            self._write_config()
        self.trajectory.truncate(kept.written["frames"])
        self.log.start(up_to=self.state.step)
        self.frame_bytes = kept.written["extxyz"]
        path = self.out / "trajectory.extxyz"
        if path.exists():
            with path.open("r+b") as file:
                file.truncate(self.frame_bytes)
        steps, values = self.trajectory.column("thermo", "step", "conserved")
        self.drift.add(self._ps(steps), values)

    @property
    def _checkpoint(self) -> Path:
        return checkpoint_of(self.out)

    def _save(self, frames: dict[str, int]) -> None:
        written = {"frames": frames, "extxyz": self.frame_bytes}
        written["cell_of_start"] = self._place.turn.tolist()
        written["origin"] = self._place.origin.tolist()
        sums = sum_settings(self.state.capacity.plan, self._accuracy)
        save_checkpoint(self._checkpoint, self.state, written, sums, self._identity)

    def _next_stop(self) -> int:
        """The next multiple of a block or of the checkpoints' interval."""
        step, config = self.state.step, self.config
        stops = [(step // every + 1) * every for every in (config.block, config.checkpoint)]
        return min(*stops, config.steps)

    def _write(self, outcome: Outcome) -> None:
        self.state = outcome.state
        frames = in_place(self._place, outcome.frames)
        extxyz = frames.pop("extxyz", None)
        intervals = to_dict(self.config.record)
        self.trajectory.append(frames, intervals)
        if extxyz is not None:
            self.frame_bytes = append_frames(
                self.out / "trajectory.extxyz",
                self.atoms,
                extxyz,
                self.config.timestep,
                self.keys,
            )
        self._report(frames.get("thermo"))
        if outcome.failure is not None:
            raise InputError(outcome.failure + self._last_frame())

    def _report(self, thermo: RecordedFrames | None) -> None:
        """Shows a block, and adds a row to the log if it has a record of `thermo`."""
        speed = self._progress.speed(self.state.step)
        if thermo is not None and len(thermo.steps):
            times = self._ps(thermo.steps)
            self.drift.add(times, thermo.values["conserved"])
            last = {key: float(v[-1]) for key, v in thermo.values.items() if np.ndim(v) == 1}
            row = {"step": int(thermo.steps[-1]), "time": float(times[-1]), **last}
            # Without the work of a field, the change of `conserved` is that work.
            drift = self.drift.slope if self.plan.follow_work else math.nan
            self._last_row = row | {"drift": drift, "speed": speed}
            self.log.append(self._last_row)
        self._progress.show(self.state.step, self._last_row | {"speed": speed})

    def _last_frame(self) -> str:
        (steps,) = self.trajectory.column("positions", "step")
        if len(steps) == 0:
            return f"; no positions were recorded in {self.trajectory.path}"
        return (
            f"; the last good frame is that of step {int(steps[-1])} in {self.trajectory.path}"
        )

    def _ps(self, steps):
        return np.asarray(steps) * (self.config.timestep or 0.0) * 1e-3

    def _say(self, line: str) -> None:
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.say(line)


def plan_run(model: Model, atoms, config: MdConfig) -> tuple[RunPlan, Forcing]:
    """The plan of a run, and the temperature and field that act on it.

    Raises:
        InputError: the model or the structure lacks a requested quantity, or the thermostat
            does not suit a total charge in a field.
    """
    applied = config.field or config.displacement
    recorded = (*QUANTITIES, "current")
    records = tuple(name for name in recorded if getattr(config.record, name, 0) > 0)
    system = model_system(
        model,
        atoms,
        skin=config.neighbors.skin,
        moves_cell=config.ensemble.kind == "npt",
        in_field=applied is not None,
        records=records,
        devices=devices_of(0, config.parallel.devices) if config.parallel else (),
    )
    check_charge(system.charge, config)
    masses = jnp.asarray(atoms.get_masses()[:, None], model.dtype)
    integrator = build_integrator(config.ensemble, masses, config.timestep, system)
    recorders = build_recorders(config.record, system, integrator, masses)
    plan = RunPlan(system, integrator, recorders, masses, config.timestep, config.block)
    if applied is not None:
        plan = plan._replace(sum_rule=applied.sum_rule, follow_work=applied.work)
    return plan, forcing_of(config, model.dtype)


def forcing_of(config: MdConfig, dtype) -> Forcing:
    """Temperature and field of a config, as arrays."""
    first = config.ensemble.temperature or 0.0
    last = config.ensemble.temperature_end or first
    kT = BOLTZMANN * jnp.asarray([first, last], dtype)
    forcing = Forcing(kT, jnp.int32(config.steps))
    if config.field is not None:
        return forcing._replace(field=wave(config.field, dtype, config.timestep))
    if config.displacement is not None:
        branch = jnp.asarray(config.displacement.branch, dtype)
        displacement = wave(config.displacement, dtype, config.timestep)
        return forcing._replace(displacement=displacement, branch=branch)
    return forcing
