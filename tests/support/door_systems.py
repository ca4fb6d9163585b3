"""A small model with charges and small systems for the functions of `jles.jax_md`."""

import jax.numpy as jnp
import numpy as np
from ase import units

from jles.models.config import (
    CaceConfig,
    DirectCharges,
    ElectrostaticsConfig,
    ModelConfig,
    ReadoutConfig,
)
from jles.models.potential import build_potential
from jles.predict.model import Model
from tests.support.small_systems import random_params, rattled

FS = units.fs
KT = 300.0 * units.kB
BACKBONE = CaceConfig(
    cutoff=3.0, n_rbf=2, n_radial_basis=2, n_atom_basis=2, l_max=1, body_order=2
)
CONFIG = ModelConfig(
    ("H", "O"),
    BACKBONE,
    energy=ReadoutConfig(hidden=(4,)),
    charges=DirectCharges(hidden=(4,)),
    electrostatics=ElectrostaticsConfig(k_max=2.0, cutoff="smooth"),
)


def door_model(dtype="float64", config=CONFIG) -> Model:
    return Model(config, random_params(build_potential(config)), dtype)


def masses(atoms):
    return jnp.asarray(atoms.get_masses()[:, None])


def crystal(seed=0, **options):
    """Eight atoms in a triclinic cell smaller than the cutoff's diameter."""
    return rattled(seed, count=8, **options)


def predicted(model, atoms, field=None, want=("energy", "forces")):
    """Energy without element energies, and forces, by `Model.predict`."""
    out = model.predict(atoms, want, field=field)  # element energies are zero here
    return float(out.energy), np.asarray(out.forces)
