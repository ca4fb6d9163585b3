"""Laws of induced moments that hold for every way to sum their energy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from jles.electrostatics import Response, build_interaction, enthalpy
from tests.support.coulomb_oracles import rotation
from tests.support.marks import long
from tests.support.multipole_systems import (
    K_MAX,
    PLACES,
    PLANS,
    SIGMA,
    assert_same,
    energy,
    quick_jit,
    random_system,
    scale_of,
    seeds,
    slopes,
    turned,
)

RESPONSES = pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("ewald", "one-shot"),
        ("cluster", "one-shot"),
        long("cluster", "self-consistent"),
        long("slab", "one-shot"),
        long("ewald", "self-consistent"),
    ],
)


@partial(quick_jit, static_argnums=(0, 1))
def responding(name, mode, moments, positions, cell, softness, polarizabilities):
    """Energy with response, forces and effective moments."""

    def total(r):
        interaction = build_interaction(r, cell, PLANS[name], sigma=SIGMA, k_max=K_MAX[name])
        response = Response(softness, polarizabilities, mode)
        out = enthalpy(interaction, moments, r, response, periodic=name != "cluster")
        return out.energy, out.effective

    (value, effective), slope = jax.value_and_grad(total, has_aux=True)(positions)
    return value, -slope, effective


def random_response(seed):
    rng = np.random.default_rng(seed + 1)
    factors = rng.normal(size=(PLACES, 3, 3))
    alpha = 0.01 * factors @ np.swapaxes(factors, 1, 2)
    return jnp.asarray(rng.uniform(0.0, 0.02, PLACES)), jnp.asarray(alpha)


@RESPONSES
@given(seed=seeds)
def test_induced_moments_follow_potential_and_field(name, mode, seed):
    moments, positions, cell = random_system(seed)
    softness, alpha = random_response(seed)
    value, _, effective = responding(name, mode, moments, positions, cell, softness, alpha)
    seen = effective if mode == "self-consistent" else moments
    _, (fields, _, _) = slopes(name, seen, positions, cell)
    charges, dipoles = (
        -softness * fields.charges,
        -jnp.einsum("iab,ib->ia", alpha, fields.dipoles),
    )
    scale = float(jnp.abs(charges).max() + jnp.abs(dipoles).max())
    assert_same(effective.charges - moments.charges, charges, 1e-8, scale)
    assert_same(effective.dipoles - moments.dipoles, dipoles, 1e-8, scale)
    # Half of what the permanent moments' potential and field have with the induced ones.
    _, (permanent, _, _) = slopes(name, moments, positions, cell)
    gain = 0.5 * (jnp.sum(permanent.charges * charges) + jnp.sum(permanent.dipoles * dipoles))
    assert_same(value, energy(name, moments, positions, cell) + gain, 1e-9, scale_of(moments))
    assert gain < 0.0


@RESPONSES
def test_response_turns_with_the_system(name, mode):
    moments, positions, cell = random_system(12)
    susceptibilities = random_response(12)
    value, forces, effective = responding(
        name, mode, moments, positions, cell, *susceptibilities
    )
    scale = scale_of(moments)
    for turn in (rotation(12), np.diag([1.0, -1.0, 1.0])):
        softness, alpha = susceptibilities[0], turn @ susceptibilities[1] @ turn.T
        found = responding(
            name,
            mode,
            turned(turn, moments),
            positions @ turn.T,
            cell @ turn.T,
            softness,
            alpha,
        )
        assert_same(found[0], value, 1e-9, scale)
        assert_same(found[1], forces @ turn.T, 1e-8, scale)
        assert_same(found[2].dipoles, effective.dipoles @ turn.T, 1e-9, scale)
