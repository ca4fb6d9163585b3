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

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.dynamics.config import Npt
from jles.dynamics.integrators import (
    Integrator,
    chain_energy,
    degrees_of_freedom,
    keep_dtypes,
    nose_hoover_chain,
    start_chain,
)
from jles.dynamics.motion import kinetic_energy
from jles.dynamics.units import FEMTOSECOND, PRESSURE_UNITS
from jles.typing import Scalar

Matrix = Float[Array, "3 3"]


class PressureBath(NamedTuple):
    """Barostat and thermostats.

    Attributes:
        momentum: momentum of the cell p_g, symmetric.
        mass: mass of the cell W, eV times internal time squared.
        virial: -dU/d strain at the current positions, eV.
        chain: thermostat of the atoms.
        cell_chain: thermostat of the cell.
    """

    momentum: Matrix
    mass: Array
    virial: Matrix
    chain: Any
    cell_chain: Any


def npt(masses, timestep: Scalar, config: Npt, free: bool = True) -> Integrator:
    """Integrator at constant pressure and temperature.

    Args:
        masses: u, (atoms, 1).
        timestep: fs.
        config: pressure, time constants and which changes of the cell are allowed.
        free: whether the total momentum is conserved.
    """
    dt = timestep * FEMTOSECOND
    degrees = degrees_of_freedom(len(masses), free)
    isotropic = config.cell == "isotropic"
    pressure = config.pressure * PRESSURE_UNITS[config.pressure_unit]
    barostat_time = config.barostat_time
    chain_fns = nose_hoover_chain(timestep, config.thermostat_time)
    cell_chain_fns = nose_hoover_chain(timestep, barostat_time)

    def start(motion, key, kT, virial):
        del key
        mass = (degrees + 3) / 3 * kT * (barostat_time * FEMTOSECOND) ** 2
        none = jnp.zeros((), motion.cell.dtype)
        bath = PressureBath(
            jnp.zeros_like(motion.cell),
            jnp.asarray(mass, motion.cell.dtype),
            virial,
            start_chain(chain_fns, degrees, kinetic_energy(motion.momenta, masses), kT),
            start_chain(cell_chain_fns, 1 if isotropic else 6, none, kT),
        )
        return motion._replace(bath=bath)

    def cell_force(motion):
        """Right-hand side of the equation of p_g."""
        twice_kinetic = jnp.einsum("ia,ib->ab", motion.momenta / masses, motion.momenta)
        external = pressure * volume(motion.cell) - jnp.trace(twice_kinetic) / degrees
        force = twice_kinetic + motion.bath.virial
        if isotropic:
            force = jnp.trace(force) / 3.0 * jnp.eye(3, dtype=force.dtype)
        return force - external * jnp.eye(3, dtype=force.dtype)

    def kick_cell(motion):
        bath = motion.bath
        momentum = bath.momentum + dt / 2 * cell_force(motion)
        return motion._replace(bath=bath._replace(momentum=momentum))

    def kick_atoms(motion):
        rate = motion.bath.momentum / motion.bath.mass
        drag = rate + jnp.trace(rate) / degrees * jnp.eye(3, dtype=rate.dtype)
        grow, integral = exponentials(-drag, dt / 2)
        return motion._replace(momenta=motion.momenta @ grow + motion.forces @ integral)

    def drift(motion):
        grow, integral = exponentials(motion.bath.momentum / motion.bath.mass, dt)
        positions = motion.positions @ grow + motion.momenta / masses @ integral
        return motion._replace(positions=positions, cell=motion.cell @ grow)

    def apply_thermostats(motion, kT):
        bath = motion.bath
        chain = bath.chain.set(kinetic_energy=kinetic_energy(motion.momenta, masses))
        chain = chain_fns.update_mass(chain, kT)
        momenta, chain = chain_fns.half_step(motion.momenta, chain, kT)
        cell_chain = bath.cell_chain.set(kinetic_energy=cell_energy(bath))
        cell_chain = cell_chain_fns.update_mass(cell_chain, kT)
        momentum, cell_chain = cell_chain_fns.half_step(bath.momentum, cell_chain, kT)
        after = bath._replace(momentum=momentum, chain=chain, cell_chain=cell_chain)
        return motion._replace(momenta=momenta, bath=keep_dtypes(bath, after))

    def step(motion, force_fn, kT):
        motion = kick_atoms(kick_cell(apply_thermostats(motion, kT)))
        motion = drift(motion)
        forces, virial = force_fn(motion.positions, motion.cell)
        motion = motion._replace(forces=forces, bath=motion.bath._replace(virial=virial))
        return apply_thermostats(kick_cell(kick_atoms(motion)), kT)

    def bath_energy(motion, kT):
        chains = chain_energy(motion.bath.chain, kT) + chain_energy(motion.bath.cell_chain, kT)
        return chains + cell_energy(motion.bath) + pressure * volume(motion.cell)

    return Integrator(start, step, bath_energy, degrees, moves_cell=True)


def cell_energy(bath: PressureBath) -> Array:
    """Kinetic energy of the cell, eV."""
    return jnp.sum(bath.momentum**2) / (2.0 * bath.mass)


def volume(cell) -> Array:
    """Volume, angstrom^3."""
    return jnp.abs(jnp.linalg.det(cell))


def exponentials(rate: Matrix, time: Scalar) -> tuple[Matrix, Matrix]:
    r""":math:`e^{vt}` and :math:`\int_0^t e^{vs}ds` for a symmetric rate v."""
    values, axes = jnp.linalg.eigh(rate)
    x = values * time
    small = jnp.abs(x) < 1e-5
    safe = jnp.where(small, 1.0, x)
    quotient = jnp.where(small, 1.0 + x / 2.0, jnp.expm1(safe) / safe)
    return (axes * jnp.exp(x)) @ axes.T, (axes * (time * quotient)) @ axes.T
