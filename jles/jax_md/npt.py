r"""Constant pressure with a flexible cell: Martyna-Tobias-Klein with Nosé-Hoover chains.

The cell h changes at the rate :math:`v = p_g/W`, symmetric so that the cell does not rotate.
With :math:`N_f` degrees of freedom and one Nosé-Hoover chain each for the atoms and the cell,

.. math:: \dot r = p/m + v r, \quad
    \dot p = F - \left(v + \frac{\mathrm{tr}\,v}{N_f}\right) p, \quad \dot h = v h, \quad
    \dot p_g = \sum_i \frac{p_i p_i}{m_i} - \frac{\partial U}{\partial\epsilon}
    - P V + \frac{2K}{N_f},

conserve :math:`U + K + \mathrm{tr}\,p_g^2/2W + PV` plus the energy of the chains. For an
isotropic cell the force on the cell is replaced by a third of its trace times the unit matrix.

Source: Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177 (1994); the splitting of Yu et al.,
Chem. Phys. 370, 294 (2010), reversible and measure-preserving.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.jax_md.chains import (
    chain_energy,
    degrees_of_freedom,
    keep_dtypes,
    nose_hoover_chain,
    start_chain,
)
from jles.products import einsum, matmul
from jles.typing import Cell, Positions, Scalar

Matrix = Float[Array, "3 3"]

ForceFn = Callable[..., tuple[Array, Array]]
"""`(position, cell, **kwargs)` -> forces and virial -dU/d strain; rows of the cell are lattice
vectors."""


class NptState(NamedTuple):
    """State of a simulation at constant pressure.

    Attributes:
        position: Cartesian, not wrapped.
        momentum: of the atoms.
        force: on the atoms.
        mass: (atoms, 1).
        cell: rows are lattice vectors.
        virial: -dU/d strain, symmetric.
        cell_momentum: p_g, symmetric.
        cell_mass: W.
        thermostat: Nosé-Hoover chain of the atoms.
        barostat: Nosé-Hoover chain of the cell.
    """

    position: Positions
    momentum: Float[Array, "atoms 3"]
    force: Float[Array, "atoms 3"]
    mass: Float[Array, "atoms 1"]
    cell: Cell
    virial: Matrix
    cell_momentum: Matrix
    cell_mass: Array
    thermostat: Any
    barostat: Any

    @property
    def box(self) -> Cell:
        """The cell as in jax-md: columns are lattice vectors."""
        return self.cell.T

    @property
    def velocity(self) -> Float[Array, "atoms 3"]:
        """Velocities of the atoms."""
        return self.momentum / self.mass


class Barostat(NamedTuple):
    r"""Settings of an integrator at constant pressure.

    Attributes:
        timestep: in the unit of time of the masses and energies.
        thermostat_time: of the chain of the atoms.
        barostat_time: tau in the mass of the cell :math:`(N_f + 3) kT \tau^2/3`.
        isotropic: whether only the volume changes, not lengths and angles.
        free: whether the total momentum is conserved.
    """

    timestep: Scalar
    thermostat_time: Scalar
    barostat_time: Scalar
    isotropic: bool = False
    free: bool = True

    @property
    def chains(self):
        """jax-md's functions for the chains of atoms and cell."""
        times = self.thermostat_time, self.barostat_time
        return tuple(nose_hoover_chain(self.timestep, time) for time in times)


def npt_flexible_cell(
    energy_fn: Callable[..., Array],
    dt: Scalar,
    pressure: Scalar,
    kT: Scalar,
    thermostat_time: Scalar | None = None,
    barostat_time: Scalar | None = None,
    isotropic: bool = False,
):
    """Integrator at constant pressure and temperature for jax-md: lengths and angles change.

    It is used as `jax_md.simulate.npt_nose_hoover`, which changes the volume only:
    `state = init(key, R, box, mass=..., momenta=None, **kwargs)`, then
    `state = apply(state, kT=..., pressure=..., **kwargs)`. Other keywords, such as neighbor and
    field, go to the energy; `state.box` is the box. Positions are Cartesian, never wrapped.

    The total momentum must be conserved: the thermostat has 3N - 3 degrees of freedom. A total
    charge in a field is accelerated as a whole, which the thermostat would take for heat and
    freeze the atoms; use a Langevin integrator there.

    Args:
        energy_fn: `(R, box=..., perturbation=..., **kwargs)`, of `jles.jax_md` or of jax-md
            with `fractional_coordinates=False`.
        dt: timestep.
        pressure: external pressure.
        kT: temperature.
        thermostat_time: by default 100 timesteps.
        barostat_time: by default 1000 timesteps.
        isotropic: change the volume only.

    Returns:
        init, apply.
    """
    settings = Barostat(
        dt, thermostat_time or 100.0 * dt, barostat_time or 1000.0 * dt, isotropic
    )

    def forces(position, cell, **kwargs):
        def energy(position, strain):
            deform = jnp.eye(3, dtype=strain.dtype) + 0.5 * (strain + strain.T)
            return energy_fn(position, box=cell.T, perturbation=deform, **kwargs)

        gradients = jax.grad(energy, (0, 1))(position, jnp.zeros((3, 3), position.dtype))
        return tuple(-gradient for gradient in gradients)

    def init(key, R, box, mass=1.0, momenta=None, kT=kT, **kwargs):
        kwargs.pop("pressure", None)
        R = jnp.asarray(R)
        mass = jnp.broadcast_to(jnp.asarray(mass, R.dtype).reshape(-1, 1), (len(R), 1))
        if momenta is None:
            noise = jax.random.normal(key, R.shape, R.dtype)
            momenta = jnp.sqrt(mass * kT) * noise
            momenta = momenta - jnp.mean(momenta, axis=0)
        box = jnp.asarray(box, R.dtype)
        cell = box.T if box.ndim == 2 else jnp.eye(3, dtype=R.dtype) * box
        force, virial = forces(R, cell, **kwargs)
        return start(settings, R, jnp.asarray(momenta, R.dtype), mass, cell, force, virial, kT)

    def apply(state, kT=kT, pressure=pressure, **kwargs):
        return step(settings, state, lambda r, h: forces(r, h, **kwargs), kT, pressure)

    return init, apply


def start(
    settings: Barostat, position, momentum, mass, cell, force, virial, kT: Scalar
) -> NptState:
    """The state before the first step; the cell is at rest."""
    degrees = degrees_of_freedom(len(position), settings.free)
    atoms, cells = settings.chains
    cell_mass = (degrees + 3) / 3 * kT * settings.barostat_time**2
    none = jnp.zeros((), cell.dtype)
    return NptState(
        position,
        momentum,
        force,
        mass,
        cell,
        virial,
        jnp.zeros_like(cell),
        jnp.asarray(cell_mass, cell.dtype),
        start_chain(atoms, degrees, kinetic_energy(momentum, mass), kT),
        start_chain(cells, 1 if settings.isotropic else 6, none, kT),
    )


def step(
    settings: Barostat, state: NptState, force_fn: ForceFn, kT: Scalar, pressure: Scalar
) -> NptState:
    """One step."""
    dt = settings.timestep
    state = _apply_thermostats(settings, state, kT)
    state = _kick_atoms(settings, _kick_cell(settings, state, pressure))
    grow, integral = exponentials(state.cell_momentum / state.cell_mass, dt)
    moved = matmul(state.momentum / state.mass, integral)
    position = matmul(state.position, grow) + moved
    state = state._replace(position=position, cell=matmul(state.cell, grow))
    force, virial = force_fn(state.position, state.cell)
    state = state._replace(force=force, virial=virial)
    state = _kick_cell(settings, _kick_atoms(settings, state), pressure)
    return _apply_thermostats(settings, state, kT)


def bath_energy(state: NptState, kT: Scalar, pressure: Scalar) -> Array:
    """The energy that U + K lacks to be conserved."""
    chains = chain_energy(state.thermostat, kT) + chain_energy(state.barostat, kT)
    return (
        chains
        + cell_energy(state.cell_momentum, state.cell_mass)
        + pressure * volume(state.cell)
    )


def npt_invariant(energy_fn, state: NptState, pressure: Scalar, kT: Scalar, **kwargs) -> Array:
    """The conserved quantity, as `jax_md.simulate.npt_nose_hoover_invariant`."""
    potential = energy_fn(state.position, box=state.box, **kwargs)
    kinetic = kinetic_energy(state.momentum, state.mass)
    return potential + kinetic + bath_energy(state, kT, pressure)


def kinetic_energy(momentum: Float[Array, "atoms 3"], mass: Float[Array, "atoms 1"]) -> Array:
    """Of the atoms."""
    return 0.5 * jnp.sum(momentum**2 / mass)


def cell_energy(momentum: Matrix, mass: Scalar) -> Array:
    """Kinetic energy of the cell."""
    return jnp.sum(momentum**2) / (2.0 * mass)


def volume(cell) -> Array:
    """Volume of a cell."""
    return jnp.abs(jnp.linalg.det(cell))


def _kick_cell(settings: Barostat, state: NptState, pressure) -> NptState:
    degrees = degrees_of_freedom(len(state.position), settings.free)
    twice_kinetic = einsum("ia,ib->ab", state.momentum / state.mass, state.momentum)
    external = pressure * volume(state.cell) - jnp.trace(twice_kinetic) / degrees
    force = twice_kinetic + state.virial
    if settings.isotropic:
        force = jnp.trace(force) / 3.0 * jnp.eye(3, dtype=force.dtype)
    force = force - external * jnp.eye(3, dtype=force.dtype)
    return state._replace(cell_momentum=state.cell_momentum + settings.timestep / 2 * force)


def _kick_atoms(settings: Barostat, state: NptState) -> NptState:
    degrees = degrees_of_freedom(len(state.position), settings.free)
    rate = state.cell_momentum / state.cell_mass
    drag = rate + jnp.trace(rate) / degrees * jnp.eye(3, dtype=rate.dtype)
    grow, integral = exponentials(-drag, settings.timestep / 2)
    momentum = matmul(state.momentum, grow) + matmul(state.force, integral)
    return state._replace(momentum=momentum)


def _apply_thermostats(settings: Barostat, state: NptState, kT) -> NptState:
    atoms, cells = settings.chains
    chain = state.thermostat.set(kinetic_energy=kinetic_energy(state.momentum, state.mass))
    chain = atoms.update_mass(chain, kT)
    momentum, chain = atoms.half_step(state.momentum, chain, kT)
    of_cell = cell_energy(state.cell_momentum, state.cell_mass)
    cell_chain = cells.update_mass(state.barostat.set(kinetic_energy=of_cell), kT)
    cell_momentum, cell_chain = cells.half_step(state.cell_momentum, cell_chain, kT)
    after = state._replace(
        momentum=momentum,
        cell_momentum=cell_momentum,
        thermostat=chain,
        barostat=cell_chain,
    )
    return keep_dtypes(state, after)


def exponentials(rate: Matrix, time: Scalar) -> tuple[Matrix, Matrix]:
    r""":math:`e^{vt}` and :math:`\int_0^t e^{vs}ds` for a symmetric rate v."""
    values, axes = jnp.linalg.eigh(rate)
    x = values * time
    small = jnp.abs(x) < 1e-5
    safe = jnp.where(small, 1.0, x)
    quotient = jnp.where(small, 1.0 + x / 2.0, jnp.expm1(safe) / safe)
    grow, integral = jnp.exp(x), time * quotient
    return matmul(axes * grow, axes.T), matmul(axes * integral, axes.T)
