"""Short computations whose results are known, on the default device of JAX.

They find a broken installation or a compiler that computes wrongly. They take a few seconds,
nearly all of them for compiling.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from jles.electrostatics.lattice_sum import lattice_sum
from jles.electrostatics.multipoles import Multipoles
from jles.models.potential import build_potential
from jles.units import COULOMB_CONSTANT

MADELUNG_ROCK_SALT = 1.7475645946331822
"""Of rock salt, for the distance of nearest neighbours."""

_MODEL = {
    "elements": ["H", "O"],
    "backbone": {
        "kind": "cace",
        "cutoff": 3.0,
        "n_rbf": 3,
        "n_radial_basis": 3,
        "n_atom_basis": 2,
        "l_max": 1,
        "body_order": 2,
    },
}


class Outcome(NamedTuple):
    """The result of one check.

    Attributes:
        name: what was computed.
        error: deviation from the known result, relative unless the name says otherwise; NaN if
            the computation raised an exception.
        bound: largest deviation that is accepted.
        seconds: with compilation.
        message: of the exception; empty without one.
    """

    name: str
    error: float
    bound: float
    seconds: float
    message: str = ""

    @property
    def passed(self) -> bool:
        """Whether the deviation is within the bound; a deviation of NaN is not."""
        return self.error <= self.bound


def self_test() -> Iterator[Outcome]:
    """Runs the checks one by one. A check that raises an exception has failed."""
    for name, bound, check in CHECKS:
        started = time.monotonic()
        error, message = float("nan"), ""
        try:
            error = check()
        except Exception as problem:
            # Whatever goes wrong belongs in the report, and the other checks still run.
            message = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        yield Outcome(name, error, bound, time.monotonic() - started, message)


def compiled_sum() -> float:
    """1 + 2 + ... + 1000, compiled, in float32: every partial sum is exact."""
    total = jax.jit(jnp.sum)(jnp.arange(1.0, 1001.0, dtype=jnp.float32))
    return abs(float(total) / 500_500.0 - 1.0)


def special_functions() -> float:
    """The functions of an Ewald sum against SciPy, in float32."""
    x = np.linspace(0.05, 3.0, 129).astype(np.float32)
    found = jax.jit(lambda x: (jax.scipy.special.erfc(x), jnp.exp(-(x**2)), jnp.cos(x)))(x)
    exact = x.astype(np.float64)
    known = (scipy.special.erfc(exact), np.exp(-(exact**2)), np.cos(exact))
    return max(
        float(np.max(np.abs(a - b) / np.max(np.abs(b))))
        for a, b in zip(found, known, strict=True)
    )


def madelung_constant() -> float:
    """The lattice sum of rock salt in float64, and the rest of the point charges by hand."""
    cell = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    positions, charges = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), np.array([1.0, -1.0])
    sigma = 0.25
    with jax.enable_x64(True):
        smeared = lattice_sum(
            Multipoles(charges), positions, cell, sigma=sigma, k_max=32.0, remove_self=True
        ).energy
    energy = float(smeared) + _point_minus_smeared(positions, charges, cell, sigma)
    return abs(energy / (-MADELUNG_ROCK_SALT * COULOMB_CONSTANT) - 1.0)


def _point_minus_smeared(positions, charges, cell, sigma) -> float:
    """Energy of neutral point charges minus that of Gaussian charges of width sigma, eV.

    Interactions of distinct charges only; they decay like erfc(r / sqrt(2) sigma).
    """
    shifts = np.stack(np.meshgrid(*3 * [np.arange(-4, 5)], indexing="ij"), -1).reshape(-1, 3)
    apart = positions[None, :, None] - positions[:, None, None] + shifts @ cell
    distance = np.linalg.norm(apart, axis=-1)
    pairs = charges[:, None, None] * charges[None, :, None]
    other = distance > 0.0
    terms = np.zeros(distance.shape)
    terms[other] = scipy.special.erfc(distance[other] / (2.0**0.5 * sigma)) / distance[other]
    return 0.5 * COULOMB_CONSTANT * float(np.sum(pairs * terms))


def _water_box():
    """Two water molecules in a small skewed cell, not relaxed."""
    from ase import Atoms

    one = np.array([[0.0, 0.0, 0.1], [0.0, 0.77, -0.49], [0.0, -0.75, -0.47]])
    turned = one[:, [2, 0, 1]] + np.array([2.1, 2.4, 1.9])
    cell = [[4.2, 0.0, 0.0], [0.3, 4.5, 0.0], [0.0, -0.4, 4.8]]
    return Atoms("OHHOHH", np.concatenate([one, turned]), cell=cell, pbc=True)


@cache
def _model():
    """A potential, random parameters and a structure, in float64; inside `jax.enable_x64`."""
    potential = build_potential(_MODEL)
    shapes = jax.eval_shape(potential.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.6, leaf.shape)), shapes)
    return potential, params, potential.structure(_water_box(), np.float64)


@cache
def _energy_in_float64():
    """A compiled function of the positions, energy and its gradient, and the positions."""
    potential, params, structure = _model()

    def energy(x):
        return potential.energy_fn(params, replace(structure, positions=x))

    return jax.jit(jax.value_and_grad(energy)), structure.positions


def forces_are_derivatives() -> float:
    """Forces of a small model against central differences of its energy, in float64."""
    with jax.enable_x64(True):
        energy_and_slope, x = _energy_in_float64()
        direction = np.random.default_rng(1).normal(size=x.shape)
        step = 1e-4
        up, down = (energy_and_slope(x + sign * step * direction)[0] for sign in (1.0, -1.0))
        slope = float(jnp.sum(energy_and_slope(x)[1] * direction))
        return abs(float(up - down) / (2.0 * step) / slope - 1.0)


def float32_agrees() -> float:
    """Energy of a small model in float32 against float64."""
    with jax.enable_x64(True):
        energy_and_slope, x = _energy_in_float64()
        exact = float(energy_and_slope(x)[0])
        potential, params, _ = _model()
    single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
    structure = potential.structure(_water_box(), np.float32)
    return abs(float(jax.jit(potential.energy_fn)(single, structure)) / exact - 1.0)


CHECKS: tuple[tuple[str, float, Callable[[], float]], ...] = (
    ("a compiled sum", 1e-7, compiled_sum),
    ("special functions against SciPy", 2e-6, special_functions),
    ("Madelung constant of rock salt", 1e-10, madelung_constant),
    ("forces against differences of energies", 1e-6, forces_are_derivatives),
    ("energy in float32 against float64", 1e-4, float32_agrees),
)
"""Name, bound and function of every check."""
