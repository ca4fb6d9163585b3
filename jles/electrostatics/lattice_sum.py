"""The convenience: moments, positions and cell in; energy, potential and field out.

Checks and plans on the host, then calls the pure functions of `ewald` and `realspace`.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jles.electrostatics import checks
from jles.electrostatics.ewald import background_energy, ewald_energy
from jles.electrostatics.kgrid import KGrid, plan_kgrid
from jles.electrostatics.realspace import cluster_energy
from jles.typing import Charges


class Multipoles(NamedTuple):
    """Moments of the atoms: charges e, dipoles e angstrom, quadrupoles e angstrom^2."""

    charges: Charges
    dipoles: Float[Array, "atoms 3"] | None = None
    quadrupoles: Float[Array, "atoms 3 3"] | None = None


class Response(NamedTuple):
    """How moments answer potential and field; nothing answers where both are None."""

    charge_softness: Float[Array, " atoms"] | None = None
    polarizabilities: Float[Array, " atoms"] | Float[Array, "atoms 3 3"] | None = None
    mode: Literal["one-shot", "self-consistent"] = "one-shot"


class LatticeSum(NamedTuple):
    """Energy (eV), potential (V) and field (V/angstrom) at the atoms, and their sources.

    With charges (atoms, channels) the potential has their shape, the field one axis more.
    """

    energy: Float[Array, ""]
    potential: Float[Array, " atoms"] | Float[Array, "atoms channels"]
    field: Float[Array, "atoms 3"] | Float[Array, "atoms channels 3"]
    effective: Multipoles


def _energy(charges, positions, cell, sigma, k_max, *, grid, cutoff, remove_self, background):
    """One scalar of which potential and field are derivatives; `grid` None is a cluster."""
    if grid is None:
        return cluster_energy(charges, positions, sigma=sigma, remove_self=remove_self)
    energy = ewald_energy(
        charges,
        positions,
        cell,
        sigma=sigma,
        k_max=k_max,
        grid=grid,
        cutoff=cutoff,
        remove_self=remove_self,
    )
    if background == "point":
        volume = jnp.abs(jnp.linalg.det(cell))
        energy -= background_energy(jnp.sum(charges, axis=0), volume, sigma)
    return energy


@partial(jax.jit, static_argnames=("grid", "cutoff", "remove_self", "background"))
def _evaluate(charges, positions, cell, sigma, k_max, **static):
    """Energy, phi = dE/dq and -grad phi; a probe p at an atom feels phi = dE/dp at p = 0."""
    columns = charges.reshape(charges.shape[0], -1)

    def energy_fn(sources, places):
        return _energy(sources, places, cell, sigma, k_max, **static)

    def potential_sum(places, direction):
        def with_probes(probes):
            return energy_fn(
                jnp.concatenate([columns, probes]), jnp.concatenate([positions, places])
            )

        return jax.jvp(with_probes, (jnp.zeros_like(columns),), (direction,))[1]

    energy, potential = jax.value_and_grad(energy_fn)(columns, positions)
    # One channel after the other: a unit probe at every atom, in that channel alone.
    directions = jnp.broadcast_to(
        jnp.eye(columns.shape[1], dtype=columns.dtype)[:, None, :],
        (columns.shape[1], *columns.shape),
    )
    field = -jax.vmap(jax.grad(potential_sum), in_axes=(None, 0), out_axes=1)(positions, directions)
    return energy, potential.reshape(charges.shape), field.reshape(*charges.shape, 3)


def _wrapped_on_host(positions, cell, host_positions, host_cell):
    """Positions in the cell, exact to float64 before they are rounded to the working precision.

    As functions of positions and cell they are r - n cell with constant integers n, which is
    what derivatives see, while the value is the host's.
    """
    cells_away = np.round(host_positions @ np.linalg.inv(host_cell))
    value = jnp.asarray(host_positions - cells_away @ host_cell, positions.dtype)
    images = jnp.asarray(cells_away, positions.dtype)
    moved = positions - lax.stop_gradient(positions)
    strained = cell - lax.stop_gradient(cell)
    return value + moved - jnp.matmul(images, strained, precision=lax.Precision.HIGHEST)


def lattice_sum(
    multipoles: Multipoles,
    positions,
    cell=None,
    *,
    pbc=True,
    sigma=1.0,
    k_max=3.14159,
    cutoff: str = "sharp",
    method: str = "auto",
    remove_self: bool = True,
    background: str = "smeared",
    response: Response | None = None,
    field=None,
    grid: KGrid | None = None,
) -> LatticeSum:
    r"""Energy of smeared charges and the potential and field they make at the atoms.

    A crystal (`pbc` all true) is summed in reciprocal space, `ewald_energy`; a cluster (all
    false) over pairs, `cluster_energy`. Potential and field are derivatives of that energy:
    :math:`\phi_i = \partial E/\partial q_i` and :math:`-\nabla\phi` by a probe charge at r_i.
    With `remove_self` an atom does not feel itself.

    Differentiable, to any order, in positions, cell and charges, also under `jax.grad` and
    `jax.jvp`. Under `jit` or `vmap` a traced cell cannot be planned for: pass
    `grid=plan_kgrid(cell, k_max)`, made beforehand.

    Args:
        multipoles: `charges` (atoms,) or (atoms, channels), e. This version sums charges only.
        positions: (atoms, 3), angstrom; need not be wrapped.
        cell: (3, 3), rows are lattice vectors, angstrom; may be None for a cluster.
        pbc: True, False or three booleans, all alike in this version.
        sigma: smearing width, angstrom.
        k_max: cutoff of the reciprocal sum, 1/angstrom.
        cutoff: "sharp" sphere or "smooth", see `ewald_energy`.
        method: "ewald"; "auto" is the same in this version.
        remove_self: leave out the energy of each smeared charge with itself.
        background: of a charged crystal: "smeared", or "point", the conventional uniform
            background of point charges, which subtracts `background_energy`.
        response: must have nothing in it, in this version.
        field: must be None in this version.
        grid: static plan, for traced cells or to share compilations among similar cells.

    Returns:
        LatticeSum: energy, potential, field, effective, in the dtype of charges and positions.

    Raises:
        InputError: what was given, and what would be right.
    """
    checks.check_scope(multipoles, response, field, method)
    checks.check_options(sigma, k_max, cutoff, background)
    periodic = checks.is_periodic(pbc)
    charges, positions = checks.charges_and_positions(multipoles.charges, positions)
    host_cell, host_positions = None, checks.concrete(positions)
    if periodic:
        cell = checks.cell_array(cell)
        host_cell = checks.concrete(cell)
        if grid is None:
            if host_cell is None:
                raise checks.traced_cell_error()
            grid = plan_kgrid(host_cell, k_max)
        elif host_cell is not None:
            checks.check_grid(grid, host_cell, k_max)
    else:
        cell, grid = np.eye(3), None
    dtype = jnp.result_type(charges, positions)
    charges, positions, cell = (jnp.asarray(x, dtype) for x in (charges, positions, cell))
    if host_cell is not None and host_positions is not None:
        positions = _wrapped_on_host(positions, cell, host_positions, host_cell)
    energy, potential, field_at_atoms = _evaluate(
        charges,
        positions,
        cell,
        sigma,
        k_max,
        grid=grid,
        cutoff=cutoff,
        remove_self=remove_self,
        background=background,
    )
    return LatticeSum(energy, potential, field_at_atoms, Multipoles(charges))
