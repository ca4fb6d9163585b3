"""Measured costs of the sums, by which `method: auto` and the buckets of a data set choose.

Costs are those of energy and gradient in all moments and positions, in the units of
docs/electrostatics.md. They are fitted to times measured as in benchmarks/test_multipoles.py
(float32, two shared CPU cores, 2026-11-29) for boxes of 1,536, 5,184 and 12,288 atoms at the
density of water. Direct sum and mesh took turns, and the fastest of the repeats counts. The
relative force errors of the mesh were 1e-4 and 1e-6. The fitted ratio of the costs is within
a factor of 1.5 of the measured one.
"""

import math

from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.mesh import MeshPlan

_PER_WAVE = (6.6e-9, 1.5e-8, 2.9e-8)
_PER_ATOM = (7e-6, 1e-5, 5.8e-5)
_PER_POINT = (3.6e-7, 6.6e-7, 7.8e-7)
"""By rank: with charges, dipoles, quadrupoles."""

_PER_PAIR = 6.8e-8
"""With charges."""


def direct_cost(atoms: int, grid: KGrid, rank: int) -> float:
    """Cost of the direct sum, proportional to atoms times wavevectors."""
    return _PER_WAVE[rank] * atoms * math.prod(n + 1 for n in grid)


def mesh_cost(atoms: int, mesh: MeshPlan, rank: int) -> float:
    """Cost of the particle mesh: spreading of the atoms, and Fourier transforms."""
    return _PER_ATOM[rank] * atoms + _PER_POINT[rank] * math.prod(mesh.sizes)


def pair_cost(atoms: int) -> float:
    """Cost of the sum over the pairs of a cluster."""
    return _PER_PAIR * atoms**2
