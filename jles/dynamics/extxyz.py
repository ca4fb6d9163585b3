"""Recorded frames and the final state as extended XYZ."""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import write

from jles.dynamics.block import RunPlan
from jles.dynamics.engine import RecordedFrames, RunState
from jles.dynamics.start import Place
from jles.errors import InputError
from jles.files import atomic_path


def append_frames(
    path: Path, atoms, frames: RecordedFrames, timestep: float | None, keys=()
) -> int:
    """Appends frames with positions, momenta and cell; returns the size of the file in bytes.

    `keys` are values and columns of `atoms` that every frame keeps.

    Raises:
        InputError: the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            for n, step in enumerate(frames.steps):
                values = {key: rows[n] for key, rows in frames.values.items()}
                velocities = values["velocities"] / units.fs
                frame = _frame(atoms, values["positions"], velocities, values["cell"], keys)
                frame.info |= {"step": int(step), "time_fs": float(step * (timestep or 0.0))}
                write(file, frame, format="extxyz")
        return path.stat().st_size
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); the last checkpoint is intact: "
            "free some space and --resume"
        ) from None


def in_place(place: Place, frames: dict[str, RecordedFrames]) -> dict[str, RecordedFrames]:
    """The frames with cells and positions as files have them."""
    moves = {"cell": place.cell, "positions": place.positions}
    return {
        kind: part._replace(
            values={
                key: moves[key](rows) if key in moves else rows
                for key, rows in part.values.items()
            }
        )
        for kind, part in frames.items()
    }


def write_final(path: Path, atoms, state: RunState, plan: RunPlan, place: Place, keys=()):
    """Writes the last state as a file of one frame and returns it as `ase.Atoms`.

    `keys` are values and columns of `atoms` to keep.
    """
    motion = state.loop.motion
    velocities = np.asarray(motion.momenta / plan.masses, np.float64)
    positions, cell = (np.asarray(a, np.float64) for a in (motion.positions, motion.cell))
    frame = _frame(atoms, place.positions(positions), velocities, place.cell(cell), keys)
    if plan.timestep is None:
        frame.set_momenta(None)
    frame.info["step"] = state.step
    with atomic_path(path) as temporary:
        write(temporary, frame, format="extxyz")
    return frame


def _frame(atoms, positions, velocities, cell, keys):
    """A copy of `atoms` at other positions, with these of its values and columns only."""
    frame = Atoms(
        atoms.numbers,
        np.asarray(positions, np.float64),
        masses=atoms.get_masses(),
        cell=np.asarray(cell, np.float64) if atoms.pbc.all() else atoms.cell,
        pbc=atoms.pbc,
    )
    frame.set_velocities(np.asarray(velocities, np.float64))
    frame.info |= {key: atoms.info[key] for key in keys if key in atoms.info}
    for key in atoms.arrays.keys() & set(keys):
        frame.set_array(key, atoms.arrays[key])
    return frame
