r"""Averages over planes: densities, and the potential and field of smeared moments.

With x the height along the normal of the planes, A their area and sources of charge q, dipole
u and quadrupole Q (u and Q along the normal), the averaged potential felt by a smeared test
charge is

.. math:: \phi(x) = \sum_i \left[q_i - u_i\partial_x + \tfrac12 Q_i\partial_x^2\right]
    G(x - x_i), \qquad G(x) = -\frac{1}{2\epsilon_0A}
    \left[x\,\mathrm{erf}\frac{x}{\sqrt2\sigma} + \sigma\sqrt{2/\pi}\,e^{-x^2/2\sigma^2}\right]

for a slab. Far from a neutral slab it tends to opposite constants on the two sides. With period
L along the normal

.. math:: G(x) = \frac{1}{\epsilon_0AL}\sum_{n\ne0}\frac{e^{-\sigma^2k^2/2}}{k^2}e^{ikx},
    \qquad k = \frac{2\pi n}{L},

which leaves out k = 0: the mean of the potential is zero, and so is that of the field. Both are
the averages over a plane of the potential of `lattice_sum`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import erf

from jles.units import EPSILON0

_CONVERGED = 7.0
"""k_max in units of 1/sigma; terms beyond are below 1e-10 of the first."""


class Planes(NamedTuple):
    """Planes of two cell vectors."""

    normal: Float[np.ndarray, " 3"]
    area: float
    """angstrom^2"""
    period: float
    """Height of the cell along the normal, angstrom."""


class PlanarPotential(NamedTuple):
    """Potential (V) and its negative slope, the field along the normal (V/angstrom)."""

    potential: Float[np.ndarray, " heights"]
    field: Float[np.ndarray, " heights"]


def planes_of(cell: Float[np.ndarray, "3 3"], axis: int = 2) -> Planes:
    """The planes of the two cell vectors other than `axis`; the normal points along `axis`."""
    cell = np.asarray(cell, np.float64)
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    area = float(np.linalg.norm(normal))
    normal = normal / area * np.sign(normal @ cell[axis] or 1.0)
    return Planes(normal, area, float(cell[axis] @ normal))


def planar_density(
    heights: Float[np.ndarray, " atoms"],
    edges: Float[np.ndarray, " edges"],
    area: float,
    weights: Float[np.ndarray, " atoms"] | None = None,
    period: float | None = None,
) -> Float[np.ndarray, " bins"]:
    """Atoms, or the sum of their weights, per volume in layers between edges (1/angstrom^3).

    With a period the heights are wrapped to begin at the first edge.
    """
    if period is not None:
        heights = edges[0] + np.mod(heights - edges[0], period)
    found, _ = np.histogram(heights, edges, weights=weights)
    return found / (area * np.diff(edges))


def planar_potential(
    at: Float[np.ndarray, " heights"],
    heights: Float[np.ndarray, " atoms"],
    charges: Float[np.ndarray, " atoms"],
    area: float,
    period: float | None = None,
    *,
    dipoles: Float[np.ndarray, " atoms"] | None = None,
    quadrupoles: Float[np.ndarray, " atoms"] | None = None,
    sigma: float = 1.0,
    k_max: float | None = None,
) -> PlanarPotential:
    """Averages over planes of the potential and the field of smeared moments, see above.

    Args:
        at: heights of the planes, angstrom.
        heights: of the atoms along the normal, angstrom; with a period, of any image.
        charges: e, latent or of any other kind.
        area: of the planes in one cell, angstrom^2.
        period: along the normal, angstrom; None for a slab with vacuum on both sides.
        dipoles: components along the normal, e angstrom.
        quadrupoles: components along the normal (twice), e angstrom^2, of traceless ones.
        sigma: smearing width of the sum, angstrom.
        k_max: cutoff of the periodic sum, 1/angstrom; by default it is converged. That of a
            model gives the potential which its energy contains.
    """
    at, heights = np.asarray(at, np.float64), np.asarray(heights, np.float64)
    kernels = (
        _slab_kernels(at[:, None] - heights, sigma, area)
        if period is None
        else _periodic_kernels(at, heights, sigma, area, period, k_max)
    )
    moments = np.zeros((3, len(heights)))
    for row, moment in enumerate((charges, dipoles, quadrupoles)):
        if moment is not None:
            moments[row] = np.asarray(moment, np.float64)
    signed = moments * np.array([1.0, -1.0, 0.5])[:, None]
    potential = sum(kernel @ part for kernel, part in zip(kernels[:3], signed, strict=True))
    field = -sum(kernel @ part for kernel, part in zip(kernels[1:], signed, strict=True))
    return PlanarPotential(potential, field)


def _slab_kernels(x, sigma: float, area: float) -> list[np.ndarray]:
    """G and its first three derivatives."""
    scale = -1.0 / (2.0 * EPSILON0 * area)
    step = erf(x / (np.sqrt(2.0) * sigma))
    bell = np.sqrt(2.0 / np.pi) / sigma * np.exp(-0.5 * (x / sigma) ** 2)
    return [
        scale * (x * step + sigma**2 * bell),
        scale * step,
        scale * bell,
        -scale * bell * x / sigma**2,
    ]


class _Waves(NamedTuple):
    """A kernel as a sum of waves: a matrix in factored form."""

    there: np.ndarray
    here: np.ndarray

    def __matmul__(self, moments: np.ndarray) -> np.ndarray:
        return np.real(self.there @ (self.here @ moments))


def _periodic_kernels(at, heights, sigma, area, period, k_max) -> list[_Waves]:
    """G and its first three derivatives, as sums over k > 0 of twice the real part."""
    largest = _CONVERGED / sigma if k_max is None else k_max
    k = 2.0 * np.pi / period * np.arange(1, int(largest * period / (2.0 * np.pi) + 1e-9) + 1)
    weight = 2.0 * np.exp(-0.5 * (sigma * k) ** 2) / (EPSILON0 * area * period * k**2)
    there, here = np.exp(1j * np.outer(at, k)), np.exp(-1j * np.outer(k, heights))
    return [_Waves(there * (weight * (1j * k) ** order), here) for order in range(4)]
