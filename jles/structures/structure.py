"""The record of one structure that every pure function takes."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jles.electrostatics.interaction import Boundary
from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.errors import InputError
from jles.products import matmul

# Data sets stay in host memory as NumPy arrays; compiled functions take both kinds. A structure
# of shapes and types describes the argument of a function that is exported.
HostOrDevice = Array | np.ndarray | jax.ShapeDtypeStruct


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Structure:
    """One padded structure, or a batch of them with a leading `structures` axis on every array.

    Neighbours are stored receiver by receiver: slot `n` of atom `i` holds the neighbour
    `j = neighbor_index[i, n]` in the image `neighbor_shift[i, n]`, so that the vector from `i`
    to it is `positions[j] + neighbor_shift[i, n] @ cell - positions[i]`. Sums over neighbours
    are reductions over an axis, never scatters.

    Attributes:
        positions: Cartesian, angstrom; need not be wrapped.
        cell: rows are lattice vectors, angstrom; the identity where nothing is periodic.
        numbers: atomic numbers; 0 for padding.
        mask: False for padding atoms, which have no energy and no charge.
        neighbor_index: `j` of each slot; padding slots point at the atom itself.
        neighbor_shift: integer image of each slot.
        neighbor_mask: False for padding slots.
        total_charge: e; the sum of the latent charges if the model enforces it.
        periodic: True for a crystal or slab, False for a cluster; selects the sum in a mixed
            batch.
        open_axis: lattice vector of a slab that is not periodic; -1 for crystals and clusters.
        slab_height: height of the cell a slab is summed in, angstrom; 1 for other structures.
        state: integer label of every atom, for models that read one; None for others.
        plan: static plan of the electrostatic sums, the same for every structure of a batch.
    """

    positions: Float[HostOrDevice, "*structures atoms 3"]
    cell: Float[HostOrDevice, "*structures 3 3"]
    numbers: Int[HostOrDevice, "*structures atoms"]
    mask: Bool[HostOrDevice, "*structures atoms"]
    neighbor_index: Int[HostOrDevice, "*structures atoms neighbors"]
    neighbor_shift: Int[HostOrDevice, "*structures atoms neighbors 3"]
    neighbor_mask: Bool[HostOrDevice, "*structures atoms neighbors"]
    total_charge: Float[HostOrDevice, "*structures"]
    periodic: Bool[HostOrDevice, "*structures"]
    open_axis: Int[HostOrDevice, "*structures"]
    slab_height: Float[HostOrDevice, "*structures"]
    state: Int[HostOrDevice, "*structures atoms"] | None = None
    plan: SumPlan = field(default=SumPlan(), metadata={"static": True})

    @property
    def boundary(self) -> Boundary:
        """The planned sum that the structure takes."""
        return Boundary(self.periodic, self.open_axis, self.slab_height)

    @property
    def slab(self) -> SlabPlan:
        """The cell that a slab is summed in."""
        return SlabPlan(self.open_axis, self.slab_height)


def check_structure(structure) -> None:
    """Refuses other objects, such as ASE atoms, where a `Structure` is needed.

    Raises:
        InputError: names the type and the way to a structure.
    """
    if not isinstance(structure, Structure):
        raise InputError(
            f"structure: is of type {type(structure).__name__}; "
            "pass potential.structure(atoms), or model.structure(atoms)"
        )


def check_dtype(what: str, dtype) -> None:
    """Refuses half precision, in which a coordinate of 20 angstrom has steps of 0.02 or 0.1.

    Raises:
        InputError: a type other than float32 and float64; begins with `what`.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise InputError(
            f"{what} in {np.dtype(dtype).name}; a model computes in float32 or float64 (for "
            "faster products on an accelerator set precision: default in its config)"
        )


def neighbor_positions(structure: Structure) -> Float[HostOrDevice, "atoms neighbors 3"]:
    """Positions of the neighbours of every atom, in the right image, angstrom."""
    positions, cell = structure.positions, structure.cell
    shifts = structure.neighbor_shift.astype(cell.dtype)
    return positions[structure.neighbor_index] + matmul(shifts, cell)


def neighbor_vectors(
    structure: Structure, neighbors: Float[HostOrDevice, "atoms neighbors 3"] | None = None
) -> Float[Array, "atoms neighbors 3"]:
    """Vectors from each atom to its neighbours, angstrom; padding slots hold (1000, 0, 0).

    This filler keeps functions of the distance and their derivatives finite in padding slots.

    Args:
        structure: one structure.
        neighbors: positions of the neighbours; by default `neighbor_positions`.
    """
    places = neighbor_positions(structure) if neighbors is None else neighbors
    filler = jnp.array([1e3, 0.0, 0.0], places.dtype)
    vectors = places - structure.positions[:, None, :]
    return jnp.where(structure.neighbor_mask[..., None], vectors, filler)
