"""Frames from Langevin dynamics with the teacher."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin

from jles.distill.config import SampleConfig
from jles.distill.labels import labelled
from jles.distill.teacher import Teacher, in_words
from jles.errors import InputError
from jles.files import atomic_path
from jles.follow import ProgressBar

_TOO_HOT = 10.0
"""A run that exceeds its temperature this many times has exploded."""

_FEW_ATOMS = 10
"""Fewer atoms fluctuate more, and count as this many."""


class Start(NamedTuple):
    """A structure to start from, and its origin."""

    atoms: Atoms
    source: str


class Run(NamedTuple):
    """One run: its number, its start and its temperature (K)."""

    number: int
    start: Start
    temperature: float

    def __str__(self):
        return f"{self.start.source}, run {self.number} at {self.temperature:g} K"


def plan_runs(starts: Sequence[Start], config: SampleConfig) -> list[Run]:
    """Every start at every temperature."""
    pairs = [(start, kelvin) for start in starts for kelvin in config.temperatures]
    return [Run(number, *pair) for number, pair in enumerate(pairs)]


def frames_of_runs(starts: Sequence[Start], config: SampleConfig) -> list[int]:
    """How many frames each of `plan_runs` gives."""
    return [config.steps // config.interval] * len(plan_runs(starts, config))


def sample(
    teacher: Teacher, runs: Sequence[Run], config: SampleConfig, seed: int, folder: Path
) -> list[list[Atoms]]:
    """The frames of all runs, in the order of time, with energies and forces.

    A run is written to `folder` when it ends; runs that are there are read.

    Raises:
        InputError: the teacher fails, or a run explodes; the run, the step and the keys to
            lower are named.
    """
    each = config.discard + config.steps
    found = []
    with ProgressBar("teacher step", each * len(runs)) as bar:
        for run in runs:
            file = folder / f"run-{run.number:04d}.xyz"
            if not file.is_file():
                frames = _simulate(teacher, run, config, seed, bar)
                write_frames(file, frames)
            # Read in any case, so that a resumed distillation sees the same digits.
            found.append(read(file, ":", format="extxyz"))
            bar.update(each * (run.number + 1))
    return found


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Writes frames with their labels as extended XYZ, whole or not at all."""
    with atomic_path(path) as temporary:
        write(temporary, list(frames), format="extxyz")


def _simulate(teacher: Teacher, run: Run, config: SampleConfig, seed: int, bar: ProgressBar):
    rng = np.random.default_rng([seed, run.number])
    atoms = disturbed(run.start.atoms, config, rng)
    atoms.calc = teacher.calculator
    labelled(teacher, atoms, f"{run.start.source}, disturbed for run {run.number}")
    # Of the Maxwell-Boltzmann distribution; constraints take out what they forbid.
    width = np.sqrt(units.kB * run.temperature * atoms.get_masses())
    atoms.set_momenta(width[:, None] * rng.standard_normal((len(atoms), 3)))
    dynamics = Langevin(
        atoms,
        timestep=config.timestep * units.fs,
        temperature_K=run.temperature,
        friction=config.friction / (1e3 * units.fs),
        rng=rng,
        fixcm=False,
    )
    frames, done, each = [], 0, config.discard + config.steps
    while done < each:
        goal = config.discard if done < config.discard else done + config.interval
        steps = min(goal - done, config.interval, each - done)
        _advance(dynamics, steps, run, done, teacher)
        done += steps
        _check_step(atoms, run, done)
        if done > config.discard and (done - config.discard) % config.interval == 0:
            frames.append(labelled(teacher, atoms, f"{run}, step {done}"))
        bar.update(run.number * each + done, str(run))
    return frames


def _advance(dynamics: Langevin, steps: int, run: Run, done: int, teacher: Teacher) -> None:
    try:
        dynamics.run(steps)
    except Exception as error:
        # A calculator may raise anything, above all for atoms that fly apart.
        raise InputError(
            f"{run}: teacher {teacher.name} fails after step {done} ({in_words(error)}); "
            f"{_REMEDY}"
        ) from None


_REMEDY = (
    "lower sample.timestep, sample.temperatures, sample.rattle or sample.strain, or start from "
    "a relaxed structure"
)


def _check_step(atoms: Atoms, run: Run, step: int) -> None:
    """Raises an error if the run has exploded."""
    if not np.isfinite(atoms.positions).all():
        raise InputError(
            f"{run}: positions are not finite at step {step}, as the forces were not; {_REMEDY}"
        )
    # An average over at least ten atoms, so that the fluctuations of few do not count.
    degrees = max(3 * len(atoms), 3 * _FEW_ATOMS)
    kelvin = 2.0 * atoms.get_kinetic_energy() / (degrees * units.kB)
    if not kelvin < _TOO_HOT * run.temperature:
        raise InputError(f"{run}: exploded, {kelvin:.3g} K at step {step}; {_REMEDY}")


def disturbed(atoms: Atoms, config: SampleConfig, rng: np.random.Generator) -> Atoms:
    """The start of a run: a random strain of a periodic structure, random displacements."""
    atoms = atoms.copy()
    if config.strain and atoms.pbc.any():
        noise = config.strain * rng.standard_normal((3, 3))
        deformation = np.eye(3) + np.tril(noise) + np.tril(noise, -1).T
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=False)
        atoms.positions = atoms.positions @ deformation
    # `set_positions` keeps to the constraints.
    noise = config.rattle * rng.standard_normal((len(atoms), 3))
    atoms.set_positions(atoms.positions + noise)
    return atoms
