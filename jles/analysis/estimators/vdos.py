r"""Vibrational density of states by element, from velocities.

.. math:: D_e(\tilde\nu) = \frac{1}{k T} \sum_{i\in e} m_i S_{v_i}(\tilde\nu),

with S the one-sided spectrum of `spectra`, summed over directions. By equipartition its
integral is the number of degrees of freedom: 3 per atom, and 3 fewer in total if the centre of
mass is at rest. The value at zero wavenumber is diffusion, :math:`D_e(0) = 12 c\, m N D / k T`.
"""

import numpy as np
from jaxtyping import Float, Int

from jles.analysis.estimators.spectra import Segments, periodograms
from jles.analysis.estimators.units import ATOMIC_MASS


def kinetic_periodograms(
    velocities: Float[np.ndarray, "frames atoms 3"],
    interval: float,
    length: int,
    masses: Float[np.ndarray, " atoms"],
    numbers: Int[np.ndarray, " atoms"],
    elements: Int[np.ndarray, " elements"],
) -> Segments:
    """Mass-weighted segment spectra, eV cm, one channel per element.

    Divided by kT, their mean is the density of states.

    Args:
        velocities: angstrom/fs.
        interval: time between frames, fs.
        length: frames per segment, from `spectra.segment_length`.
        masses: u.
        numbers: atomic numbers of the atoms.
        elements: atomic numbers of the channels.
    """
    found = periodograms(velocities.reshape(len(velocities), -1), interval, length)
    weights = np.where(numbers == np.asarray(elements)[:, None], 1.0, 0.0)
    weights = np.repeat(weights * masses, 3, axis=1) * ATOMIC_MASS
    return found._replace(power=np.einsum("ec,scp->sep", weights, found.power))
