"""State of every integrator, and its kinetic energy."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float

from jles.typing import Cell, Positions, Scalar


class Motion(NamedTuple):
    """Everything that changes from step to step, in the units of `jles.dynamics.units`.

    Attributes:
        positions: angstrom, not wrapped.
        momenta: u angstrom per internal time unit.
        forces: eV/angstrom, including those of a field.
        cell: rows are lattice vectors.
        bath: private state of the integrator: thermostats, random key, cell momentum.
        field_forces: part of `forces` due to the field; zero if the work is not integrated.
        field_virial: the same part of -dH/d strain, eV; zero if the cell does not move.
        work: work of the field since the start, eV.
        polarization: of the cell at a fixed displacement, e angstrom: its value at the start
            and what has flowed since then; None without a fixed displacement.
    """

    positions: Positions
    momenta: Float[Array, "atoms 3"]
    forces: Float[Array, "atoms 3"]
    cell: Cell
    bath: Any
    field_forces: Float[Array, "atoms 3"]
    field_virial: Float[Array, "3 3"]
    work: Scalar
    polarization: Float[Array, " 3"] | None = None
