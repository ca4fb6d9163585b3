"""Born charges of functions: goldens, fixed charges, both modes, the published formula."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.bloch.crystal_coupling import crystal_coupling
from jles.bloch.weighted import bloch_vectors
from jles.errors import InputError
from jles.observables.born_charges import (
    acoustic_sum,
    born_charges,
    coupling_of,
    dipole_current,
    field_force,
    obey_sum_rule,
    wave_born_charges,
)
from jles.observables.polarization import (
    cluster_dipole,
    polarization_change,
)
from jles.structures.batch import build_structure, on_device
from jles.structures.neighbors import find_neighbors
from tests.support.paths import golden_path

CASES = ("triclinic", "cubic 12.4")
NO_FIELD = np.zeros((3, 1))


def structure_with_plain_distances(case):
    """A periodic cell in which every pair is a neighbour once, in the given image."""
    positions = np.array(case["positions"])
    table = find_neighbors(positions, np.eye(3), False, 100.0)
    built = build_structure(
        np.ones(len(positions), int), positions, np.array(case["cell"]), True,
        cutoff=100.0, k_max=None, neighbors=table, dtype=np.float64,
    )  # fmt: skip
    return on_device(built)


def charges_of(case):
    """The golden file's charges, which flow between neighbours and are conserved."""
    start, signs = jnp.array(case["charges0"]), jnp.array(case["signs"])

    def charges_fn(params, structure, bloch):
        r2 = jnp.sum(bloch_vectors(structure, bloch) ** 2, axis=-1)
        moved = params["flow"] * (signs[structure.neighbor_index] - signs[:, None])
        return start + jnp.sum(structure.neighbor_mask * moved * jnp.exp(-r2 / 4.0), axis=1)

    return charges_fn


PARAMS = {"flow": jnp.asarray(0.2)}


def prepared(name):
    cases = json.loads(golden_path("born_charges.json").read_text(encoding="utf-8"))["cases"]
    case = next(case for case in cases if case["name"] == name)
    structure, charges_fn = structure_with_plain_distances(case), charges_of(case)
    flow = crystal_coupling(charges_fn)

    def coupling(positions, field):
        return flow(field, PARAMS, replace(structure, positions=positions))

    return case, structure, charges_fn, coupling


@pytest.fixture(scope="module")
def golden():
    return prepared(CASES[0])


@pytest.mark.parametrize("name", CASES)
def test_a_crystal_gives_the_value_of_the_cluster(name):
    case, structure, _, coupling = prepared(name)
    expected = np.array(case["expected"]["cluster_charge_part"])

    @jax.jit
    def both_modes(positions):
        return [born_charges(coupling, positions, mode) for mode in ("reverse", "forward")]

    for found in both_modes(structure.positions):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(acoustic_sum(found), np.zeros((3, 3)), atol=1e-12)


def test_the_change_of_polarization_is_that_of_the_cluster(golden):
    """The golden case is the cluster in a cell, where the dipole is a function of state."""
    case, structure, charges_fn, coupling = golden
    start = np.array(case["positions"])
    end = start + np.random.default_rng(1).normal(0.0, 0.2, start.shape)
    born = jax.jit(lambda places: born_charges(coupling, places))

    def dipole(places):
        charges = charges_fn(PARAMS, replace(structure, positions=jnp.asarray(places)), None)
        return np.asarray(cluster_dipole(charges, jnp.asarray(places), structure.mask))

    found = polarization_change(born, start, end, points=8)
    np.testing.assert_allclose(found, dipole(end) - dipole(start), rtol=0, atol=1e-9)
    back = polarization_change(born, end, start, points=8)
    np.testing.assert_allclose(back, -found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_published_formula_gives_its_own_values(name):
    case, structure, charges_fn, _ = prepared(name)
    found = wave_born_charges(
        lambda places: charges_fn(PARAMS, replace(structure, positions=places), None),
        structure.positions,
        structure.cell,
        structure.mask,
    )
    expected = np.array(case["expected"]["periodic_published_charge_part"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    exact = np.array(case["expected"]["cluster_charge_part"])
    assert np.abs(found - exact).max() > 1e-3


def test_dipoles_have_no_phase(golden):
    case, structure, *_ = golden
    start = jnp.array(case["dipoles0"])

    def dipole_fn(positions):
        apart = positions[None] - positions[:, None]
        near = jnp.exp(-jnp.sum(apart**2, axis=-1) / 4.0)[..., None]
        return jnp.sum(start + 0.1 * jnp.sum(near * apart, axis=1), axis=0)

    found = born_charges(coupling_of(dipole_fn), structure.positions)
    np.testing.assert_allclose(found, case["expected"]["dipole_part"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_force_and_current_are_products_with_born_charges(golden, rng, mode):
    case, structure, _, coupling = golden
    born = np.array(case["expected"]["cluster_charge_part"])
    field, velocities = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(6, 3)))
    force = jax.jit(lambda x: field_force(coupling, x, field))(structure.positions)
    np.testing.assert_allclose(force, jnp.einsum("a,iab->ib", field, born), atol=1e-12)
    current = jax.jit(lambda x: dipole_current(coupling, x, velocities, mode))(
        structure.positions
    )
    np.testing.assert_allclose(current, jnp.einsum("iab,ib->a", born, velocities), atol=1e-12)


def test_slopes_of_born_charges_are_those_of_finite_differences(golden, rng):
    """Derivatives by positions and by parameters, which training on Born charges needs."""
    _, structure, charges_fn, _ = golden
    direction, weights = jnp.asarray(rng.normal(size=(6, 3))), rng.normal(size=(6, 3, 3))
    flow = crystal_coupling(charges_fn)

    @jax.jit
    def total(step, more):
        params = {"flow": PARAMS["flow"] + more}

        def coupling(positions, field):
            return flow(field, params, replace(structure, positions=positions))

        return jnp.sum(weights * born_charges(coupling, structure.positions + step * direction))

    slopes = jax.jit(jax.grad(total, (0, 1)))(0.0, 0.0)
    h = 1e-5
    differences = (
        (total(h, 0.0) - total(-h, 0.0)) / (2 * h),
        (total(0.0, h) - total(0.0, -h)) / (2 * h),
    )
    np.testing.assert_allclose(slopes, differences, rtol=1e-7)


def test_charges_that_do_not_move_are_born_charges(golden):
    case, structure, *_ = golden
    charges = jnp.array(case["charges0"])
    flow = crystal_coupling(lambda params, structure, bloch: charges)
    found = born_charges(
        lambda x, field: flow(field, {}, replace(structure, positions=x)), structure.positions
    )
    np.testing.assert_array_equal(found, charges[:, None, None] * jnp.eye(3))


def test_the_value_is_that_of_the_cluster_and_linear_in_the_field(golden, rng):
    _, structure, charges_fn, coupling = golden
    field = jnp.asarray(rng.normal(size=3))
    charges = charges_fn(PARAMS, structure, None)
    dipole = cluster_dipole(charges, structure.positions, structure.mask)
    np.testing.assert_allclose(coupling(structure.positions, field), dipole @ field, rtol=1e-12)
    slope = jax.grad(coupling, 1)(structure.positions, field)
    np.testing.assert_allclose(slope, dipole, rtol=1e-12)


def test_the_cell_is_not_differentiated_silently(golden):
    _, structure, charges_fn, _ = golden
    flow = crystal_coupling(charges_fn, to_second_order=False)

    def of_cell(cell):
        return flow(jnp.ones(3), PARAMS, replace(structure, cell=cell))

    with pytest.raises(NotImplementedError, match="cell"):
        jax.grad(of_cell)(structure.cell)


def test_many_structures_at_once(golden):
    """Results are the same under vmap and jit."""
    case, structure, charges_fn, _ = golden
    flow = crystal_coupling(charges_fn)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), structure)

    def born(one):
        return born_charges(
            lambda x, field: flow(field, PARAMS, replace(one, positions=x)), one.positions
        )

    both = jax.jit(jax.vmap(born))(batch)
    alone = np.array(case["expected"]["cluster_charge_part"])
    np.testing.assert_allclose(both, jnp.stack([alone, alone]), atol=1e-13)


def test_the_projection_obeys_the_sum_rule(rng):
    mask = jnp.array([True, True, True, False])
    tensors = jnp.asarray(rng.normal(size=(4, 3, 3))) * mask[:, None, None]
    projected = obey_sum_rule(tensors, mask, 2.0)
    np.testing.assert_allclose(acoustic_sum(projected), 2.0 * np.eye(3), atol=1e-13)
    np.testing.assert_array_equal(projected[3], 0.0)
    change = (projected - tensors)[:3]
    np.testing.assert_allclose(change, np.broadcast_to(change[0], (3, 3, 3)), atol=1e-13)


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (lambda r, field=NO_FIELD: 0.0, r"got \(r, field=\.\.\.\)"),
        (lambda *arguments: 0.0, r"got \(\*arguments\)"),
        (lambda r, *field: 0.0, r"got \(r, \*field\)"),
        (lambda r, *, field: 0.0, r"got \(r, field\)"),
        (lambda params, r, field: 0.0, r"got \(params, r, field\)"),
        (lambda: 0.0, r"got \(\)"),
        (max, "got a builtin_function_or_method whose parameters are unknown"),
    ],
)
def test_a_function_that_could_be_either_form_is_refused(function, shown):
    with pytest.raises(InputError, match=shown) as caught:
        coupling_of(function)
    assert "\n" not in str(caught.value)
    assert "wrap it in a lambda" in str(caught.value)


def test_bound_and_unused_parameters_do_not_change_the_form():
    def dipole(places, charges):
        return charges @ places

    def coupling(places, field, cell=None):
        return field @ places[0]

    assert coupling_of(coupling) is coupling
    bound = coupling_of(partial(dipole, charges=np.ones(4)))
    assert bound(np.eye(4, 3), np.ones(3)) == 3.0


def test_born_charges_take_a_dipole_function_or_a_coupling(rng):
    flow = jnp.asarray(rng.normal(size=(4, 3, 3)))
    positions = jnp.asarray(rng.normal(size=(4, 3)))

    def dipole(places):
        return jnp.einsum("iab,ib->a", flow, places)

    def coupling(places, field):
        return field @ dipole(places)

    for function in (dipole, jax.jit(dipole), coupling, jax.jit(coupling)):
        np.testing.assert_allclose(born_charges(function, positions), flow, rtol=1e-12)
        force = field_force(function, positions, jnp.ones(3))
        np.testing.assert_allclose(force, flow.sum(axis=1), rtol=1e-12)
        current = dipole_current(function, positions, positions)
        np.testing.assert_allclose(current, dipole(positions), rtol=1e-12)
