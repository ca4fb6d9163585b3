"""Laws of the response of a model with a small crystal, whatever its backbone and heads."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.models.config import ModelConfig
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import on_device, pad_structure
from jles.structures.sizes import Size
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    relative,
    small_model,
    structure_of,
)

# Optimised code would take longer to build than it saves.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def check_responses(config: ModelConfig, in_field: bool) -> None:
    """Born charges do not depend on the supercell.

    With `in_field` they also give the force of a weak field.
    """
    potential, params = small_model(config)
    atoms = rattled(4, count=2, cell=0.7 * TRICLINIC)

    def padded(atoms):
        size = Size(4, 16, SumPlan(KGrid(4, 2, 2)))
        return on_device(pad_structure(structure_of(atoms, potential), size))

    @quickly
    def born_charges(structure):
        return Evaluation(potential, params, structure).born_charges()

    @quickly
    def forces(structure, field):
        def enthalpy(positions):
            moved = replace(structure, positions=positions)
            return potential.enthalpy_fn(params, moved, field)

        return -jax.grad(enthalpy)(structure.positions)

    cell = padded(atoms)
    born, twice = born_charges(cell), born_charges(padded(atoms * (2, 1, 1)))
    assert np.abs(born[:, 0, 1]).max() > 1e-5
    assert relative(twice, np.concatenate([born[:2], born[:2]])) < 1e-10
    if in_field:
        field = jnp.array([2e-4, -1e-4, 3e-4])
        found = (forces(cell, field) - forces(cell, -field)) / 2.0
        expected = np.einsum("iab,a->ib", born, field)
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
