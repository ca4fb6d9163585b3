"""Functions that are traced and evaluated again: their derivatives, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from jles.bloch.traced import bloch_weighted_call, reach_of
from jles.bloch.weighted import bloch_weighted, gather
from jles.errors import InputError
from tests.support.small_systems import relative

ATOMS, EDGES = 4, 9
RNG = np.random.default_rng(0)
SENDERS = jnp.asarray(RNG.integers(0, ATOMS, EDGES))
RECEIVERS = jnp.asarray(RNG.integers(0, ATOMS, EDGES))
VECTORS = jnp.asarray(RNG.normal(size=(EDGES, 3)))
MOTION = jnp.asarray(RNG.normal(size=(EDGES, 3)))
SPECIES = jnp.array([0, 1, 1, 0])
PARAMS = jnp.asarray(RNG.normal(size=(3, 3)))
GRAPH = (SPECIES, SENDERS, RECEIVERS)


@jax.custom_jvp
def halved(x):
    return x**2


halved.defjvp(lambda x, moved: (x[0] ** 2, x[0] * moved[0]))


def network(take=lambda values, senders: values[senders], give=lambda values: values):
    """Values pass from senders and to senders, through everything that is followed."""

    def function(params, vectors, species, senders, receivers):
        def summed(edges, at=receivers):
            return jax.ops.segment_sum(edges, at, len(species))

        distances = jnp.linalg.norm(vectors, axis=1, keepdims=True)
        atoms = jax.checkpoint(lambda x: jnp.sin(x @ params))(summed(vectors / distances))
        for _ in range(2):
            messages = take(atoms, senders) * jnp.exp(-distances)
            messages = jnp.concatenate([messages, jnp.take(atoms, receivers, axis=0)], axis=1)
            messages = halved(messages.reshape(-1, 2, 3)).transpose(1, 0, 2).sum(0) @ params
            attention = jax.nn.softmax(messages, axis=1)[:, jnp.array([2, 0, 1])]
            attention = jnp.stack(jnp.unstack(attention, axis=1), axis=1)
            attention = attention.at[:, jnp.array([1, 1])].add(messages[:, :2])
            atoms = summed(attention) + summed(give(messages), senders)
            atoms = jax.vmap(lambda row, n: row.at[0].get() + row[n] * row)(atoms, species)
            highest = jax.ops.segment_max(messages, receivers, len(species))
            atoms = jnp.where(jnp.isfinite(highest), atoms + highest, atoms)
        unused = jnp.sort(atoms, axis=0)
        del unused
        return jax.jit(jnp.tanh)(atoms), atoms[:, None] * params

    return function


def traced(weight, params, vectors):
    return bloch_weighted_call(network(), weight, params, vectors, *GRAPH)


def by_hand(weight, params, vectors):
    function = network(
        lambda values, senders: gather(values, senders, weight),
        lambda values: bloch_weighted(values, 1.0 / weight),
    )
    return function(params, vectors, *GRAPH)


def test_derivatives_are_those_of_the_function_with_weights_in_its_source():
    """Derivatives in the wave, and those of them in parameters and vectors."""

    def measured(function):
        def flow(params, vectors):
            def rate(wave):
                weight = jnp.exp(-vectors @ wave)
                of_vectors = partial(function, weight, params)
                moved = jax.jvp(of_vectors, (vectors,), (MOTION,))[1]
                return sum(jnp.sum(jnp.sin(3.0 + part)) for part in moved)

            return jax.grad(rate)(jnp.zeros(3))

        def size(params, vectors):
            return jnp.sum(flow(params, vectors) ** 2)

        value = function(jnp.ones(EDGES), PARAMS, VECTORS)
        return value, flow(PARAMS, VECTORS), jax.grad(size, (0, 1))(PARAMS, VECTORS)

    found, expected = (jax.jit(partial(measured, one))() for one in (traced, by_hand))
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert relative(one, other) < 1e-12


def test_the_reach_is_counted_in_edges():
    def after(steps):
        def function(_, vectors, species, senders, receivers):
            atoms = jax.ops.segment_sum(vectors, receivers, len(species))
            for _ in range(steps):
                atoms = jax.ops.segment_sum(atoms[senders], receivers, len(species))
            return atoms

        return reach_of(function, PARAMS, VECTORS, *GRAPH)

    assert [after(steps) for steps in range(3)] == [1, 2, 3]


def test_the_reach_of_what_edges_are_added_to_counts():
    def function(_, vectors, species, senders, receivers):
        atoms = far = jax.ops.segment_sum(vectors, receivers, ATOMS)
        for _ in range(2):
            far = jax.ops.segment_sum(far[senders], receivers, ATOMS)
        return far.at[senders].add(vectors + 0.0 * atoms[receivers], mode="drop")

    assert reach_of(function, PARAMS, VECTORS, *GRAPH) == 3


def test_a_function_may_compute_in_another_precision():
    """Its derivatives have weights all the same."""

    def function(_, vectors, species, senders, receivers):
        edges = vectors.astype(jnp.float32)
        atoms = first(edges, receivers) + first(edges, senders)
        return first(atoms[senders], receivers).astype(vectors.dtype)

    def moved(weight):
        def of_vectors(vectors):
            return bloch_weighted_call(function, weight, PARAMS, vectors, *GRAPH)

        return jax.jvp(of_vectors, (VECTORS,), (MOTION,))[1]

    weight = jnp.linspace(0.5, 1.5, EDGES)
    atoms = first(MOTION, RECEIVERS) + first(MOTION / weight[:, None], SENDERS)
    expected = first(atoms[SENDERS] * weight[:, None], RECEIVERS)
    assert relative(moved(weight), expected) < 1e-5


def first(vectors, receivers):
    return jax.ops.segment_sum(vectors, receivers, ATOMS)


def in_a_loop(_, vectors, species, senders, receivers):
    def step(atoms, _):
        return first(atoms[senders], receivers), None

    return jax.lax.scan(step, first(vectors, receivers), None, length=2)[0]


def of_the_mean(_, vectors, species, senders, receivers):
    atoms = first(vectors, receivers)
    return atoms - jnp.mean(atoms, axis=0)


def of_permuted_edges(_, vectors, species, senders, receivers):
    return first(vectors[jnp.argsort(senders)], receivers)


def of_triplets(_, vectors, species, senders, receivers):
    edges = first(vectors, receivers)[senders]
    return first(edges[senders], receivers)


def by_a_matrix(_, vectors, species, senders, receivers):
    return jax.nn.one_hot(receivers, ATOMS).T @ vectors


def shifted(_, vectors, species, senders, receivers):
    return first(first(vectors, receivers)[(senders + 1) % ATOMS], receivers)


def sorted_atoms(_, vectors, species, senders, receivers):
    return jnp.sort(first(vectors, receivers), axis=0)


def paired(_, vectors, species, senders, receivers):
    atoms = first(vectors, receivers)
    return jnp.einsum("ia,ja->ij", atoms, atoms)


def with_a_rule(_, vectors, species, senders, receivers):
    @jax.custom_jvp
    def taken(values, senders):
        return values[senders]

    taken.defjvp(lambda at, moved: (at[0][at[1]], moved[0][at[1]]))
    return first(taken(first(vectors, receivers), senders), receivers)


def highest_at_senders(_, vectors, species, senders, receivers):
    return jax.ops.segment_max(vectors, senders, ATOMS)


def masked(_, vectors, species, senders, receivers):
    return first(first(vectors, receivers)[jnp.where(species[0] > 0, senders, 0)], receivers)


def components_of_some(_, vectors, species, senders, receivers):
    return first(vectors.at[:2, 1].add(1.0), receivers)


def of_small_integers(_, vectors, species, senders, receivers):
    return first(first(vectors, receivers)[senders.astype(jnp.int8)], receivers)


def of_edges(_, vectors, species, senders, receivers):
    return vectors


@pytest.mark.parametrize(
    ("function", "primitive"),
    [
        (in_a_loop, "'scan' on values that depend on positions"),
        (of_the_mean, "'reduce_sum' along the atoms"),
        (of_permuted_edges, "'gather' of edges by indices other than senders and receivers"),
        (of_triplets, "'gather' of edges by indices other than senders and receivers"),
        (by_a_matrix, "'dot_general' that sums over the edges"),
        (shifted, "'gather' of atoms by indices other than senders and receivers"),
        (masked, "'gather' of atoms by indices other than senders and receivers"),
        (components_of_some, "'scatter-add' by indices other than senders and receivers"),
        (of_small_integers, "'gather' of atoms by indices other than senders and receivers"),
        (sorted_atoms, "'sort' along the atoms"),
        (paired, "'dot_general' of the values of all pairs of atoms or edges"),
        (with_a_rule, "'custom_jvp_call' that takes values from senders"),
        (highest_at_senders, "'scatter-max' by senders"),
        (of_edges, "'return' of values along the edges on axis 0"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(function, primitive):
    with pytest.raises(InputError, match=f"primitive {primitive}; set carries to 'replica'"):
        bloch_weighted_call(function, jnp.ones(EDGES), PARAMS, VECTORS, *GRAPH)


def test_reverse_rules_are_refused_because_they_have_no_forward_mode():
    @jax.custom_vjp
    def same(x):
        return x

    same.defvjp(lambda x: (x, None), lambda _, slope: (slope,))

    def function(_, vectors, species, senders, receivers):
        return first(same(vectors), receivers)

    with pytest.raises(InputError, match=r"jax\.custom_vjp has no derivatives in forward mode"):
        reach_of(function, PARAMS, VECTORS, *GRAPH)


def test_jax_has_the_internals_that_are_used():
    """Names and parameters of primitives, and how an operation of a jaxpr is evaluated."""

    def function(x, index):
        x = jax.jit(jnp.sin)(halved(x))
        x = jax.checkpoint(jnp.cos)(x)
        return jnp.zeros(2).at[index].add(x[index, None][:, 0])

    jaxpr = jax.make_jaxpr(function)(jnp.ones(2), jnp.zeros(3, int)).jaxpr
    known = {eqn.primitive.name: eqn for eqn in jaxpr.eqns}
    assert {"jit", "remat2", "custom_jvp_call", "gather", "scatter-add"} <= set(known)
    assert isinstance(known["jit"].params["jaxpr"], ClosedJaxpr)
    assert isinstance(known["remat2"].params["jaxpr"], Jaxpr)
    assert isinstance(known["custom_jvp_call"].params["call_jaxpr"], ClosedJaxpr)
    for name in ("jit", "remat2", "custom_jvp_call"):
        eqn = known[name]
        params = eqn.primitive.get_bind_params(eqn.params)
        with eqn.ctx.manager:
            results = eqn.primitive.bind(jnp.ones(2), **params)
        assert len(results) == 1
    numbers = known["gather"].params["dimension_numbers"]
    assert numbers.start_index_map == numbers.collapsed_slice_dims == (0,)
    assert known["scatter-add"].params["dimension_numbers"].scatter_dims_to_operand_dims == (0,)
