"""Structures for `jax.export`: serialisation, and symbolic numbers of atoms and neighbours."""

import json
from typing import Any

import jax
from jax import export

from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.mesh import MeshPlan
from jles.structures.structure import Structure

_AXES = {
    "positions": ("atoms", None),
    "numbers": ("atoms",),
    "mask": ("atoms",),
    "state": ("atoms",),
    "neighbor_index": ("atoms", "neighbors"),
    "neighbor_shift": ("atoms", "neighbors", None),
    "neighbor_mask": ("atoms", "neighbors"),
}
"""Axes of the arrays of a structure whose lengths differ from structure to structure."""


def symbolic_structure(structure: Structure, atoms: Any = None, neighbors: Any = None):
    """Shapes and types of a structure, as `jax.export.export` takes them for its arguments.

    Structures have the same type in a program that is loaded again: this module registers
    `Structure` and `Multipoles` for serialisation. The plan of the sums stays that of
    `structure`.

    Args:
        structure: one structure, for types and plan.
        atoms: number of atoms, or a dimension of `jax.export.symbolic_shape`; by default a
            symbolic one.
        neighbors: number of neighbours, as for atoms.
    """
    lengths = dict(zip(("atoms", "neighbors"), dimensions(atoms, neighbors), strict=True))

    def shape_of(path, array):
        axes = _AXES.get(path[-1].name, (None,) * array.ndim)
        shape = [lengths.get(axis, n) for axis, n in zip(axes, array.shape, strict=True)]
        return jax.ShapeDtypeStruct(shape, array.dtype)

    return jax.tree_util.tree_map_with_path(shape_of, structure)


def dimensions(atoms: Any = None, neighbors: Any = None) -> tuple[Any, Any]:
    """The given numbers, and symbolic dimensions of one scope in place of None."""
    symbols = dict(
        zip(("atoms", "neighbors"), export.symbolic_shape("atoms, neighbors"), strict=True)
    )
    return (
        symbols["atoms"] if atoms is None else atoms,
        symbols["neighbors"] if neighbors is None else neighbors,
    )


def _plan_to_bytes(auxdata) -> bytes:
    (plan,) = auxdata
    return json.dumps([plan.grid, plan.mesh, plan.slab, plan.cluster]).encode()


def _plan_from_bytes(data: bytes) -> tuple:
    grid, mesh, slab, cluster = json.loads(data)
    parts = zip((KGrid, MeshPlan, SlabPlan), (grid, mesh, slab), strict=True)
    made = (None if values is None else kind(*values) for kind, values in parts)
    return (SumPlan(*made, cluster),)


export.register_pytree_node_serialization(
    Structure,
    serialized_name="jles.Structure",
    serialize_auxdata=_plan_to_bytes,
    deserialize_auxdata=_plan_from_bytes,
)
export.register_namedtuple_serialization(Multipoles, serialized_name="jles.Multipoles")
