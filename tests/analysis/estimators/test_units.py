"""Constants of the analysis against CODATA."""

import pytest
from scipy import constants

from jles.analysis.estimators.units import (
    ATOMIC_MASS,
    BOLTZMANN,
    CONDUCTIVITY,
    DIFFUSION,
    ENERGY_DENSITY,
    PLANCK,
    POLARIZATION,
    SPEED_OF_LIGHT,
    WAVENUMBER,
)


def test_constants_are_codata():
    mass = constants.atomic_mass * (constants.angstrom / constants.femto) ** 2 / constants.e
    boltzmann = constants.value("Boltzmann constant in eV/K")
    planck = constants.value("Planck constant in eV/Hz") / constants.femto
    light = constants.c * constants.femto / constants.angstrom
    found = (ATOMIC_MASS, BOLTZMANN, PLANCK, SPEED_OF_LIGHT, WAVENUMBER)
    assert found == pytest.approx((mass, boltzmann, planck, light, 1e8 / light), rel=2e-6)
    area, volume = constants.angstrom**2, constants.angstrom**3
    per_area = constants.e / area * constants.micro**-1 * constants.centi**2
    per_volume = constants.e / volume * constants.centi**3
    conducting = constants.e / (constants.angstrom * constants.femto)
    shown = (POLARIZATION, ENERGY_DENSITY, CONDUCTIVITY, DIFFUSION)
    diffusing = area / constants.femto / constants.centi**2
    assert shown == pytest.approx((per_area, per_volume, conducting, diffusing), rel=2e-6)
