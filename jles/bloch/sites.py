"""Marks the values of a traced function that depend on positions, and where they belong.

The function takes edge vectors, senders and receivers (docs/foreign-models.md). Every value is
marked: `Site` for one that depends on positions, `Ends` for senders and receivers, None for
everything else. A value that depends on positions has one axis of atoms or edges. An operation
that mixes its entries along this axis is refused, unless it has a Bloch weight.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, NoReturn

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jles.errors import InputError


class Site(NamedTuple):
    """Mark of a value that depends on positions.

    Attributes:
        of: "atoms" or "edges"; what belongs to an edge is seen from its receiver.
        axis: of the atoms or edges.
        reach: how many edges lie between an atom and the atoms that change its value.
    """

    of: str
    axis: int
    reach: int


class Ends(NamedTuple):
    """Mark of the indices of the atoms at the ends of all edges.

    Attributes:
        of: "senders" or "receivers".
        axis: of the edges.
        wrapped: whether the number of atoms was added, as for negative indices.
    """

    of: str
    axis: int
    wrapped: bool = False


Mark = Site | Ends | None


class Followed(NamedTuple):
    """The effect of one operation.

    Attributes:
        marks: of its results.
        carries: "gather" if it takes values from senders, "scatter" if it adds values to them,
            "inside" if it is a call of a function that does one of them; else None.
    """

    marks: list[Mark]
    carries: str | None = None


NO_FORWARD_MODE = (
    "exact Born charges: a function with a rule by jax.custom_vjp has no derivatives in "
    "forward mode; give it a rule by jax.custom_jvp"
)


def refuse(name: str, why: str) -> NoReturn:
    """Refuses a primitive that cannot be followed.

    Raises:
        InputError: always.
    """
    raise InputError(
        f"exact Born charges by tracing: cannot follow the primitive '{name}' {why}; set "
        "carries to 'replica'"
    )


_NAMES = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp conj
convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
floor ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul name ne
neg nextafter not optimization_barrier or pow real reduce_precision rem round rsqrt select_n
sign sin sinh sqrt square stop_gradient sub tan tanh xor
"""
_ELEMENTWISE = frozenset(_NAMES.split())
_REDUCE = frozenset(f"reduce_{name}" for name in ("and", "max", "min", "or", "prod", "sum"))
_REDUCE |= {"argmax", "argmin"}
_ALONG = {
    "concatenate": "dimension",
    "cumlogsumexp": "axis",
    "cummax": "axis",
    "cummin": "axis",
    "cumprod": "axis",
    "cumsum": "axis",
    "sort": "dimension",
    "split": "axis",
}
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}
_CUSTOM = {"custom_jvp_call": "call_jaxpr"}
_KEEP_ENDS = ("broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze")


def called(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The function that an operation calls; None if it is no call."""
    name = eqn.primitive.name
    key = _CALLS.get(name) or _CUSTOM.get(name)
    if key is None:
        return None
    inner = eqn.params[key]
    return ClosedJaxpr(inner, ()) if isinstance(inner, Jaxpr) else inner


def live(jaxpr: Jaxpr, used: Sequence[bool]) -> list[tuple[JaxprEqn, list[bool]]]:
    """The operations that the used results need, and which results of each are needed."""
    results = zip(jaxpr.outvars, used, strict=True)
    needed = {var for var, use in results if use and not isinstance(var, Literal)}
    chosen = []
    for eqn in reversed(jaxpr.eqns):
        use = [var in needed for var in eqn.outvars]
        if any(use):
            chosen.append((eqn, use))
            needed |= {var for var in eqn.invars if not isinstance(var, Literal)}
    return chosen[::-1]


def follow(
    jaxpr: Jaxpr, marks: Sequence[Mark], used: Sequence[bool], atoms: int
) -> tuple[list[Mark], bool]:
    """Marks of the results of a function, and whether it carries values between atoms.

    Args:
        jaxpr: the function.
        marks: of its arguments.
        used: which of its results are used; what only others need is left out.
        atoms: their number.

    Raises:
        InputError: an operation that cannot be followed; its primitive is named.
    """
    known = dict(zip(jaxpr.invars, marks, strict=True))
    carries = False
    for eqn, use in live(jaxpr, used):
        found = follow_one(eqn, [mark_of(var, known) for var in eqn.invars], use, atoms)
        carries |= found.carries is not None
        known.update(zip(eqn.outvars, found.marks, strict=True))
    return [mark_of(var, known) for var in jaxpr.outvars], carries


def mark_of(var, known: dict) -> Mark:
    """The mark of an argument or result; None for a constant."""
    return None if isinstance(var, Literal) else known.get(var)


def follow_one(
    eqn: JaxprEqn, marks: Sequence[Mark], used: Sequence[bool], atoms: int
) -> Followed:
    """The effect of one operation on marked values; arguments and errors as of `follow`."""
    name = eqn.primitive.name
    inner = called(eqn)
    if inner is not None:
        of_results, carries = follow(inner.jaxpr, marks, used, atoms)
        if carries and name in _CUSTOM:
            refuse(name, "that takes values from senders")
        return Followed(of_results, "inside" if carries else None)
    if not any(isinstance(mark, Site) for mark in marks):
        return Followed([_ends(eqn, marks, atoms)] * len(eqn.outvars))
    if name.startswith("custom_vjp_call"):
        raise InputError(NO_FORWARD_MODE)
    if name == "gather":
        return _gather(eqn, marks)
    if name.startswith("scatter"):
        return _scatter(eqn, marks)
    return Followed([_site(eqn, marks)] * len(eqn.outvars))


def _ends(eqn, marks, atoms) -> Ends | None:
    """The mark of the result where it is still senders or receivers."""
    name = eqn.primitive.name
    ends = [mark for mark in marks if isinstance(mark, Ends)]
    if not ends or len({mark.of for mark in ends}) > 1:
        return None
    first = ends[0]
    if name == "convert_element_type" and not _holds_indices(eqn.params["new_dtype"]):
        return None
    if name in _KEEP_ENDS:
        axis = _moved(eqn, first.axis)
        return None if axis is None else first._replace(axis=axis)
    if name == "add" and len(ends) == 1:
        others = [var for var, mark in zip(eqn.invars, marks, strict=True) if mark is None]
        number = others[0].val if isinstance(others[0], Literal) else None
        # In a program of any size this number is a symbol; the function was checked before.
        number = number if isinstance(atoms, int) else atoms
        return first._replace(wrapped=True) if number == atoms else None
    if name == "select_n" and {mark and mark.axis for mark in marks[1:]} == {first.axis}:
        # One branch for negative indices and one for others, or only one kind of both.
        return first._replace(wrapped=all(mark.wrapped for mark in ends))
    return None


def _holds_indices(dtype) -> bool:
    """True for integer types that are wide enough to number the atoms."""
    return np.issubdtype(dtype, np.integer) and np.iinfo(dtype).bits >= 32


def _moved(eqn, axis: int) -> int | None:
    """The place of an axis of the first argument in the result; None if it is gone."""
    name, params = eqn.primitive.name, eqn.params
    old, new = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    if name == "broadcast_in_dim":
        return params["broadcast_dimensions"][axis]
    if name == "transpose":
        return params["permutation"].index(axis)
    if name in ("squeeze", *_REDUCE):
        gone = params["dimensions" if name == "squeeze" else "axes"]
        return None if axis in gone else axis - sum(one < axis for one in gone)
    if name == "reshape":
        if params["dimensions"] is not None:
            return None
        places = range(len(new))
        fits = (n for n in places if new[n] == old[axis] and prod(new[:n]) == prod(old[:axis]))
        return next(fits, None)
    return axis


def _site(eqn, marks) -> Site:
    """The mark of the result of an operation that keeps atoms and edges apart."""
    name, params = eqn.primitive.name, eqn.params
    sites = [mark for mark in marks if isinstance(mark, Site)]
    first = sites[0]._replace(reach=max(mark.reach for mark in sites))
    if name == "dot_general":
        return first._replace(axis=_product_axis(eqn, marks))
    if len({(mark.of, mark.axis) for mark in sites}) > 1:
        if name in _ELEMENTWISE or name in _ALONG:
            refuse(name, "of values of atoms and edges")
        refuse(name, "on values that depend on positions")
    axis = first.axis
    if name in _ELEMENTWISE:
        return first
    mixes = f"along the {first.of}"
    if name in ("broadcast_in_dim", "transpose", "squeeze", "reshape", *_REDUCE):
        moved = _moved(eqn, axis)
        if moved is None:
            refuse(name, mixes)
        return first._replace(axis=moved)
    if name in _ALONG:
        if params[_ALONG[name]] == axis:
            refuse(name, mixes)
        return first
    if name == "stack":
        return first._replace(axis=axis + (params["axis"] <= axis))
    if name == "unstack":
        if params["axis"] == axis:
            refuse(name, mixes)
        return first._replace(axis=axis - (params["axis"] < axis))
    whole = eqn.invars[0].aval.shape[axis] if axis < eqn.invars[0].aval.ndim else None
    kept = {
        "slice": lambda: (
            params["start_indices"][axis] == 0
            and params["limit_indices"][axis] == whole
            and (params["strides"] or {axis: 1})[axis] == 1
        ),
        "dynamic_slice": lambda: params["slice_sizes"][axis] == whole,
        "dynamic_update_slice": lambda: eqn.invars[1].aval.shape[axis] == whole,
        "pad": lambda: tuple(params["padding_config"][axis]) == (0, 0, 0),
        "rev": lambda: axis not in params["dimensions"],
    }
    if name not in kept:
        refuse(name, "on values that depend on positions")
    if not kept[name]():
        refuse(name, mixes)
    return first


def _product_axis(eqn, marks) -> int:
    """The place of the atoms or edges in a product."""
    contracted, batch = eqn.params["dimension_numbers"]
    places = set()
    before = len(batch[0])
    for n, mark in enumerate(marks):
        free = [
            axis
            for axis in range(eqn.invars[n].aval.ndim)
            if axis not in contracted[n] and axis not in batch[n]
        ]
        if isinstance(mark, Site):
            if mark.axis in contracted[n]:
                refuse("dot_general", f"that sums over the {mark.of}")
            if mark.axis in batch[n]:
                places.add((mark.of, list(batch[n]).index(mark.axis)))
            else:
                places.add((mark.of, before + free.index(mark.axis)))
        before += len(free)
    if len(places) > 1:
        refuse("dot_general", "of the values of all pairs of atoms or edges")
    return places.pop()[1]


def _gather(eqn, marks) -> Followed:
    """Values by index: those of senders and receivers, or components of every atom or edge."""
    values, indices = marks[:2]
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    # Axes of the result that the indices have, in their order.
    of_indices = [n for n in range(eqn.outvars[0].aval.ndim) if n not in numbers.offset_dims]
    if isinstance(indices, Site):
        if isinstance(values, Site):
            refuse("gather", "by indices that depend on positions")
        return Followed([indices._replace(axis=of_indices[indices.axis])])
    axis = values.axis
    if axis in numbers.operand_batching_dims:
        place = numbers.operand_batching_dims.index(axis)
        of_index = numbers.start_indices_batching_dims[place]
        return Followed([values._replace(axis=of_indices[of_index])])
    if axis not in numbers.start_index_map:
        kept = [
            n
            for n in range(eqn.invars[0].aval.ndim)
            if n not in numbers.collapsed_slice_dims and n not in numbers.operand_batching_dims
        ]
        if axis not in kept or sizes[axis] != eqn.invars[0].aval.shape[axis]:
            refuse("gather", f"along the {values.of}")
        return Followed([values._replace(axis=numbers.offset_dims[kept.index(axis)])])
    is_one = numbers.start_index_map == (axis,) and axis in numbers.collapsed_slice_dims
    if not _are_ends(eqn, indices, 1) or not is_one or len(of_indices) != 1:
        refuse("gather", f"of {values.of} by indices other than senders and receivers")
    if values.of == "edges":
        refuse("gather", "of edges by the indices of atoms")
    found = Site("edges", of_indices[0], values.reach)
    if indices.of == "receivers":
        return Followed([found])
    return Followed([found._replace(reach=values.reach + 1)], "gather")


def _scatter(eqn, marks) -> Followed:
    """Sums of edges at their receivers or senders, and extrema at receivers."""
    name = eqn.primitive.name
    target, indices, updates = marks[:3]
    if indices is None:
        return Followed([_scatter_components(eqn, target, updates)])
    numbers = eqn.params["dimension_numbers"]
    place = numbers.scatter_dims_to_operand_dims
    is_one = len(place) == 1 and place == numbers.inserted_window_dims
    if not _are_ends(eqn, indices, 1) or not is_one or numbers.operand_batching_dims:
        refuse(name, "by indices other than senders and receivers")
    of_updates = [
        n for n in range(eqn.invars[2].aval.ndim) if n not in numbers.update_window_dims
    ]
    right = (
        not isinstance(updates, Site) or updates[:2] == ("edges", of_updates[0]),
        not isinstance(target, Site) or target[:2] == ("atoms", place[0]),
    )
    if not all(right):
        refuse(name, "of values that do not belong to edges")
    reach = max(mark.reach for mark in (target, updates) if isinstance(mark, Site))
    if indices.of == "receivers" or not isinstance(updates, Site):
        return Followed([Site("atoms", place[0], reach)])
    if name != "scatter-add":
        refuse(name, "by senders")
    reach = max(updates.reach + 1, target.reach if isinstance(target, Site) else 0)
    return Followed([Site("atoms", place[0], reach)], "scatter")


def _scatter_components(eqn, target: Site | None, updates: Site | None) -> Site:
    """Changed components of every atom or edge, by indices that are none of atoms."""
    numbers = eqn.params["dimension_numbers"]
    values, _, changes = (var.aval.shape for var in eqn.invars[:3])
    gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    kept = [axis for axis in range(len(values)) if axis not in gone]
    moved = dict(zip(numbers.update_window_dims, kept, strict=True))
    places = [target] if target else []
    places += [updates._replace(axis=moved.get(updates.axis))] if updates else []
    first = places[0]._replace(reach=max(place.reach for place in places))
    whole = {new for old, new in moved.items() if changes[old] == values[new]}
    if len({place[:2] for place in places}) > 1 or first.axis not in whole:
        refuse(eqn.primitive.name, "by indices other than senders and receivers")
    return first


def _are_ends(eqn, indices: Mark, place: int) -> bool:
    """True if the indices are those of senders or receivers, one for each edge."""
    is_list = isinstance(indices, Ends) and not indices.wrapped and indices.axis == 0
    shape = eqn.invars[place].aval.shape
    return is_list and len(shape) == 2 and shape[1] == 1
