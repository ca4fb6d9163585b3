r"""Static dielectric constant from the fluctuation of the dipole moment of the cell.

For conducting ("tin-foil") boundary conditions, those of a lattice sum without its k = 0 term
(de Leeuw, Perram, Smith, Proc. R. Soc. A 373, 27 (1980); Neumann, Mol. Phys. 50, 841 (1983)),

.. math:: \epsilon = \epsilon_\infty +
    \frac{<P\cdot P> - <P>\cdot<P>}{3\,\epsilon_0 V k T},
    \qquad
    \epsilon_{ab} = \epsilon_\infty\delta_{ab}
    + \frac{<P_a P_b> - <P_a><P_b>}{\epsilon_0 V k T}.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jles.analysis.estimators.blocks import block_average
from jles.analysis.estimators.transport import Estimate, estimate
from jles.analysis.estimators.units import BOLTZMANN
from jles.units import EPSILON0


class Fluctuation(NamedTuple):
    """The contribution of the motion of the atoms to the dielectric constant."""

    mean: Estimate
    """A third of the trace."""
    tensor: Estimate
    """(3, 3)"""


def susceptibility_unit(temperature: float, volume: float) -> float:
    """Dielectric constant per (e angstrom)^2 of the variance of one component.

    Args:
        temperature: K.
        volume: of the cell, angstrom^3.
    """
    return 1.0 / (EPSILON0 * volume * BOLTZMANN * temperature)


def fluctuation(dipoles: Sequence[Float[np.ndarray, "_ 3"]], unit: float) -> Fluctuation:
    """Variance of the dipole of one or more runs, as a susceptibility.

    Every run has its own mean, since its polarization may lie on another branch. The variance
    about a sample mean is too small by the squared error of that mean, which is added. Errors
    come from blocking the squared deviations.

    Args:
        dipoles: of each run, e angstrom.
        unit: as `susceptibility_unit` gives it.
    """
    products = [np.einsum("fa,fb->fab", *[_deviations(d)] * 2) for d in dipoles]
    products = [
        part + np.diag(block_average(dipole).error ** 2)
        for part, dipole in zip(products, dipoles, strict=True)
    ]
    traces = [np.trace(part, axis1=1, axis2=2) / 3.0 for part in products]
    return Fluctuation(estimate(traces).scaled(unit), estimate(products).scaled(unit))


def running_fluctuation(
    dipole: Float[np.ndarray, "frames 3"], unit: float
) -> Float[np.ndarray, " frames"]:
    """The susceptibility from the frames up to and including each frame."""
    count = np.arange(1, len(dipole) + 1)
    start = dipole - dipole[0]
    mean = np.cumsum(start, axis=0) / count[:, None]
    square = np.cumsum(np.sum(start**2, axis=1)) / count
    return unit * (square - np.sum(mean**2, axis=1)) / 3.0


def _deviations(dipole):
    return dipole - np.mean(dipole, axis=0)
