r"""Forces, stress and the field that acts: all derivatives of one energy.

In a field E the energy is the enthalpy H(r, E), and :math:`F = -\partial H/\partial r`. At a fixed
displacement D the field follows from the polarization,

.. math:: E = (\epsilon_0 V + A)^{-1}(V D - P), \qquad
    \mathcal U(r, D) = \min_E\;[H(r, E) - \tfrac12\epsilon_0 V E^2 + V E\cdot D]
    = U + \tfrac12 (VD - P)(\epsilon_0 V + A)^{-1}(VD - P),

and because U is stationary in E the force is again :math:`-\partial H/\partial r` at that E.

Source: Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009); docs/dynamics.md.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.dynamics.fields import Wave
from jles.dynamics.system import Frame, System
from jles.observables.stress import strained
from jles.typing import Cell, Positions, Scalar
from jles.units import EPSILON0


class Drive(NamedTuple):
    """What is done to a system from outside; numbers in it may change without a new trace.

    Attributes:
        kT: eV, at the start and at the end of the run.
        steps: of the run, over which kT goes from one to the other.
        field: applied field; None for none.
        displacement: D/eps0, V/angstrom, that is held instead; None for none.
        branch: e angstrom, taken off the polarization at a fixed displacement.
    """

    kT: Float[Array, " 2"]
    steps: Scalar
    field: Wave | None = None
    displacement: Wave | None = None
    branch: Float[Array, " 3"] | None = None

    @property
    def acts(self) -> bool:
        """Whether there is a field of either kind."""
        return self.field is not None or self.displacement is not None


def kT_at(drive: Drive, step) -> Array:
    """Temperature of the bath at a step, eV; linear from start to end."""
    return drive.kT[0] + (drive.kT[1] - drive.kT[0]) * (step / drive.steps).astype(
        drive.kT.dtype
    )


def acting_field(
    system: System, drive: Drive, positions: Positions, cell: Cell, frame: Frame, time: Scalar
):
    """The field on the atoms at a time (fs), V/angstrom; None where there is none."""
    if drive.field is not None:
        return drive.field(time)
    if drive.displacement is None:
        return None
    volume = jnp.abs(jnp.linalg.det(cell))
    free = EPSILON0 * volume * jnp.eye(3, dtype=cell.dtype)
    if system.polarizability is not None:
        free += system.polarizability(positions, cell, frame)
    polarization = system.dipole(positions, cell, frame) - drive.branch
    return jnp.linalg.solve(free, EPSILON0 * volume * drive.displacement(time) - polarization)


def forces_at(
    system: System,
    positions: Positions,
    cell: Cell,
    frame: Frame,
    field: Float[Array, " 3"] | None,
    sum_rule: bool,
) -> Float[Array, "atoms 3"]:
    """-dH/dr, eV/angstrom.

    Args:
        system: the matter.
        positions: angstrom.
        cell: rows are lattice vectors.
        frame: of the system, for these places.
        field: V/angstrom; not differentiated.
        sum_rule: a net force that is not that of the field on the total charge is taken off all
            atoms alike, as `obey_sum_rule` does with Born charges.
    """
    if field is not None:
        field = jax.lax.stop_gradient(field)
    forces = -jax.grad(system.energy)(positions, cell, frame, field)
    return _balanced(forces, system, field) if sum_rule else forces


def forces_and_virial(
    system: System,
    positions: Positions,
    cell: Cell,
    frame: Frame,
    field: Float[Array, " 3"] | None = None,
    sum_rule: bool = False,
):
    r"""-dH/dr (eV/angstrom) and :math:`-\partial H/\partial\epsilon` (eV, symmetric), one pass.

    In a field the voltages :math:`E\cdot a_k` are those that are held while the cell is strained,
    so that the stress knows no branch, see `jles.observables.stress`.
    """
    energy = _of_strain(system, cell, frame, field)
    gradients = jax.grad(energy, (0, 1))(positions, jnp.zeros((3, 3), positions.dtype))
    forces, virial = (-gradient for gradient in gradients)
    return (_balanced(forces, system, field) if sum_rule else forces), virial


def _balanced(forces, system: System, field):
    """Forces less a net one that is not that of the field on the total charge."""
    if field is None or not system.free:
        return forces
    return forces - (jnp.sum(forces, axis=0) - system.charge * field) / len(forces)


def energy_and_virial(system: System, positions: Positions, cell: Cell, frame: Frame):
    """U and what `forces_and_virial` says of the strain, eV."""
    of_strain = _of_strain(system, cell, frame, None)
    none = jnp.zeros((3, 3), positions.dtype)
    energy, gradient = jax.value_and_grad(of_strain, 1)(positions, none)
    return energy, -gradient


def _of_strain(system: System, cell: Cell, frame: Frame, field):
    """H as a function of places and symmetric strain, r -> r(1 + strain), at fixed voltages."""

    def energy_at(places, cell, field=None):
        return system.energy(places, cell, frame, field)

    return strained(energy_at, cell, field)
