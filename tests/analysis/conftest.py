"""Fixtures of the analysis."""

import numpy as np
import pytest

from jles.analysis.estimators.units import ATOMIC_MASS, BOLTZMANN
from tests.support.double_well import COERCIVE, quasi_static, triangle
from tests.support.processes import oscillator, write_run


@pytest.fixture(scope="session")
def cycled():
    """Field and polarization of three slow cycles of a double well."""
    field = triangle(2.5 * COERCIVE, 3, 1000)
    return field, quasi_static(field)


@pytest.fixture
def current_run(tmp_path, rng):
    """A run of 400 frames of random current, 1 fs apart, in a cube of 7 angstrom."""
    current = {"current": rng.standard_normal((400, 3)), "interval": 2}
    return write_run(tmp_path / "run", {"current": current}, timestep=0.5, cell=7.0 * np.eye(3))


def ions(rng, frames, interval, charge=0.7, mass=12.0, temperature=300.0, atoms=8):
    """Charges on springs: velocities and the two records of their dipole."""
    variance = BOLTZMANN * temperature / (mass * ATOMIC_MASS)
    position, velocity = oscillator(rng, frames, 3 * atoms, interval, 0.2, 0.01, variance)
    shape = (frames, atoms, 3)
    position, velocity = position.reshape(shape), velocity.reshape(shape)
    return velocity, charge * velocity.sum(axis=1), charge * position.sum(axis=1)


@pytest.fixture(scope="session")
def ion_run(tmp_path_factory):
    """A run of eight charges on springs."""
    velocity, current, polarization = ions(np.random.default_rng(5), 2**15, 1.0)
    return write_run(
        tmp_path_factory.mktemp("ions") / "run",
        {
            "current": {"current": current},
            "polarization": {"polarization": polarization},
            "velocities": {"velocities": velocity.astype(np.float32)},
        },
        numbers=[6] * 8,
        masses=[12.0] * 8,
    )
