"""Sums of atoms in parts; tests/project/test_devices.py has them on several devices."""

import jax.numpy as jnp
import pytest

from jles.electrostatics import SumPlan, energy_of_sums, partial_sums, plan_sum
from jles.errors import InputError

SLAB = plan_sum(jnp.eye(3) * 4.0, jnp.zeros((1, 3)), (True, True, False), k_max=2.0)


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        (SumPlan(cluster=True), "cluster"),
        (SLAB, "slab"),
        (SLAB._replace(slab=None, cluster=True), "batch"),
    ],
)
def test_only_sums_of_crystals_split_into_atoms(plan, kind):
    with pytest.raises(InputError, match=f"the plan is that of a {kind}"):
        partial_sums(jnp.ones(1), jnp.zeros((1, 3)), jnp.eye(3), plan)
    with pytest.raises(InputError, match=f"the plan is that of a {kind}"):
        energy_of_sums(jnp.ones((1, 1)), jnp.eye(3), plan, sigma=1.0, k_max=2.0)
