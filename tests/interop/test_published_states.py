"""Published models of charged systems, held against their physics and their data.

There are no numbers of the reference for these files. Errors on the reference data are the
published ones or smaller, which no mistake in the import would leave unchanged.
"""

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from jles.interop.torch_import import import_torch
from jles.models.potential import build_potential
from jles.predict.model import Model
from tests.support.paths import data_path, model_path


def imported(name) -> Model:
    path = model_path(f"seeds/{name}.pth")
    return Model(*import_torch(path), where=name)


def force_error(model, frames) -> float:
    """Root mean square, meV/angstrom."""
    found = model.predict(frames)
    pairs = zip(found, frames, strict=True)
    errors = np.concatenate([out.forces - frame.get_forces() for out, frame in pairs])
    return 1e3 * np.sqrt(np.mean(errors**2))


def test_silver_clusters_have_the_shapes_of_their_charge():
    """Ag3+ is a triangle, Ag3- a chain (Ko et al., Nat. Commun. 12, 398 (2021))."""
    model = imported("ag_cluster_les")
    assert model.config.sees_charge
    potential = build_potential(model.config)
    energy = jax.jit(potential.energy_fn)
    shapes = {
        "triangle": [[0, 0, 0], [2.69, 0, 0], [1.345, 2.3296, 0]],
        "chain": [[0, 0, 0], [2.67, 0, 0], [5.34, 0, 0]],
    }

    def of(shape, charge):
        atoms = Atoms("Ag3", shapes[shape], info={"total_charge": charge})
        return float(energy(model.params, potential.structure(atoms, np.float32)))

    assert of("triangle", 1.0) < of("chain", 1.0) - 0.1
    assert of("chain", -1.0) < of("triangle", -1.0) - 0.1


@pytest.mark.parametrize(
    ("name", "file", "most"),
    [
        ("carbon_chain_les", "4g-hdnnp-n2p2/Carbon_chain_4G.xyz", 60.0),
        ("dimer_CC_les", "lode-charged-dimers/CC.xyz", 8.0),
    ],
)
def test_forces_of_charged_molecules_are_those_of_the_data(name, file, most):
    frames = read(data_path(file), ":")[::9]
    assert force_error(imported(name), frames) < most
