"""What is written down of a run, collected on the device in arrays of a block's length."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jles.dynamics.config import RecordConfig
from jles.dynamics.forces import Drive, acting_field, energy_and_virial, kT_at
from jles.dynamics.integrators import Integrator
from jles.dynamics.motion import Motion, kinetic_energy
from jles.dynamics.system import Frame, System
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND

UNITS = {
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "conserved": "eV",
    "field_work": "eV",
    "temperature": "K",
    "pressure": "eV/angstrom^3",
    "volume": "angstrom^3",
    "cell": "angstrom",
    "field": "V/angstrom",
    "polarization": "e angstrom",
    "current": "e angstrom/fs",
    "positions": "angstrom",
    "velocities": "angstrom/fs",
    "polarizability": "e angstrom^2/V",
    "born_charges": "e",
    "short_range": "eV",
    "long_range": "eV",
}
"""Of every dataset of a trajectory."""

WITH_CELL = {"polarization", "positions", "polarizability"}
"""Kinds of record that say in which cell."""


class Recorder(NamedTuple):
    """One kind of record: every `interval` steps, what `values` says, by name."""

    interval: int
    values: Callable[..., dict[str, Array]]

    def rows(self, block: int) -> int:
        """Most frames in a block of so many steps."""
        return block // self.interval + 2


class Scene(NamedTuple):
    """All that a record may be about: the state, what surrounds it, when."""

    motion: Motion
    frame: Frame
    drive: Drive
    step: Array
    time: Array


def build_recorders(
    config: RecordConfig, system: System, integrator: Integrator, masses
) -> dict[str, Recorder]:
    """The recorders that are asked for; masses (atoms, 1)."""
    values = {
        "thermo": lambda scene: thermo(scene, system, integrator, masses),
        "positions": lambda scene: {"positions": scene.motion.positions},
        "velocities": lambda scene: {"velocities": speeds(scene.motion, masses)},
        "extxyz": lambda scene: {
            "positions": scene.motion.positions,
            "velocities": speeds(scene.motion, masses),
            "cell": scene.motion.cell,
        },
    }
    for name in system.observables:
        values[name] = _observable(name, system, masses)
    return {
        name: Recorder(interval, _with_cell(name, values[name]))
        for name, interval in vars(config).items()
        if interval > 0
    }


def thermo(scene: Scene, system: System, integrator: Integrator, masses) -> dict[str, Array]:
    r"""Energies, temperature, pressure, cell and field of one state.

    The potential energy is that without a field, the conserved quantity U + K and the bath's less
    the work of the field. The pressure :math:`(2K - \mathrm{tr}\,\partial U/\partial\epsilon)/3V`
    is that of this energy; where directions are open there is neither it nor a volume (NaN).
    """
    motion, frame = scene.motion, scene.frame
    places = motion.positions, motion.cell, frame
    kinetic = kinetic_energy(motion.momenta, masses)
    volume = pressure = jnp.full((), jnp.nan, kinetic.dtype)
    if all(system.pbc):
        potential, virial = energy_and_virial(system, *places)
        volume = jnp.abs(jnp.linalg.det(motion.cell))
        pressure = (2.0 * kinetic + jnp.trace(virial)) / (3.0 * volume)
    else:
        potential = system.energy(*places, None)
    bath = integrator.bath_energy(motion, kT_at(scene.drive, scene.step))
    field = acting_field(system, scene.drive, *places, scene.time)
    return {
        "potential_energy": potential,
        "kinetic_energy": kinetic,
        "conserved": potential + kinetic + bath - motion.work,
        "field_work": motion.work,
        "temperature": 2.0 * kinetic / (integrator.degrees * BOLTZMANN),
        "pressure": pressure,
        "volume": volume,
        "cell": motion.cell,
        "field": jnp.zeros(3, potential.dtype) if field is None else field,
    }


def speeds(motion: Motion, masses) -> Array:
    """Velocities, angstrom/fs."""
    return motion.momenta / masses * FEMTOSECOND


def empty_buffers(recorders: dict[str, Recorder], scene: Scene, block: int) -> dict:
    """By kind: how many frames there are, their steps, their values; one row more than fit."""
    buffers = {}
    for name, recorder in recorders.items():
        shapes = jax.eval_shape(recorder.values, scene)
        rows = recorder.rows(block) + 1
        values = {
            key: jnp.zeros((rows, *shape.shape), shape.dtype) for key, shape in shapes.items()
        }
        buffers[name] = (jnp.int32(0), jnp.zeros(rows, jnp.int32), values)
    return buffers


def record(recorders: dict[str, Recorder], buffers: dict, scene: Scene, allowed: Array) -> dict:
    """Adds what is due at this step."""
    after = {}
    for name, recorder in recorders.items():
        count, steps, values = buffers[name]
        due = allowed & (scene.step % recorder.interval == 0)
        shapes = jax.tree.map(lambda rows: rows[0], values)
        found = jax.lax.cond(due, recorder.values, lambda _, none=shapes: none, scene)
        # What is not due goes to the last row, which nobody reads: no copy of the whole buffer.
        row = jnp.where(due, count, len(steps) - 1)
        values = {key: values[key].at[row].set(found[key]) for key in values}
        after[name] = (count + due, steps.at[row].set(scene.step), values)
    return after


def _observable(name: str, system: System, masses):
    def values(scene):
        motion = scene.motion
        velocities = speeds(motion, masses)
        value = system.observables[name](motion.positions, velocities, motion.cell, scene.frame)
        return value if isinstance(value, dict) else {name: value}

    return values


def _with_cell(name: str, values):
    if name not in WITH_CELL:
        return values
    return lambda scene: values(scene) | {"cell": scene.motion.cell}
