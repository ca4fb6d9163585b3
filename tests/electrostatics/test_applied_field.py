"""The electric enthalpy: its derivatives are polarization, forces and polarizability."""

import dataclasses
import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.electrostatics import (
    Multipoles,
    Response,
    build_interaction,
    enthalpy,
    lattice_sum,
    local_field,
    plan_sum,
)
from jles.errors import InputError
from jles.units import COULOMB_CONSTANT
from tests.support.coulomb_oracles import central_difference

ATOMS = 4
K_MAX = 3.0
CELL = np.array([[5.5, 0.4, 0.0], [-0.3, 6.0, 0.5], [0.2, 0.0, 5.0]])
FIELD = jnp.array([0.3, -0.2, 0.5])
PLANS = {
    "cluster": plan_sum(None, None, False, k_max=K_MAX),
    "crystal": plan_sum(CELL, None, True, k_max=K_MAX),
}
# Where the rung is "kappa" or "alpha" the other's numbers are zero: one compilation for three.
RUNGS = {"nothing": (0.0, 0.0), "kappa": (1.0, 0.0), "alpha": (0.0, 1.0), "both": (1.0, 1.0)}
CASES = [
    *(("cluster", mode, rung) for mode in ("one-shot", "self-consistent") for rung in RUNGS),
    *(("crystal", "one-shot", rung) for rung in RUNGS),
    ("crystal", "self-consistent", "alpha"),
]
EVERY_CASE = pytest.mark.parametrize(("place", "mode", "rung"), CASES)


@cache
def system(place="cluster", mode="one-shot", rung="both"):
    """Moments, positions and a response of tensors."""
    rng = np.random.default_rng(4)
    corners = np.array([[0, 0, 0], [2.6, 0, 0], [0, 2.8, 0], [0, 0, 2.4]])
    positions = jnp.asarray(corners + rng.uniform(-0.2, 0.2, (ATOMS, 3)))
    charges = jnp.asarray(rng.uniform(0.3, 0.9, ATOMS) * [1, -1, 1, -1])
    moments = Multipoles(charges, jnp.asarray(0.3 * rng.normal(size=(ATOMS, 3))))
    factors = rng.normal(size=(ATOMS, 3, 3))
    kappa, alpha = RUNGS[rung]
    softness = kappa * jnp.asarray(rng.uniform(0.01, 0.03, ATOMS))
    tensors = alpha * jnp.asarray(0.01 * factors @ np.swapaxes(factors, 1, 2))
    if place == "crystal" and mode == "self-consistent":
        softness = None
    return moments, positions, Response(softness, tensors, mode)


@partial(jax.jit, static_argnames="place")
def evaluate(place, moments, positions, response, field):
    """Enthalpy with its slopes in positions and field, and everything of `lattice_sum`."""

    def energy(r, e):
        out = lattice_sum(
            moments, r, CELL, pbc=place == "crystal", k_max=K_MAX, response=response, field=e,
            plan=PLANS[place],
        )  # fmt: skip
        return out.energy, out

    (_, out), slopes = jax.value_and_grad(energy, (0, 1), has_aux=True)(positions, field)
    return out, *slopes


def polarizability(place, *arguments):
    """Columns: the polarization is linear in the field."""
    zero = evaluate(place, *arguments, jnp.zeros(3))[0].polarization
    return np.stack(
        [evaluate(place, *arguments, unit)[0].polarization - zero for unit in jnp.eye(3)],
        axis=1,
    )


@EVERY_CASE
def test_polarization_is_minus_the_slope_of_the_enthalpy(place, mode, rung):
    arguments = system(place, mode, rung)
    for field in (jnp.zeros(3), FIELD):
        out, _, slope = evaluate(place, *arguments, field)
        np.testing.assert_allclose(-slope, out.polarization, rtol=1e-9, atol=1e-11)
    # By its definition, from the effective moments.
    charges, dipoles, _ = out.effective
    expected = (charges - charges.mean()) @ arguments[1] + dipoles.sum(axis=0)
    np.testing.assert_allclose(out.polarization, expected, rtol=1e-11)
    # And the slope is the difference of enthalpies, which are quadratic in the field.
    way = jnp.array([0.2, 0.7, -0.4])
    found = central_difference(
        lambda step: evaluate(place, *arguments, FIELD + step * way)[0].energy,
        0.0,
        1.0,
        step=0.1,
    )
    np.testing.assert_allclose(found, slope @ way, rtol=1e-9)


@EVERY_CASE
def test_forces_in_a_field_are_finite_differences(place, mode, rung):
    moments, positions, response = system(place, mode, rung)
    _, slope, _ = evaluate(place, moments, positions, response, FIELD)
    way = jnp.asarray(np.random.default_rng(6).normal(size=positions.shape))
    found = central_difference(
        lambda step: (
            evaluate(place, moments, positions + step * way, response, FIELD)[0].energy
        ),
        0.0,
        1.0,
        step=1e-3,
    )
    np.testing.assert_allclose(found, np.sum(slope * way), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("place", PLANS)
def test_a_field_pulls_fixed_charges_by_their_charge_and_turns_dipoles(place):
    moments, positions, response = system(place, rung="nothing")
    still, slope, _ = evaluate(place, moments, positions, response, jnp.zeros(3))
    out, pulled, _ = evaluate(place, moments, positions, response, FIELD)
    charges = moments.charges - moments.charges.mean()
    np.testing.assert_allclose(slope - pulled, np.outer(charges, FIELD), atol=1e-11)
    work = -(charges @ positions + moments.dipoles.sum(axis=0)) @ FIELD
    np.testing.assert_allclose(out.energy - still.energy, work, rtol=1e-10)
    # The field that moments make is theirs alone.
    np.testing.assert_allclose(out.field, still.field, atol=1e-12)


def test_a_lone_dipole_has_minus_its_product_with_the_field():
    dipole = np.array([[0.4, -1.0, 0.2]])
    out = lattice_sum(Multipoles(np.zeros(1), dipole), np.ones((1, 3)), pbc=False, field=FIELD)
    np.testing.assert_allclose(out.energy, -dipole[0] @ FIELD, rtol=1e-12)
    np.testing.assert_allclose(out.polarization, dipole[0], rtol=1e-12)
    # A charge of its own has no polarization: its mean is removed.
    charged = Multipoles(np.ones(1), dipole)
    out = lattice_sum(charged, np.ones((1, 3)), pbc=False, field=FIELD)
    np.testing.assert_allclose(out.energy, -dipole[0] @ FIELD, rtol=1e-12)


@pytest.mark.parametrize("place", PLANS)
@pytest.mark.parametrize("rung", RUNGS)
def test_one_shot_polarizability_is_the_sum_of_those_of_the_atoms(place, rung):
    moments, positions, response = system(place, rung=rung)
    expected = np.asarray(response.polarizabilities).sum(axis=0)
    kappa = np.asarray(response.charge_softness)
    if place == "cluster" and kappa.sum() > 0.0:
        apart = positions - kappa @ positions / kappa.sum()
        expected = expected + np.einsum("n,na,nb->ab", kappa, apart, apart)
    found = polarizability(place, moments, positions, response)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_conserving_charge_does_not_change_the_one_shot_polarizability_of_a_cluster():
    moments, positions, response = system()
    keeping = dataclasses.replace(response, conserve_charge=True)
    np.testing.assert_allclose(
        polarizability("cluster", moments, positions, keeping),
        polarizability("cluster", moments, positions, response),
        atol=1e-12,
    )
    out, _, slope = evaluate("cluster", moments, positions, keeping, FIELD)
    np.testing.assert_allclose(-slope, out.polarization, rtol=1e-10)
    induced = out.effective.charges - moments.charges
    assert np.abs(induced).max() > 1e-3
    np.testing.assert_allclose(jnp.sum(induced), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("place", "rung"),
    [("cluster", "alpha"), ("cluster", "kappa"), ("cluster", "both"), ("crystal", "alpha")],
)
def test_self_consistent_polarizability_is_symmetric_positive_and_no_matter_of_moments(
    place, rung
):
    moments, positions, response = system(place, "self-consistent", rung)
    found = polarizability(place, moments, positions, response)
    np.testing.assert_allclose(found, found.T, atol=1e-10)
    assert np.linalg.eigvalsh(found).min() > 1e-4
    nothing = jax.tree.map(jnp.zeros_like, moments)
    np.testing.assert_allclose(
        polarizability(place, nothing, positions, response), found, atol=1e-10
    )


@pytest.mark.parametrize("distance", [1.5, 3.0, 12.0])
def test_two_polarizable_atoms_have_the_polarizability_of_the_textbook(distance):
    sigma, alpha = 0.7, 0.05

    def smeared(r):
        x = r / sigma / np.sqrt(2.0)
        series = np.vectorize(math.erf)(x)
        return COULOMB_CONSTANT * series / r

    # Second derivatives of the pair potential along the axis, and across it.
    h = 1e-3
    slope = (smeared(distance + h) - smeared(distance - h)) / (2.0 * h)
    along = (smeared(distance + h) - 2.0 * smeared(distance) + smeared(distance - h)) / h**2
    across = slope / distance
    moments = Multipoles(np.zeros(2))
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
    response = Response(None, np.full(2, alpha), "self-consistent")
    for axis, tensor in ((2, along), (0, across)):
        field = np.eye(3)[axis]
        out = lattice_sum(
            moments, positions, pbc=False, sigma=sigma, response=response, field=field
        )
        expected = 2.0 * alpha / (1.0 - alpha * tensor)
        np.testing.assert_allclose(out.polarization[axis], expected, rtol=1e-5)
        np.testing.assert_allclose(out.energy, -0.5 * expected, rtol=1e-5)
    # Far apart, point dipoles: the last of them was across the axis.
    if distance > 10.0:
        point = 2.0 * alpha / (1.0 + alpha * COULOMB_CONSTANT / distance**3)
        np.testing.assert_allclose(expected, point, rtol=1e-5)


@pytest.mark.parametrize("mode", ["one-shot", "self-consistent"])
@pytest.mark.parametrize("place", PLANS)
def test_no_field_is_a_field_of_zero(place, mode):
    rung = "alpha" if (place, mode) == ("crystal", "self-consistent") else "both"
    moments, positions, response = system(place, mode, rung)
    out, _, _ = evaluate(place, moments, positions, response, jnp.zeros(3))
    none = lattice_sum(
        moments, positions, CELL, pbc=place == "crystal", k_max=K_MAX, response=response
    )
    np.testing.assert_allclose(out.energy, none.energy, rtol=1e-12)
    np.testing.assert_allclose(out.polarization, none.polarization, rtol=1e-9)
    np.testing.assert_allclose(out.effective.charges, none.effective.charges, atol=1e-11)


@pytest.mark.parametrize("mode", ["one-shot", "self-consistent"])
def test_enthalpy_and_polarization_of_a_neutral_cluster_do_not_know_its_origin(mode):
    moments, positions, response = system("cluster", mode)
    for field in (jnp.zeros(3), FIELD):
        here, slope, _ = evaluate("cluster", moments, positions, response, field)
        there, other, _ = evaluate("cluster", moments, positions + 7.0, response, field)
        np.testing.assert_allclose(there.energy, here.energy, rtol=1e-10)
        np.testing.assert_allclose(there.polarization, here.polarization, rtol=1e-9)
        np.testing.assert_allclose(other, slope, atol=1e-9)
        np.testing.assert_allclose(jnp.sum(slope, axis=0), 0.0, atol=1e-9)


def test_self_consistent_moments_respond_to_the_applied_field_too():
    moments, positions, response = system("cluster", "self-consistent", "both")
    out, _, _ = evaluate("cluster", moments, positions, response, FIELD)
    climb = (positions - positions.mean(axis=0)) @ FIELD
    np.testing.assert_allclose(
        out.effective.charges - moments.charges,
        -response.charge_softness * (out.potential - climb),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        out.effective.dipoles - moments.dipoles,
        np.einsum("nab,nb->na", response.polarizabilities, out.field + FIELD),
        atol=1e-9,
    )


def test_one_shot_enthalpy_is_the_response_to_the_sum_of_both_fields():
    moments, positions, response = system("crystal", rung="alpha")

    @jax.jit
    def parts(moments, positions):
        interaction = build_interaction(
            positions, jnp.asarray(CELL), PLANS["crystal"], sigma=1.0, k_max=K_MAX
        )
        found = enthalpy(interaction, moments, positions, response, FIELD, periodic=True)
        return interaction(moments), local_field(interaction, moments, response), found

    energy, local, found = parts(moments, positions)
    local = local.dipoles + FIELD
    induced = np.einsum("nab,nb->na", response.polarizabilities, local)
    charges = moments.charges - moments.charges.mean()
    permanent = (charges @ positions + moments.dipoles.sum(axis=0)) @ FIELD
    expected = energy - permanent - 0.5 * np.sum(local * induced)
    np.testing.assert_allclose(found.energy, expected, rtol=1e-11)
    np.testing.assert_allclose(found.induced.dipoles, induced, atol=1e-12)


def test_softness_that_settles_in_a_crystal_knows_no_field():
    moments, positions, response = system("cluster", "self-consistent", "both")
    with pytest.raises(InputError, match="no response to a field in a periodic"):
        lattice_sum(moments, positions, CELL, response=response, field=FIELD)
    with pytest.raises(InputError, match="no response to a field in a periodic"):
        enthalpy(lambda m: 0.0, moments, positions, response, FIELD, periodic=True)
    with pytest.raises(InputError, match="field have shape"):
        lattice_sum(moments, positions, CELL, field=np.zeros(2))
