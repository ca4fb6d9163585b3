"""Every rung by direct sum and particle mesh, first and second derivatives, and the solve.

Boxes as in test_lattice_sum.py (float32, sigma 1, k_max pi). One measurement a size and rung:
energy with its gradient in all moments and positions. `jax-pme` is its P3M (four nodes) on the
coarsest mesh, in powers of two, whose forces are as accurate as ours, and PME (Lagrange).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.test_lattice_sum import K_MAX, SIGMA, box
from jles.electrostatics import (
    Multipoles,
    Response,
    ewald_energy,
    induce,
    local_field,
    plan_kgrid,
    plan_mesh,
    pme_energy,
)
from jles.electrostatics.multipoles import self_energy
from jles.electrostatics.sums.ewald import prepare_ewald, reciprocal_energy
from jles.units import COULOMB_CONSTANT

RUNGS = {"q": 0, "q+u": 1, "q+u+Q": 2}
ACCURACY = 1e-3
"""Relative force error of the mesh: that of the sum itself, whose k_max leaves 5e-3."""


def moments_of(rung, charges):
    rng = np.random.default_rng(1)
    shapes = ((3,), (3, 3))[: RUNGS[rung]]
    more = (0.2 * rng.normal(size=(len(charges), *shape)) for shape in shapes)
    return Multipoles(charges, *(jnp.asarray(array, jnp.float32) for array in more))


def direct(cell, _):
    return partial(
        ewald_energy, cell=cell, sigma=SIGMA, k_max=K_MAX, grid=plan_kgrid(cell, K_MAX)
    )


def mesh(cell, rung):
    plan = plan_mesh(cell, K_MAX, sigma=SIGMA, accuracy=ACCURACY, rank=RUNGS[rung])
    return partial(pme_energy, cell=cell, sigma=SIGMA, k_max=K_MAX, plan=plan)


def jaxpme(cell, _, method="p3m", step=0.7):
    solvers = pytest.importorskip("jaxpme.solvers")
    kspace = pytest.importorskip("jaxpme.kspace")
    potentials = pytest.importorskip("jaxpme.potentials")
    solver = getattr(solvers, method)(potentials.potential(exponent=1), interpolation_nodes=4)
    reciprocal = jnp.asarray(
        2.0 * math.pi * np.linalg.inv(np.asarray(cell, float)).T, jnp.float32
    )
    volume = float(np.linalg.det(cell))
    shape = jnp.asarray(kspace.get_kgrid_mesh(np.asarray(cell), step))
    kvectors = kspace.generate_kvectors(reciprocal, shape.shape, for_ewald=False)

    def energy(moments, positions):
        potential = solver.kspace(
            SIGMA, moments.charges, reciprocal, shape, kvectors, positions, volume, cell, None
        )
        return COULOMB_CONSTANT * jnp.sum(moments.charges * potential)

    return energy


WAYS = {"direct": direct, "mesh": mesh, "jax-pme": jaxpme}
CASES = [("direct", rung, atoms) for rung in RUNGS for atoms in (192, 1_536, 5_184, 12_288)]
CASES += [("mesh", "q", atoms) for atoms in (1_536, 12_288, 98_304, 1_000_000)]
CASES += [
    ("mesh", rung, atoms) for rung in ("q+u", "q+u+Q") for atoms in (1_536, 12_288, 98_304)
]
CASES += [("jax-pme", "q", atoms) for atoms in (1_536, 12_288, 98_304)]


@pytest.mark.parametrize(("way", "rung", "atoms"), CASES)
def test_energy_and_gradient(in_units, way, rung, atoms):
    charges, positions, cell = box(atoms)
    moments = moments_of(rung, charges)
    function = jax.jit(jax.value_and_grad(WAYS[way](cell, rung), (0, 1)))
    memory = function.lower(moments, positions).compile().memory_analysis()
    in_units(
        function,
        moments,
        positions,
        rounds=10 if atoms < 5_000 else 3,
        atoms=atoms,
        bytes_per_atom=round(memory.temp_size_in_bytes / atoms),
        force_error=force_error(way, rung, charges, positions, cell)
        if atoms <= 12_288
        else None,
    )


def force_error(way, rung, charges, positions, cell):
    """Relative error of the forces against the direct sum with the same cutoff (RMS)."""
    moments = moments_of(rung, charges)
    found, exact = (
        jax.jit(jax.grad(WAYS[name](cell, rung), 1))(moments, positions)
        for name in (way, "direct")
    )
    return float(f"{jnp.sqrt(jnp.sum((found - exact) ** 2) / jnp.sum(exact**2)):.1e}")


@pytest.mark.parametrize(("way", "atoms"), [(w, n) for w in WAYS for n in (1_536, 12_288)])
def test_second_derivatives(in_units, way, atoms):
    """The gradient in charges and positions of squared forces, as in training."""
    charges, positions, cell = box(atoms)
    energy = WAYS[way](cell, "q")

    def loss(charges, positions):
        forces = jax.grad(energy, 1)(Multipoles(charges), positions)
        return jnp.sum(forces**2)

    in_units(jax.jit(jax.grad(loss, (0, 1))), charges, positions, rounds=3, atoms=atoms)


@pytest.mark.parametrize("mode", ["one-shot", "self-consistent"])
@pytest.mark.parametrize("atoms", [192, 1_536])
def test_induction(in_units, mode, atoms):
    """Charges on polarizable atoms (1 angstrom^3): energy and forces."""
    charges, positions, cell = box(atoms)
    charges = 0.3 * charges
    response = Response(None, jnp.full(atoms, 1.0 / COULOMB_CONSTANT, jnp.float32), mode)
    grid = plan_kgrid(cell, K_MAX)

    def energy(positions):
        ewald = prepare_ewald(positions, cell, sigma=SIGMA, k_max=K_MAX, grid=grid)

        def interaction(moments):
            return reciprocal_energy(ewald, moments) - self_energy(moments, SIGMA)

        moments = Multipoles(charges)
        induced = induce(interaction, local_field(interaction, moments, response), response)
        return interaction(moments) + induced.energy, induced.report

    function = jax.jit(jax.value_and_grad(energy, has_aux=True))
    report = function(positions)[0][1]
    in_units(
        function, positions, rounds=5, steps=int(report.steps), converged=bool(report.converged)
    )
