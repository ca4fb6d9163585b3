r"""Forces, virial and the acting field, all derived from one energy.

In a field E the energy is the enthalpy H(r, E), and :math:`F = -\partial H/\partial r`. At a
fixed displacement D the field follows from the polarization P and the polarizability A,

.. math:: E = (\epsilon_0 V + A)^{-1}(V D - P), \qquad
    \mathcal U(r, D) = \min_E\;[H(r, E) - \tfrac12\epsilon_0 V E^2 + V E\cdot D]
    = U + \tfrac12 (VD - P)(\epsilon_0 V + A)^{-1}(VD - P),

Because :math:`\mathcal U` is stationary in E, the force is again :math:`-\partial H/\partial r`
at that E. P starts as the value of the cell. Its changes are the charge that flows,
:math:`dP = \sum_i Z^*_i dr_i`: charge that crosses the boundary of the cell does not change the
value as it changes P.

Source: Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009); docs/dynamics.md.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.dynamics.fields import Wave
from jles.dynamics.motion import Motion
from jles.dynamics.system import NeighborList, System
from jles.observables.stress import strained
from jles.typing import Cell, Positions, Scalar
from jles.units import EPSILON0


class Forcing(NamedTuple):
    """Temperature and field that act on a system. Other values need no new trace.

    Attributes:
        kT: temperature of the bath at the start and at the end of the run, eV.
        steps: length of the run, over which kT changes linearly.
        field: applied field, or None.
        displacement: fixed displacement D/eps0, V/angstrom, or None.
        branch: subtracted from the polarization at a fixed displacement, e angstrom.
    """

    kT: Float[Array, " 2"]
    steps: Scalar
    field: Wave | None = None
    displacement: Wave | None = None
    branch: Float[Array, " 3"] | None = None

    @property
    def acts(self) -> bool:
        """Whether there is an applied field or a fixed displacement."""
        return self.field is not None or self.displacement is not None


def kT_at(forcing: Forcing, step) -> Array:
    """Temperature of the bath at a step, eV."""
    return forcing.kT[0] + (forcing.kT[1] - forcing.kT[0]) * (step / forcing.steps).astype(
        forcing.kT.dtype
    )


def acting_field(
    system: System,
    forcing: Forcing,
    polarization: Float[Array, " 3"] | None,
    positions: Positions,
    cell: Cell,
    neighbors: NeighborList,
    step,
    time: Scalar,
):
    """Field (V/angstrom) on the atoms after `step` steps, at `time` (fs); None without one.

    `polarization` is that of the motion, see `polarization_after`.
    """
    if forcing.field is not None:
        return forcing.field.at_step(step, time)
    if forcing.displacement is None:
        return None
    volume = jnp.abs(jnp.linalg.det(cell))
    free = EPSILON0 * volume * jnp.eye(3, dtype=cell.dtype)
    if system.polarizability is not None:
        free += system.polarizability(positions, cell, neighbors)
    displacement = forcing.displacement.at_step(step, time)
    left = EPSILON0 * volume * displacement - (polarization - forcing.branch)
    return jnp.linalg.solve(free, left)


def midway(before: Motion, positions: Positions) -> Positions:
    """Positions half-way between those of a motion and others, angstrom."""
    return before.positions + 0.5 * (positions - before.positions)


def polarization_after(
    system: System,
    before: Motion,
    positions: Positions,
    cell: Cell,
    neighbors: NeighborList,
    sum_rule: bool,
) -> Float[Array, " 3"] | None:
    r"""Polarization after a step, e angstrom; None if the motion carries none.

    .. math:: P_{n+1} = P_n + \sum_i Z^*_i(\tfrac12(r_n + r_{n+1}))\,(r_{n+1} - r_n)

    Like the trapezoidal rule this is exact to second order and reversible, with half its error
    and one evaluation.

    Args:
        system: atoms and their interactions.
        before: motion before the step.
        positions: after the step, angstrom, not wrapped.
        cell: rows are lattice vectors; that of both.
        neighbors: neighbour list that holds for both.
        sum_rule: as of `forces_at`: a common drift transports the total charge only.
    """
    if before.polarization is None:
        return None
    moved, drift = positions - before.positions, 0.0
    if sum_rule and system.free:
        drift = jnp.mean(moved, axis=0)
    flow = system.flow(midway(before, positions), moved - drift, cell, neighbors)
    return before.polarization + flow + system.charge * drift


def forces_at(
    system: System,
    positions: Positions,
    cell: Cell,
    neighbors: NeighborList,
    field: Float[Array, " 3"] | None,
    sum_rule: bool,
) -> Float[Array, "atoms 3"]:
    """-dH/dr, eV/angstrom.

    Args:
        system: atoms and their interactions.
        positions: angstrom.
        cell: rows are lattice vectors.
        neighbors: neighbour list that holds for these positions.
        field: V/angstrom; not differentiated.
        sum_rule: make the net force that of the field on the total charge, by the same
            correction of every atom; `obey_sum_rule` does so with Born charges.
    """
    if field is not None:
        field = jax.lax.stop_gradient(field)
    forces = -jax.grad(system.energy)(positions, cell, neighbors, field)
    return _balanced(forces, system, field) if sum_rule else forces


def forces_and_virial(
    system: System,
    positions: Positions,
    cell: Cell,
    neighbors: NeighborList,
    field: Float[Array, " 3"] | None = None,
    sum_rule: bool = False,
):
    r"""-dH/dr (eV/angstrom) and :math:`-\partial H/\partial\epsilon` (eV, symmetric) together.

    In a field the cell is strained at fixed voltages :math:`E\cdot a_k`, so the virial does not
    depend on the branch of the polarization; see `jles.observables.stress`.
    """
    energy = _of_strain(system, cell, neighbors, field)
    gradients = jax.grad(energy, (0, 1))(positions, jnp.zeros((3, 3), positions.dtype))
    forces, virial = (-gradient for gradient in gradients)
    return (_balanced(forces, system, field) if sum_rule else forces), virial


def _balanced(forces, system: System, field):
    """Forces whose sum is the force of the field on the total charge."""
    if field is None or not system.free:
        return forces
    return forces - (jnp.sum(forces, axis=0) - system.charge * field) / len(forces)


def energy_and_virial(
    system: System, positions: Positions, cell: Cell, neighbors: NeighborList
):
    """U and the virial without a field, eV."""
    of_strain = _of_strain(system, cell, neighbors, None)
    no_strain = jnp.zeros((3, 3), positions.dtype)
    energy, gradient = jax.value_and_grad(of_strain, 1)(positions, no_strain)
    return energy, -gradient


def _of_strain(system: System, cell: Cell, neighbors: NeighborList, field):
    """H of positions and symmetric strain, r -> r(1 + strain), at fixed voltages."""

    def energy_at(positions, cell, field=None):
        return system.energy(positions, cell, neighbors, field)

    return strained(energy_at, cell, field)
