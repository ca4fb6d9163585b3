"""The sizes of the steps of loops over atoms change no result."""

import jax
import numpy as np
import pytest

from jles.models.config import FlowCharges
from jles.observables.stress import energy_forces_stress
from jles.quantities.evaluation import Evaluation
from jles.step_sizes import ACCELERATOR, CPU, StepSizes, step_sizes, use_step_sizes
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

MANY_STEPS = StepSizes(1, 1, 1, 1, 1, 1, True, compile_apart=True)
CONFIG = small_config(
    backbone=small_backbone(l_max=1, body_order=2, layers=1), charges=FlowCharges(hidden=(4,))
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("periodic", "method"),
    [(True, "direct"), (True, "mesh"), (False, "direct")],
)
def test_few_large_steps_give_the_same_as_many_small_ones(periodic, method):
    """Also for the derivatives, whose reverse pass goes through the steps again."""
    potential, params = small_model(CONFIG)
    atoms = rattled(0, count=20, cell=2 * TRICLINIC, pbc=periodic)
    structure = structure_of(atoms, potential, method=method)
    loops, found = {}, {}
    for name, sizes in {"many": MANY_STEPS, "few": ACCELERATOR}.items():

        def values(params, structure):
            if periodic and method == "direct":
                return Evaluation(potential, params, structure).born_charges()
            return energy_forces_stress(lambda s: potential.energy_fn(params, s), structure)

        with use_step_sizes(sizes):
            found[name] = jax.jit(values)(params, structure)
            loops[name] = str(jax.make_jaxpr(values)(params, structure)).count("= scan[")
    assert loops["few"] < loops["many"]
    for many, few in zip(*map(jax.tree.leaves, found.values()), strict=True):
        np.testing.assert_allclose(few, many, rtol=1e-9, atol=1e-11)


def test_the_sizes_follow_the_machine(monkeypatch):
    assert step_sizes() == CPU
    with use_step_sizes(ACCELERATOR):
        assert step_sizes() == ACCELERATOR
        with use_step_sizes(CPU):
            assert step_sizes() == CPU
        assert step_sizes() == ACCELERATOR
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert step_sizes() == ACCELERATOR
    with jax.default_device(jax.devices("cpu")[0]):
        assert step_sizes() == CPU


def test_an_accelerator_has_fewer_and_larger_steps():
    for few, many in zip(ACCELERATOR, CPU, strict=True):
        assert few >= many or few is False
