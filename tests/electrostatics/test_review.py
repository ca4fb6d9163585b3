"""Defects a review found, each as the law it broke."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.electrostatics import (
    Multipoles,
    Response,
    SumPlan,
    cluster_energy,
    enthalpy,
    equilibrate_charges,
    lattice_sum,
    plan_kgrid,
    plan_sum,
)
from jles.errors import InputError

RNG = np.random.default_rng(0)
POSITIONS, CELL = RNG.uniform(0.0, 9.0, (12, 3)), np.eye(3) * 9.0
CHARGES = Multipoles(np.tile([0.4, -0.4], 6))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_conservation_forbids_everything_nothing_happens(dtype):
    """A uniform electronegativity moves no charge: the drive is rounding, the answer zero."""

    @jax.jit
    def solved(positions, hardness):
        def interaction(moments):
            return cluster_energy(moments, positions, sigma=1.0)

        return equilibrate_charges(interaction, jnp.full(12, 3.0, dtype), hardness)

    for seed in range(20):
        rng = np.random.default_rng(seed)
        places, hardness = rng.uniform(0.0, 6.0, (12, 3)), rng.uniform(8.0, 20.0, 12)
        found = solved(jnp.asarray(places, dtype), jnp.asarray(hardness, dtype))
        assert bool(found.report.converged)
        np.testing.assert_allclose(found.charges, 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("pbc", "plan"),
    [
        (True, SumPlan(cluster=True)),
        (True, plan_sum(CELL, POSITIONS, (True, True, False), k_max=3.0)),
        ((True, True, False), plan_kgrid(CELL, 4.0)),
        ((False, True, True), plan_sum(CELL, POSITIONS, (True, True, False), k_max=3.0)),
    ],
)
def test_a_plan_of_another_kind_is_refused(pbc, plan):
    with pytest.raises(InputError, match="is not one for"):
        lattice_sum(CHARGES, POSITIONS, CELL, pbc=pbc, k_max=3.0, plan=plan)


def test_a_slab_that_has_outgrown_its_plan_is_refused():
    pbc = (True, True, False)
    plan = plan_sum(CELL, POSITIONS * [1, 1, 0.05], pbc, k_max=3.0)
    with pytest.raises(InputError, match="the slab needs a height of"):
        lattice_sum(CHARGES, POSITIONS * [1, 1, 4.0], CELL, pbc=pbc, k_max=3.0, plan=plan)


@pytest.mark.parametrize("pbc", [(True, True, False), False])
def test_float32_does_not_care_how_far_away_a_slab_or_cluster_is(pbc):
    charges = Multipoles(np.float32(CHARGES.charges))
    cell = np.float32(CELL)
    near, far = (
        lattice_sum(charges, POSITIONS + [0.0, 0.0, z], cell, pbc=pbc).energy
        for z in (0.0, 1e6)
    )
    np.testing.assert_allclose(near, far, rtol=1e-6)


@pytest.mark.parametrize("options", [{"k_max": 1e30}, {"k_max": 2000.0, "method": "auto"}])
def test_sums_that_no_machine_holds_are_refused(options):
    with pytest.raises(InputError, match="smaller k_max"):
        plan_sum(CELL, POSITIONS[:2], True, **options)


def test_pbc_of_zeros_and_ones_is_that_of_ase():
    one, other = (
        lattice_sum(CHARGES, POSITIONS, CELL, pbc=pbc).energy
        for pbc in ((1, 1, 0), (True, True, False))
    )
    assert one == other


def test_softness_that_is_solved_for_has_no_field_in_a_crystal():
    response = Response(jnp.full(12, 0.02), None, "self-consistent")
    with pytest.raises(InputError, match="no answer to a field"):
        enthalpy(
            lambda m: jnp.sum(m.charges**2),
            Multipoles(jnp.asarray(CHARGES.charges)),
            jnp.asarray(POSITIONS),
            response,
            jnp.ones(3),
            periodic=True,
        )
