"""Velocities that a run starts with."""

import numpy as np
import pytest
from ase import Atoms

from jles.config import from_dict
from jles.dynamics.config import MdConfig
from jles.dynamics.start import choice_of_velocities, initial_momenta
from jles.dynamics.units import BOLTZMANN

NVE = {"kind": "nve"}
BATH = {"kind": "langevin", "temperature": 200.0}


def temperature_of(momenta, masses):
    degrees = 3 * len(masses) - 3
    return np.sum(momenta**2 / masses[:, None]) / (degrees * BOLTZMANN)


@pytest.mark.parametrize(
    ("ensemble", "velocities", "expected", "words"),
    [
        (NVE, {}, None, "those of the start"),
        (BATH, {}, None, "those of the start"),
        (NVE, {"temperature": 600.0}, 600.0, "drawn at 600 K, not those of the start"),
        (BATH, {"temperature": 0.0}, 0.0, "drawn at 0 K"),
        (BATH, {"source": "draw"}, 200.0, None),
        (NVE, {"source": "file", "temperature": 600.0}, None, None),
    ],
)
def test_velocities_of_the_start_are_kept_unless_a_temperature_is_given(
    rng, ensemble, velocities, expected, words
):
    atoms = Atoms("H8", rng.uniform(0.0, 5.0, (8, 3)))
    momenta = rng.normal(size=(8, 3))
    momenta -= momenta.mean(axis=0)
    values = {"steps": 1, "timestep": 0.5, "ensemble": ensemble, "velocities": velocities}
    config = from_dict(MdConfig, values, "config")
    atoms.set_momenta(momenta)
    found = initial_momenta(atoms, config)
    if expected is None:
        np.testing.assert_allclose(found, momenta, atol=1e-14)
    else:
        np.testing.assert_allclose(
            temperature_of(found, atoms.get_masses()), expected, atol=1e-9
        )
    said = choice_of_velocities(atoms, config)
    assert words in said if words else said is None
    atoms.set_momenta(np.zeros((8, 3)))
    assert choice_of_velocities(atoms, config) is None
