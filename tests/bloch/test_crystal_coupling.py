"""Mixed derivatives of E . P of a crystal: any order, forward and reverse."""

from dataclasses import replace
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.bloch.crystal_coupling import crystal_coupling
from jles.bloch.weighted import bloch_vectors, bloch_weight, gather
from jles.observables.piezoelectricity import strained_current
from jles.observables.stress import strained
from jles.structures.batch import build_structure, on_device
from tests.support.small_systems import TRICLINIC, rattled

PARAMS = {"layer": jnp.array([0.8, -0.5]), "flow": jnp.asarray(0.4)}
VARIABLES = ("field", "params", "positions", "strain")
MODES = ("forward", "reverse")
STEP = 1e-4


def charges_fn(params, structure, bloch):
    """Conserved charges that flow along bonds, by a layer of messages."""
    vectors = bloch_vectors(structure, bloch)
    r2 = jnp.sum(vectors**2, axis=-1)
    reach = structure.neighbor_mask * jnp.where(r2 < 9.0, 1.0 - r2 / 9.0, 0.0) ** 3
    first, second = params["layer"]
    hidden = jnp.tanh(first * jnp.sum(reach * jnp.exp(second * r2 / 5.0), axis=1))
    senders = gather(hidden, structure.neighbor_index, bloch_weight(vectors, bloch))
    signs = jnp.where(structure.numbers == 1, 1.0, -1.0)
    sides = signs[:, None] * (1.0 + senders) - signs[structure.neighbor_index] * (
        1.0 + hidden[:, None]
    )
    return 0.7 * signs + params["flow"] * jnp.sum(sides * reach, axis=1)


def system():
    atoms = rattled(3, count=4, cell=0.8 * TRICLINIC)
    built = build_structure(
        atoms.numbers, atoms.positions, atoms.cell.array, True,
        cutoff=3.0, k_max=None, dtype=np.float64,
    )  # fmt: skip
    return on_device(built)


STRUCTURE = system()
flow = crystal_coupling(charges_fn)


def coupling(amplitudes):
    """E . P as a function of one amplitude of each variable along a fixed direction."""
    rng = np.random.default_rng(0)
    field, direction = rng.normal(size=(2, 3))
    moved = rng.normal(size=STRUCTURE.positions.shape)
    shear = rng.normal(size=(3, 3))
    deformed = jnp.eye(3) + amplitudes["strain"] * (shear + shear.T)
    positions = (STRUCTURE.positions + amplitudes["positions"] * moved) @ deformed
    params = jax.tree.map(
        lambda leaf: leaf + amplitudes["params"] * rng.normal(size=leaf.shape), PARAMS
    )
    structure = replace(STRUCTURE, positions=positions, cell=STRUCTURE.cell @ deformed)
    return flow(field + amplitudes["field"] * direction, params, structure)


AT_REST = dict.fromkeys(VARIABLES, 0.0)


def slope(function, name, mode="forward"):
    """The derivative of a function of amplitudes with respect to one of them."""

    def along(amplitudes):
        def of_one(value):
            return function(amplitudes | {name: value})

        if mode == "reverse":
            return jax.grad(of_one)(amplitudes[name])
        return jax.jvp(of_one, (amplitudes[name],), (1.0,))[1]

    return along


def difference(function, name):
    """The same by finite differences of fourth order."""
    at = [function(AT_REST | {name: n * STEP}) for n in (1, -1, 2, -2)]
    return (8.0 * (at[0] - at[1]) - (at[2] - at[3])) / (12.0 * STEP)


@pytest.fixture(scope="module")
def first():
    """First derivatives as compiled functions of the amplitudes."""
    return {name: jax.jit(slope(coupling, name)) for name in ("positions", "strain")}


def test_mixed_derivatives_do_not_depend_on_the_order(first):
    """They are finite differences of derivatives with respect to positions or strain.

    Finite differences in positions would be wrong, for the value and its derivative with
    respect to strain: these miss charge that crosses the boundary of the cell.
    """
    pairs = list(permutations(VARIABLES, 2))
    found = jax.jit(
        lambda at: [slope(slope(coupling, one), other)(at) for one, other in pairs]
    )(AT_REST)
    found = dict(zip(pairs, map(float, found), strict=True))
    for one, other in pairs:
        assert found[one, other] == pytest.approx(found[other, one], rel=1e-12)
    for exact, varied in (
        ("positions", "params"),
        ("positions", "strain"),
        ("positions", "field"),
        ("strain", "params"),
        ("strain", "field"),
    ):
        expected = float(difference(first[exact], varied))
        assert found[exact, varied] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("last", MODES)
@pytest.mark.parametrize("before", MODES)
def test_forward_and_reverse_mode_agree(first, before, last):
    """Positions and parameters, in either order, and for several fields at once."""
    orders = (("positions", "params"), ("params", "positions"))

    @jax.jit
    def mixed(fields):
        def of_field(field):
            at = AT_REST | {"field": field}
            return [
                slope(slope(coupling, one, before), other, last)(at) for one, other in orders
            ]

        return jax.vmap(of_field)(fields)

    found = mixed(jnp.array([0.0, 1.0]))
    for n, field in enumerate((0.0, 1.0)):
        expected = difference(
            lambda at, field=field: first["positions"](at | {"field": field}), "params"
        )
        for values in found:
            np.testing.assert_allclose(values[n], expected, rtol=1e-8)


@pytest.mark.long
def test_third_derivatives_do_not_depend_on_the_order():
    """Twice positions and once parameters, twice parameters and once positions."""
    orders = [
        *set(permutations(("positions", "positions", "params"))),
        *set(permutations(("params", "params", "positions"))),
    ]
    second = {
        (one, other): jax.jit(slope(slope(coupling, one), other))
        for one, other in (("positions", "positions"), ("positions", "params"))
    }

    @jax.jit
    def third(at):
        return [slope(slope(slope(coupling, a), b), c)(at) for a, b, c in orders]

    for order, found in zip(orders, third(AT_REST), strict=True):
        begun = ("positions", "positions" if order.count("positions") == 2 else "params")
        expected = difference(second[begun], "params")
        np.testing.assert_allclose(found, expected, rtol=1e-7, err_msg=str(order))


def gradient_by_params(positions):
    def of_params(params):
        return flow(jnp.ones(3), params, replace(STRUCTURE, positions=positions))

    return jax.grad(of_params)(PARAMS)


def force_by_params(params):
    def of_positions(positions):
        return flow(jnp.ones(3), params, replace(STRUCTURE, positions=positions))

    return jax.grad(of_positions)(STRUCTURE.positions)


def test_the_gradient_of_the_norm_of_a_gradient():
    """What sensitivities and influence functions are made of, reverse mode over reverse."""

    def squared(positions):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient_by_params(positions)))

    @jax.jit
    def both(positions):
        mixed = jax.jacfwd(force_by_params)(PARAMS)
        products = jax.tree.map(
            lambda slope, leaf: 2.0 * jnp.tensordot(slope, leaf, leaf.ndim),
            mixed,
            gradient_by_params(positions),
        )
        return jax.grad(squared)(positions), sum(jax.tree.leaves(products))

    found, expected = both(STRUCTURE.positions)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.abs(found).max() > 0.1


def test_reverse_mode_twice_by_parameters_is_not_differentiated_silently():
    """One of the two in forward mode is offered."""

    def curvature(amplitudes, mode):
        return slope(slope(coupling, "params", "reverse"), "params", mode)(amplitudes)

    def along_positions(mode):
        return slope(lambda at: curvature(at, mode), "positions")(AT_REST)

    found, reference, plain = jax.jit(
        lambda: (
            along_positions("forward"),
            slope(slope(slope(coupling, "positions"), "params"), "params")(AT_REST),
            curvature(AT_REST, "reverse") / curvature(AT_REST, "forward"),
        )
    )()
    np.testing.assert_allclose((found, plain), (reference, 1.0), rtol=1e-12)
    with pytest.raises(NotImplementedError, match="two reverse-mode derivatives") as caught:
        jax.eval_shape(lambda: along_positions("reverse"))
    assert "\n" not in str(caught.value)


def test_the_current_of_a_molecule_is_the_rate_of_its_dipole_in_a_moving_cell():
    """Charges flow by a layer of messages, and no charge crosses a boundary of the cell."""
    atoms = rattled(3, count=4, pbc=False)
    built = build_structure(
        atoms.numbers, atoms.positions, 4.0 * TRICLINIC, True,
        cutoff=3.0, k_max=None, dtype=np.float64,
    )  # fmt: skip
    box = on_device(built)

    def moved(positions, cell):
        return replace(box, positions=positions, cell=cell)

    def dipole(positions, cell):
        return charges_fn(PARAMS, moved(positions, cell), None) @ positions

    def coupling(positions, cell, field):
        return flow(field, PARAMS, moved(positions, cell))

    rng = np.random.default_rng(0)
    velocities, rate = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
    velocities, rate = jnp.asarray(velocities - velocities.mean(0)), jnp.asarray(rate + rate.T)

    @jax.jit
    def both(positions, cell):
        at, along = (positions, jnp.zeros((3, 3))), (velocities, rate)
        whole, change = jax.jvp(strained(dipole, cell), at, along)
        found = strained_current(coupling, positions, cell, velocities, rate)
        return found, change - whole @ rate, change

    found, expected, change = both(box.positions, box.cell)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.abs(found - change).max() > 0.1
