"""Building, padding and stacking structures, so that many share one compilation."""

import jax
import jax.numpy as jnp
import numpy as np

from jles.electrostatics.plan import SlabPlan, SumPlan, plan_sum
from jles.electrostatics.sums.slab import open_middle
from jles.errors import InputError
from jles.lattice import inverse, reduction
from jles.structures.neighbors import (
    NeighborTable,
    check_geometry,
    find_neighbors,
    rewrap_shifts,
    volume_cell,
    wrap,
)
from jles.structures.sizes import Size as Size
from jles.structures.sizes import check_merged
from jles.structures.sizes import merge_sizes as merge_sizes
from jles.structures.sizes import plan_buckets as plan_buckets
from jles.structures.sizes import round_up_size as round_up_size
from jles.structures.structure import Structure, check_dtype


def build_structure(
    numbers,
    positions,
    cell,
    pbc,
    *,
    cutoff: float,
    k_max: float | None,
    sigma: float = 1.0,
    method: str = "direct",
    accuracy: float = 1e-4,
    rank: int = 0,
    margin: float = 0.0,
    total_charge: float = 0.0,
    state=None,
    size: Size | None = None,
    neighbors: NeighborTable | None = None,
    wrapped: bool = True,
    dtype=np.float32,
) -> Structure:
    """A structure of NumPy arrays, ready for `stack` or for a compiled function.

    In float64, before the cast to `dtype`, skewed cells are reduced (see `reduction`), atoms
    are wrapped into the cell, and clusters and slabs moved to the origin along their open
    directions, so that atoms far away keep their digits; unless `wrapped` is False. The strain
    of a reduced cell is that of the given one.

    Args:
        numbers: atomic numbers, (atoms,).
        positions: Cartesian, angstrom, (atoms, 3); need not be wrapped.
        cell: rows are lattice vectors, angstrom; ignored where nothing is periodic.
        pbc: one boolean or three.
        cutoff: of the neighbours, angstrom.
        k_max: of the reciprocal sum, 1/angstrom; None for a model without a long-range part.
        sigma: smearing width, angstrom; it enters the height of the cell of a slab.
        method: "direct", "mesh" or "auto", see `plan_sum`.
        accuracy: relative error of the forces of the particle mesh.
        rank: highest moment that is summed, 0 to 2.
        margin: relative growth of the cell edges to leave room for.
        total_charge: e.
        state: integer label of every atom, (atoms,), for models that read one.
        size: pad to this; by default no padding.
        neighbors: of these `positions`, if they are known already.
        wrapped: False keeps positions and cell as they are, as dynamics needs.
        dtype: of the real arrays.

    Raises:
        InputError: geometry that `find_neighbors` refuses, one periodic direction with a
            long-range part, or half precision.
    """
    check_dtype("a structure", dtype)
    positions, cell, pbc = check_geometry(positions, cell, pbc)
    numbers = np.asarray(numbers)
    if numbers.shape != (len(positions),) or len(numbers) == 0:
        raise InputError(
            f"{len(positions)} positions but numbers of shape {numbers.shape}; "
            "a structure needs one atomic number per atom and at least one atom"
        )
    if wrapped and pbc.any():
        turn = reduction(cell, pbc)
        cell = turn @ cell
        if neighbors is not None and np.any(turn != np.eye(3)):
            neighbors = neighbors._replace(shift=neighbors.shift @ inverse(turn))
    plan = SumPlan()
    if k_max is not None:
        options = {"method": method, "accuracy": accuracy, "rank": rank, "margin": margin}
        plan = plan_sum(cell, positions, pbc, k_max=k_max, sigma=sigma, **options)
    slab = plan.slab or SlabPlan(-1, 1.0)
    if neighbors is None:
        neighbors = find_neighbors(positions, cell, pbc, cutoff)
    shift = neighbors.shift
    if wrapped:
        positions, images = wrap(positions, cell, pbc)
        shift = rewrap_shifts(neighbors, images)
    if wrapped:
        positions = positions - open_middle(positions, cell, np.flatnonzero(~pbc))
    structure = Structure(
        positions=positions.astype(dtype),
        cell=volume_cell(cell, pbc).astype(dtype),
        numbers=numbers.astype(np.int32),
        mask=np.ones(len(numbers), bool),
        neighbor_index=neighbors.index,
        neighbor_shift=_compact(shift) if wrapped else shift.astype(np.int32),
        neighbor_mask=neighbors.mask,
        total_charge=np.asarray(total_charge, dtype),
        periodic=np.asarray(pbc.any()),
        open_axis=np.asarray(slab.axis, np.int32),
        slab_height=np.asarray(slab.height, dtype),
        state=None if state is None else np.asarray(state, np.int32),
        plan=plan.for_batch(),
    )
    own = size_of(structure)
    # At least one slot: an isolated atom must not make an axis of length zero.
    return pad_structure(structure, size or own._replace(neighbors=max(own.neighbors, 1)))


def size_of(structure: Structure) -> Size:
    """The size of a structure, or that of every structure in a batch."""
    atoms, neighbors = structure.neighbor_index.shape[-2:]
    return Size(atoms, neighbors, structure.plan)


def pad_structure(structure: Structure, size: Size) -> Structure:
    """The same structure or batch, padded to larger arrays.

    Padding atoms have number 0, mask False, position zero and label 0. Padding slots point at
    the atom itself. The plan of the sums becomes that of `size`, which must cover that of the
    structure.

    Raises:
        ValueError: `size` is too small.
    """
    own = size_of(structure)
    if np.any(structure.open_axis >= 0) and own.plan.periodic and own.plan.slab is None:
        raise ValueError("open_axis is that of a slab, but the structure's plan has none")
    if merge_sizes([own, size]) != size:
        raise ValueError(f"a structure of {own} does not fit into {size}")
    axes = {
        "positions": (size.atoms, 3),
        "numbers": (size.atoms,),
        "mask": (size.atoms,),
        "neighbor_shift": (size.atoms, size.neighbors, 3),
        "neighbor_mask": (size.atoms, size.neighbors),
    }
    if structure.state is not None:
        axes["state"] = (size.atoms,)
    arrays = {name: _grow(getattr(structure, name), shape) for name, shape in axes.items()}
    index = _grow(structure.neighbor_index, (size.atoms, size.neighbors))
    itself = np.arange(size.atoms, dtype=index.dtype)[:, None]
    return Structure(
        **arrays,
        neighbor_index=np.where(arrays["neighbor_mask"], index, itself),
        cell=np.asarray(structure.cell),
        total_charge=np.asarray(structure.total_charge),
        periodic=np.asarray(structure.periodic),
        open_axis=np.asarray(structure.open_axis),
        slab_height=np.asarray(structure.slab_height),
        plan=size.plan,
    )


def stack(structures) -> Structure:
    """A batch: structures padded to their smallest common size, on a new leading axis."""
    structures = list(structures)
    size = merge_sizes(size_of(structure) for structure in structures)
    check_merged(size)
    padded = [pad_structure(structure, size) for structure in structures]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *padded)


def empty_structure(size: Size, dtype=np.float32, labelled: bool = False) -> Structure:
    """A structure of padding alone, to fill the last batch; with a `state` if `labelled`."""
    return Structure(
        positions=np.zeros((size.atoms, 3), dtype),
        cell=np.eye(3, dtype=dtype),
        numbers=np.zeros(size.atoms, np.int32),
        mask=np.zeros(size.atoms, bool),
        neighbor_index=np.repeat(
            np.arange(size.atoms, dtype=np.int32)[:, None], size.neighbors, axis=1
        ),
        neighbor_shift=np.zeros((size.atoms, size.neighbors, 3), np.int16),
        neighbor_mask=np.zeros((size.atoms, size.neighbors), bool),
        total_charge=np.zeros((), dtype),
        periodic=np.asarray(size.plan.periodic),
        open_axis=np.asarray(-1, np.int32),
        slab_height=np.ones((), dtype),
        state=np.zeros(size.atoms, np.int32) if labelled else None,
        plan=size.plan,
    )


def on_device(structure: Structure) -> Structure:
    """The same structure with JAX arrays, for functions that are called without `jit`."""
    return jax.tree.map(jnp.asarray, structure)


def _compact(shift):
    # Neighbours take most of the memory of a data set; 16 bits hold any image of wrapped atoms.
    if np.abs(shift).max(initial=0) > np.iinfo(np.int16).max:
        raise InputError("the cell is so skewed that neighbours lie over 32767 cells away")
    return shift.astype(np.int16)


def _grow(array, shape):
    array = np.asarray(array)
    lead = array.ndim - len(shape)
    more = [(0, 0)] * lead + [
        (0, new - old) for new, old in zip(shape, array.shape[lead:], strict=True)
    ]
    return np.pad(array, more) if any(pad for _, pad in more) else array
