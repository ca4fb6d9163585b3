r"""Bloch-weighted derivatives of a function of a graph that was written elsewhere.

The function is traced to a jaxpr and evaluated again. Where it takes values of senders to
edges, their derivatives are multiplied by the weight of the edge; where it adds values of edges
to senders, by the inverse of the weight. Everything else is evaluated as it is.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal
from jaxtyping import Array, Float, Int

from jles.bloch.sites import Ends, Mark, Site, called, follow, follow_one, live, mark_of, refuse
from jles.bloch.weighted import bloch_weighted

GraphFunction = Callable[..., object]
"""`(params, vectors, species, senders, receivers) -> tree of arrays`, all of them of atoms.

`vectors` (edges, 3) point from receivers to senders, `species` (atoms,) are integers.
"""


def bloch_weighted_call(
    function: GraphFunction,
    weight: Float[Array, " edges"],
    params,
    vectors: Float[Array, "edges 3"],
    species: Int[Array, " atoms"],
    senders: Int[Array, " edges"],
    receivers: Int[Array, " edges"],
):
    """The result of a function of a graph, with Bloch-weighted derivatives.

    Args:
        function: see `GraphFunction`.
        weight: of the edges, see `jles.bloch.weighted`; the vectors have theirs already.
        params: first argument of the function.
        vectors: from receivers to senders.
        species: of the atoms.
        senders: atoms whose values the edges take.
        receivers: atoms that the edges belong to.

    Raises:
        InputError: the function does what has no weight; the primitive is named.
    """
    arguments = (params, vectors, species, senders, receivers)
    jaxpr, tree, marks = _traced(function, arguments)
    _checked(jaxpr.jaxpr, marks, species.shape[0])
    used = [True] * len(jaxpr.jaxpr.outvars)
    values = _evaluated(
        jaxpr.jaxpr,
        jaxpr.consts,
        jax.tree.leaves(arguments),
        marks,
        used,
        (weight, species.shape[0]),
    )
    return jax.tree.unflatten(tree, values)


def reach_of(function: GraphFunction, params, vectors, species, senders, receivers) -> int:
    """The number of edges between an atom and the atoms that its results depend on.

    Arguments are arrays or their shapes; they and the errors are as of `bloch_weighted_call`.
    """
    arguments = (params, vectors, species, senders, receivers)
    jaxpr, _, marks = _traced(function, arguments)
    return _checked(jaxpr.jaxpr, marks, species.shape[0])


def _traced(function, arguments):
    """The function as a jaxpr, the tree of its results and the marks of its arguments."""
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    free = [None] * len(jax.tree.leaves(arguments[0]))
    marks = [*free, Site("edges", 0, 1), None, Ends("senders", 0), Ends("receivers", 0)]
    return jaxpr, jax.tree.structure(shapes), marks


def _checked(jaxpr: Jaxpr, marks: Sequence[Mark], atoms: int) -> int:
    """The largest reach of a result; refuses results that do not belong to atoms."""
    found, _ = follow(jaxpr, marks, [True] * len(jaxpr.outvars), atoms)
    sites = [mark for mark in found if isinstance(mark, Site)]
    for mark in sites:
        if (mark.of, mark.axis) != ("atoms", 0):
            refuse("return", f"of values along the {mark.of} on axis {mark.axis}")
    return max((mark.reach for mark in sites), default=1)


def _evaluated(jaxpr: Jaxpr, consts, arguments, marks, used, graph) -> list:
    """Results of a jaxpr; None for those that are not used."""
    weight, atoms = graph
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    known = dict(zip(jaxpr.invars, marks, strict=True))

    def read(var):
        return var.val if isinstance(var, Literal) else values.get(var)

    for eqn, use in live(jaxpr, used):
        inputs = [read(var) for var in eqn.invars]
        given = [mark_of(var, known) for var in eqn.invars]
        found = follow_one(eqn, given, use, atoms)
        if found.carries == "inside":
            inner = called(eqn)
            results = _evaluated(inner.jaxpr, inner.consts, inputs, given, use, graph)
        else:
            results = _one(eqn, inputs, found, given, weight)
        values.update(zip(eqn.outvars, results, strict=True))
        known.update(zip(eqn.outvars, found.marks, strict=True))
    return [read(var) if use else None for var, use in zip(jaxpr.outvars, used, strict=True)]


def _one(eqn, inputs, found, given, weight) -> list:
    """Results of one operation; derivatives that it carries from or to senders are weighted."""
    if found.carries == "scatter":
        inputs[2] = _weighted(inputs[2], 1.0 / weight, given[2].axis)
    params = eqn.primitive.get_bind_params(eqn.params)
    with eqn.ctx.manager:
        results = eqn.primitive.bind(*inputs, **params)
    results = list(results) if eqn.primitive.multiple_results else [results]
    if found.carries == "gather":
        results = [_weighted(results[0], weight, found.marks[0].axis)]
    return results


def _weighted(values, weight, axis: int):
    """Values with weighted derivatives, whose axis of edges is `axis`; others have none."""
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        return values
    # The function may compute in another precision than its vectors have.
    weight = jnp.reshape(weight.astype(values.dtype), (1,) * axis + weight.shape)
    return bloch_weighted(values, weight)
