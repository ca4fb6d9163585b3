"""Cost of a model per atom."""

from dataclasses import replace

import jax

from jles.models.config import ModelConfig
from jles.models.potential import build_potential, without_long_range
from jles.structures.batch import empty_structure, on_device
from jles.structures.sizes import Size

TYPICAL_NEIGHBORS = 50
_ATOMS = 1
"""One, which backbones treat in one block; XLA counts the body of a loop once."""


def flops_per_atom(config: ModelConfig, neighbors: int) -> float:
    """Floating-point operations of energy and forces for each atom, without the lattice sum.

    XLA counts them before it optimizes the program, for atoms with `neighbors` neighbours.
    """
    potential = build_potential(without_long_range(config))
    params = jax.eval_shape(potential.init, jax.random.key(0))
    structure = on_device(empty_structure(Size(_ATOMS, neighbors), "float32"))

    def energy(positions, params):
        return potential.energy_fn(params, replace(structure, positions=positions))

    slopes = jax.jit(jax.value_and_grad(energy))
    program = slopes.lower(structure.positions, params)
    return program.cost_analysis()["flops"] / _ATOMS
