"""Functions that work under a device mesh with explicit axes.

`jax.make_mesh` makes meshes with explicit axes: the sharding of an array is part of its type,
and operations whose result has no obvious sharding (sorting, gathering, splitting a sharded
axis) are refused. `any_mesh` computes such a function with automatic axes inside: the compiler
shards the intermediate arrays, and the results have explicit shardings again.
"""

from collections.abc import Callable
from functools import wraps

import jax
from jax.sharding import (
    AxisType,
    PartitionSpec,
    auto_axes,
    get_abstract_mesh,
    use_abstract_mesh,
)


def any_mesh(result: Callable | None = None):
    """A decorator: the function also works where mesh axes are explicit.

    Args:
        result: `(*args, **options) -> PartitionSpec` of the results, or a tree of them, from
            the arguments of the function. By default results are on every device, which suits
            scalars.
    """

    def decorate(function):
        @wraps(function)
        def wrapped(*args, **options):
            leaves, tree = jax.tree.flatten((args, options))
            places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
            mesh = _explicit_mesh([leaves[n] for n in places])
            if mesh is None:
                return function(*args, **options)

            def of_arrays(*arrays):
                filled = list(leaves)
                for n, array in zip(places, arrays, strict=True):
                    filled[n] = array
                args, options = jax.tree.unflatten(tree, filled)
                return function(*args, **options)

            specs = PartitionSpec() if result is None else result(*args, **options)
            with use_abstract_mesh(mesh):
                return auto_axes(of_arrays, out_sharding=specs)(*(leaves[n] for n in places))

        return wrapped

    return decorate


def spec_of(array) -> PartitionSpec:
    """The sharding of an array over explicit mesh axes."""
    return jax.typeof(array).sharding.spec


def leading_spec(array) -> PartitionSpec:
    """The sharding of the first axis of an array, for results with the same first axis."""
    return PartitionSpec(*spec_of(array)[:1])


def on_several_devices(array) -> bool:
    """Whether an array that is being traced belongs to a mesh of more than one device.

    Inside of `jax.shard_map` it does not: every device has an array of its own there.
    """
    meshes = (jax.typeof(array).sharding.mesh, get_abstract_mesh())
    return any(mesh.size > 1 for mesh in meshes if not (mesh.empty or mesh.are_all_axes_manual))


def _explicit_mesh(arrays):
    """The mesh of the context or of the arrays if it has explicit axes; otherwise None."""
    meshes = [get_abstract_mesh(), *(jax.typeof(array).sharding.mesh for array in arrays)]
    mesh = next((mesh for mesh in meshes if not mesh.empty), None)
    return mesh if mesh is not None and AxisType.Explicit in mesh.axis_types else None
