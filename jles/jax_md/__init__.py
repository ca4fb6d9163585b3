"""Models for jax-md: neighbour list, energy, dipole, current and an integrator.

The functions are used like jax-md's own, with every integrator of jax-md. Lengths are in
angstrom, energies in eV, masses in u, so that times are in units of `ase.units.fs`:
`jax_md.units.metal_unit_system` has the same units.
"""

from jles.jax_md.bound import bind
from jles.jax_md.functions import current_fn as current_fn
from jles.jax_md.functions import dipole_fn as dipole_fn
from jles.jax_md.functions import energy_fn as energy_fn
from jles.jax_md.neighbors import NeighborFns as NeighborFns
from jles.jax_md.neighbors import NeighborList as NeighborList
from jles.jax_md.neighbors import neighbor_fns as neighbor_fns
from jles.jax_md.npt import npt_flexible_cell as npt_flexible_cell
from jles.jax_md.npt import npt_invariant as npt_invariant


def neighbor_list(model, atoms, skin: float = 0.5, capacity_multiplier: float = 1.25):
    """Neighbour list and energy of a model, as `jax_md.energy.*_neighbor_list` return them.

    Positions are Cartesian, angstrom, wrapped into the cell or not. Shift functions that fit
    are that of `jax_md.space.free` and that of `jax_md.space.periodic_general` with
    `fractional_coordinates=False`.

    Args:
        model: a `Model`, or a `Potential`, whose functions need `params=` then.
        atoms: `ase.Atoms`; elements, periodicity, total charge and cell are those of the run.
        skin: width of the shell beyond the cutoff that the list includes, angstrom;
            `dr_threshold` of jax-md. A larger one costs more per step and lasts longer.
        capacity_multiplier: slots per atom over neighbours at the time of allocation.

    Returns:
        neighbor_fn, energy_fn: see `NeighborFns` and `energy_fn`.

    Raises:
        InputError: an element the model does not know, or geometry that cannot be right.
    """
    bound = bind(model, atoms)
    return neighbor_fns(bound, skin, capacity_multiplier), energy_fn(bound)
