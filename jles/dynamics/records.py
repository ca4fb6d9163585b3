"""Records of a run, collected on the device in arrays with one row per frame of a block."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jles.config import to_dict
from jles.dynamics.config import RecordConfig
from jles.dynamics.forces import Forcing, acting_field, energy_and_virial, kT_at
from jles.dynamics.integrators import Integrator
from jles.dynamics.motion import Motion
from jles.dynamics.system import NeighborList, System
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND
from jles.jax_md.npt import kinetic_energy
from jles.quantities.catalogue import QUANTITIES

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
    "current": "e angstrom/fs",
    "positions": "angstrom",
    "velocities": "angstrom/fs",
    "short_range": "eV",
    "long_range": "eV",
}
"""Units of the datasets of a trajectory that are not quantities of the catalogue."""

WITH_CELL = {"polarization", "positions", "polarizability"}
"""Kinds of record that include the cell."""


def unit_of(name: str) -> str:
    """Unit of a dataset of a trajectory."""
    return QUANTITIES[name].unit if name in QUANTITIES else UNITS.get(name, "1")


class Recorder(NamedTuple):
    """One kind of record.

    Attributes:
        interval: steps from one frame to the next.
        values: `(snapshot) -> arrays by name`.
        with_forces: whether the values are computed together with the forces of every step.
    """

    interval: int
    values: Callable[..., dict[str, Array]]
    with_forces: bool = False

    def rows(self, block: int) -> int:
        """Maximum number of frames in a block of so many steps."""
        return block // self.interval + 2


class Snapshot(NamedTuple):
    """The input of a record: the motion at one step, and what acts on it."""

    motion: Motion
    neighbors: NeighborList
    forcing: Forcing
    step: Array
    time: Array


def build_recorders(
    config: RecordConfig, system: System, integrator: Integrator, masses
) -> dict[str, Recorder]:
    """The requested recorders; masses (atoms, 1)."""
    values = {
        "thermo": lambda snapshot: thermo(snapshot, system, integrator, masses),
        "positions": lambda snapshot: {"positions": snapshot.motion.positions},
        "velocities": lambda snapshot: {"velocities": velocities_of(snapshot.motion, masses)},
        "extxyz": lambda snapshot: {
            "positions": snapshot.motion.positions,
            "velocities": velocities_of(snapshot.motion, masses),
            "cell": snapshot.motion.cell,
        },
    }
    for name in system.observables:
        values[name] = _observable(name, system, integrator, masses)
    recorders = {}
    for name, interval in to_dict(config).items():
        if interval > 0:
            # Under `jit` a record is traced once, for its shapes and for the loop.
            value = jax.jit(_with_cell(name, values[name]))
            with_forces = interval == 1 and name in system.observables
            recorders[name] = Recorder(interval, value, with_forces)
    return recorders


def thermo(
    snapshot: Snapshot, system: System, integrator: Integrator, masses
) -> dict[str, Array]:
    r"""Energies, temperature, pressure, cell and field of one snapshot.

    The potential energy U and the pressure
    :math:`(2K - \mathrm{tr}\,\partial U/\partial\epsilon)/3V` are those without a field. The
    conserved quantity is U + K plus the energy of the bath minus the work of the field.
    Pressure and volume are NaN unless all three directions are periodic.
    """
    motion, neighbors = snapshot.motion, snapshot.neighbors
    state = motion.positions, motion.cell, neighbors
    kinetic = kinetic_energy(motion.momenta, masses)
    volume = pressure = jnp.full((), jnp.nan, kinetic.dtype)
    if all(system.pbc):
        potential, virial = energy_and_virial(system, *state)
        volume = jnp.abs(jnp.linalg.det(motion.cell))
        pressure = (2.0 * kinetic + jnp.trace(virial)) / (3.0 * volume)
    else:
        potential = system.energy(*state, None)
    bath = integrator.bath_energy(motion, kT_at(snapshot.forcing, snapshot.step))
    at = snapshot.step, snapshot.time
    field = acting_field(system, snapshot.forcing, motion.polarization, *state, *at)
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


def velocities_of(motion: Motion, masses) -> Array:
    """Velocities, angstrom/fs."""
    return motion.momenta / masses * FEMTOSECOND


def zero_values(recorder: Recorder, snapshot: Snapshot) -> dict[str, Array]:
    """Zeros in place of the values of a recorder."""
    shapes = jax.eval_shape(recorder.values, snapshot)
    return {key: jnp.zeros(shape.shape, shape.dtype) for key, shape in shapes.items()}


def empty_buffers(recorders: dict[str, Recorder], snapshot: Snapshot, block: int) -> dict:
    """By kind: number of frames, their steps and values, with a spare row for `record`."""
    buffers = {}
    for name, recorder in recorders.items():
        rows = recorder.rows(block) + 1
        values = {
            key: jnp.zeros((rows, *value.shape), value.dtype)
            for key, value in zero_values(recorder, snapshot).items()
        }
        buffers[name] = (jnp.int32(0), jnp.zeros(rows, jnp.int32), values)
    return buffers


def record(
    recorders: dict[str, Recorder],
    buffers: dict,
    snapshot: Snapshot,
    allowed: Array,
    found: dict[str, dict[str, Array]],
) -> dict:
    """Adds the records that are due at this step.

    Args:
        recorders: by name.
        buffers: see `empty_buffers`.
        snapshot: of this step.
        allowed: whether anything may be recorded.
        found: by name, the values at this snapshot that were already computed.
    """
    after = {}
    for name, recorder in recorders.items():
        count, steps, values = buffers[name]
        due = allowed & (snapshot.step % recorder.interval == 0)
        now = found.get(name)
        if now is None:
            none = jax.tree.map(lambda rows: rows[0], values)
            now = jax.lax.cond(due, recorder.values, lambda _, none=none: none, snapshot)
        # Records that are not due go to the spare row: a conditional would copy the buffer.
        row = jnp.where(due, count, len(steps) - 1)
        values = {key: values[key].at[row].set(now[key]) for key in values}
        after[name] = (
            count + due.astype(count.dtype),
            steps.at[row].set(snapshot.step),
            values,
        )
    return after


def _observable(name: str, system: System, integrator: Integrator, masses):
    def values(snapshot):
        motion, rate = snapshot.motion, integrator.strain_rate(snapshot.motion)
        if name == "polarization" and motion.polarization is not None:
            return {name: motion.polarization}
        value = system.observables[name](
            motion.positions,
            velocities_of(motion, masses),
            motion.cell,
            snapshot.neighbors,
            None if rate is None else rate * FEMTOSECOND,
        )
        return value if isinstance(value, dict) else {name: value}

    return values


def _with_cell(name: str, values):
    if name not in WITH_CELL:
        return values
    return lambda snapshot: values(snapshot) | {"cell": snapshot.motion.cell}
