"""Potentials, batches and labels for tests of the training."""

import jax.numpy as jnp
import numpy as np

from jles.data.frames import read_frames
from jles.data.loader import RESPONSES, Loader
from jles.models.potential import build_potential
from jles.train import loop
from tests.support.small_systems import TINY_MODEL, small_config, write_frames

WITHOUT_CHARGES = TINY_MODEL | {"charges": None}

SPRING_PARAMS = {"spring": np.array([0.3]), "offset": np.array([-0.2])}
RESPONSE_PARAMS = {
    "charge": np.array([0.4]),
    "soft": np.array([0.7]),
    "spring": np.array([0.2]),
}
MATRIX = np.array([[1.0, 0.5, 0.0], [-0.3, 2.0, 0.1], [0.0, 0.4, -1.0]])
RESPONSE_KEYS = {
    "born_charges": "bec",
    "dipole": "dipole_ref",
    "polarizability": "polarizability_ref",
}


def with_functions(config, **functions):
    """A potential whose functions are replaced by these."""
    potential = build_potential(config)
    for name, function in functions.items():
        setattr(potential, name, function)
    return potential


def springs(wrap=lambda energy_fn: energy_fn):
    """A potential of springs between neighbours: two parameters, quickly compiled."""

    def energy_fn(params, structure):
        positions, cell = structure.positions, structure.cell
        shift = structure.neighbor_shift.astype(cell.dtype) @ cell
        vectors = positions[structure.neighbor_index] + shift - positions[:, None]
        squared = jnp.sum(vectors**2, axis=-1) * structure.neighbor_mask
        atoms = jnp.sum(structure.mask)
        return params["spring"][0] * jnp.sum(squared) + params["offset"][0] * atoms

    return with_functions(small_config(charges=None), energy_fn=wrap(energy_fn))


def linear_responses(calls):
    """P = charge * MATRIX @ (sum of positions), A = soft * atoms, and springs to the origin.

    Its functions append their names to `calls`.
    """

    def dipole_fn(params, structure):
        calls.append("dipole")
        places = jnp.where(structure.mask[:, None], structure.positions, 0.0)
        return params["charge"][0] * (MATRIX @ jnp.sum(places, axis=0))

    def coupling_fn(params, structure, field, local):
        calls.append("born_charges")
        return field @ dipole_fn(params, structure)

    def enthalpy_fn(params, structure, field):
        calls.append("polarizability")
        return -0.5 * params["soft"][0] * jnp.sum(structure.mask) * field @ field

    def energy_fn(params, structure):
        calls.append("energy")
        places = jnp.where(structure.mask[:, None], structure.positions, 0.0)
        return params["spring"][0] * jnp.sum(places**2)

    return with_functions(
        small_config(),
        energy_fn=energy_fn,
        coupling_fn=coupling_fn,
        dipole_fn=dipole_fn,
        enthalpy_fn=enthalpy_fn,
    )


def with_responses(atoms, names=RESPONSES, seed=0):
    """Random labels, which no model predicts."""
    rng, atoms = np.random.default_rng(seed), atoms.copy()
    values = {
        "born_charges": rng.normal(size=(len(atoms), 9)),
        "dipole": rng.normal(size=3),
        "polarizability": rng.normal(size=9),
    }
    for name in names:
        (atoms.arrays if name == "born_charges" else atoms.info)[RESPONSE_KEYS[name]] = values[
            name
        ]
    return atoms


def frames_of(atoms_list, tmp_path):
    """The frames after writing and reading."""
    return read_frames(write_frames(tmp_path / "frames.xyz", atoms_list))


def loader_of(frames, batch_size=4, **options):
    """Batches without a reciprocal sum, in float64."""
    options = {"cutoff": 3.0, "k_max": None, "dtype": np.float64} | options
    return Loader(frames, batch_size=batch_size, **options)


def response_loader(frames, responses=RESPONSES, **options):
    """Batches in one bucket with labels of the response, in float64."""
    options = {"cutoff": 3.0, "k_max": 2.0, "batch_size": 3, "dtype": np.float64} | options
    return Loader(frames, max_buckets=1, responses=responses, **options)


def without_pictures(patch):
    """Leaves out the pictures, which take most of the time of a tiny run."""
    patch.setattr(loop, "learning_curve", lambda *_: None)
    patch.setattr(loop, "validation_pictures", lambda *_: None)
