"""Polarization of the atoms of all ranks, and the factor to physical moments; on the host."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Float, Int

from jles.models.config import ScreeningConfig
from jles.observables.screening import gauge_sign, hidden_permittivity


class Totals(NamedTuple):
    """Sums over the atoms of a rank or of all ranks; moments are permanent and latent.

    Attributes:
        charge: e.
        place: of positions, angstrom.
        chosen_charge: of the element that is known to be positive, e.
        chosen: how many atoms are of this element.
        polarizability: trace, e angstrom^2/V.
    """

    charge: float
    place: Float[np.ndarray, " 3"]
    chosen_charge: float
    chosen: float
    polarizability: float


def totals_of(
    charges: Float[np.ndarray, " own"],
    numbers: Int[np.ndarray, " own"],
    positions: Float[np.ndarray, "own 3"],
    polarizability: float,
    config: ScreeningConfig,
) -> np.ndarray:
    """The `Totals` of a rank in one array, to be added over ranks."""
    chosen = numbers == atomic_numbers.get(config.positive or "", 0)
    place = positions.sum(axis=0)
    sums = charges.sum(), *place, charges[chosen].sum(), chosen.sum(), polarizability
    return np.array(sums, np.float64)


def unpacked(array: Float[np.ndarray, " 7"]) -> Totals:
    """The totals in such an array."""
    return Totals(array[0], array[1:4], *array[4:])


def physical_factor(
    totals: Totals, atoms: int, volume: float, bulk: bool, fixed: bool, config: ScreeningConfig
) -> float:
    """The factor from latent to physical moments, see `ScreeningConfig`.

    Args:
        totals: of all ranks.
        atoms: of all ranks.
        volume: of the box, angstrom^3.
        bulk: whether every direction is periodic.
        fixed: whether the total charge fixes the sign.
        config: of the model.
    """
    factor = 1.0
    if config.positive is not None and not fixed:
        others = atoms - totals.chosen
        means = (
            totals.chosen_charge / max(totals.chosen, 1.0),
            (totals.charge - totals.chosen_charge) / max(others, 1.0),
        )
        present = jnp.array([totals.chosen > 0, others > 0])
        factor = float(gauge_sign(jnp.array(means), jnp.array([True, False]), present))
    if config.epsilon_infinity is not None and bulk:
        total = totals.polarizability / 3.0 * jnp.eye(3)
        factor *= float(hidden_permittivity(config.epsilon_infinity, total, volume)) ** 0.5
    return factor
