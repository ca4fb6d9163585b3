"""Energy, dipole and current of a model as functions of positions and a neighbour list."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from jles.errors import InputError
from jles.jax_md.bound import Bound, bind
from jles.jax_md.neighbors import NeighborList, near_neighbors
from jles.products import matmul
from jles.quantities.evaluation import Evaluation

PASSED_ON = {"kT", "dt", "gamma", "pressure", "t", "tau", "mass"}
"""Keywords of jax-md's integrators that they hand on to the energy, which ignores them."""


def energy_fn(model, atoms=None):
    r"""Energy of a model for jax-md: `energy_fn(R, neighbor=..., box=..., field=...)`.

    The function is pure. Its derivative with respect to the positions are the exact forces,
    also in a field in a crystal (docs/theory.md, Polarization of a crystal). Its arguments are

    - R: Cartesian, angstrom, (atoms, 3), wrapped into the cell or not;
    - neighbor: a `NeighborList` that was updated for the last step;
    - box: as in jax-md, see `Bound.cell`; by default the cell of the atoms;
    - field: V/angstrom, (3,), by default none; the energy is then the enthalpy;
    - perturbation: a factor or a matrix by which positions and box are multiplied, as
      `jax_md.quantity.stress` needs; the voltages across the cell stay fixed;
    - params: other parameters than the model's.

    It is in eV, without the energies of free atoms, and NaN if the list is too small.

    Args:
        model: a `Model` or a `Potential`.
        atoms: `ase.Atoms`, see `jles.jax_md.neighbor_list`.
    """
    bound = bind(model, atoms)

    def energy(
        R, neighbor=None, box=None, field=None, perturbation=None, params=None, **passed_on
    ):
        _check(bound, neighbor, passed_on)
        params = bound.parameters(params)
        position, cell = bound.positions(R), bound.cell(box)
        structure, sound = near_neighbors(bound, position, cell, neighbor)
        if field is not None:
            _check_charges(bound, "field")
            field = jnp.asarray(field, bound.dtype)
        if perturbation is not None:
            structure, field = _perturbed(structure, field, perturbation)
        value = bound.potential.enthalpy_fn(params, structure, field)
        return (sound * value).astype(jnp.result_type(R))

    return energy


def dipole_fn(model, atoms):
    """Dipole or polarization: `dipole_fn(R, neighbor=..., box=...) -> (3,)`, e angstrom.

    In a crystal it is that of the cell, on the branch of the positions, and its derivatives
    are exact: do not wrap the positions, or it jumps. Arguments as of `energy_fn`.

    Raises:
        InputError: the model has no latent charges, or the backbone needs copies of a cell
            that are too few.
    """
    bound = bind(model, atoms)
    _check_charges(bound, "dipole_fn")

    def dipole(R, neighbor=None, box=None, params=None, **passed_on):
        _check(bound, neighbor, passed_on)
        position, cell = bound.positions(R), bound.cell(box)
        structure, sound = near_neighbors(bound, position, cell, neighbor)
        return sound * bound.potential.dipole_fn(bound.parameters(params), structure)

    return dipole


def current_fn(model, atoms):
    r"""Current: `current_fn(R, velocity, neighbor=..., box=...) -> (3,)`.

    .. math:: \dot P = \sum_i Z^*_i v_i

    with Born charges :math:`Z^*` that obey the acoustic sum rule, in e angstrom per unit of
    time of the velocities. It never jumps, however the positions are wrapped. Charge that flows
    because the cell changes is left out. Arguments as of `energy_fn`.

    Raises:
        InputError: the model has no latent charges, or the backbone needs copies of a cell
            that are too few.
    """
    bound = bind(model, atoms)
    _check_charges(bound, "current_fn")

    def current(R, velocity, neighbor=None, box=None, params=None, **passed_on):
        _check(bound, neighbor, passed_on)
        position, cell = bound.positions(R), bound.cell(box)
        structure, sound = near_neighbors(bound, position, cell, neighbor)
        evaluation = Evaluation(bound.potential, bound.parameters(params), structure)
        return sound * evaluation.current(bound.positions(velocity))

    return current


def _perturbed(structure, field, perturbation):
    """Structure and field under a strain at fixed voltages."""
    one = jnp.eye(3, dtype=structure.positions.dtype)
    factor = perturbation * one if jnp.ndim(perturbation) == 0 else jnp.asarray(perturbation)
    strained = {
        name: matmul(getattr(structure, name), factor.T) for name in ("positions", "cell")
    }
    if field is not None:
        field = jnp.linalg.solve(factor.T, field)
    return replace(structure, **strained), field


def _check(bound: Bound, neighbor, passed_on) -> None:
    if not isinstance(neighbor, NeighborList):
        raise InputError(
            f"neighbor must be a NeighborList of jles.jax_md, got {type(neighbor).__name__}; "
            "give neighbor=neighbors"
        )
    for name in passed_on:
        if name not in PASSED_ON:
            raise InputError(
                f"'{name}' is no argument of this function; it takes neighbor, box, field, "
                "perturbation and params"
            )


def _check_charges(bound: Bound, name: str) -> None:
    if bound.potential.config.charges is None:
        raise InputError(f"{name}: the model has no latent charges")
    bound.potential.config.backbone.check_cell(np.asarray(bound.structure.cell), bound.pbc)
