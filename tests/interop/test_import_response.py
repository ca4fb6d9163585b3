"""Imported published models give the published Born charges, by the published formula."""

import jax
import numpy as np
import pytest

from jles.models.potential import build_potential
from jles.predict.outputs import outputs
from jles.structures.batch import build_structure, merge_sizes, pad_structure, size_of
from tests.interop.test_import_published import GROUPS, imported
from tests.support.marks import long_unless
from tests.support.paths import golden_path

# All of them take a minute and a half to compile.
CASES = [
    long_unless(group[0] == "cace/water_v1_cluster4", group, id=group[0])
    for group in GROUPS
    if group[0].startswith("cace/")
]


def reference(name):
    """Structure, model and Born charges in the checkpoint's own unit, polarization first."""
    data = np.load(golden_path(f"{name}.npz"))
    born = data["bec_lattice_correct"] if "bec_lattice_correct" in data.files else data["bec"]
    factor = float(data["bec_normalization_factor"])
    geometry = data["numbers"], data["positions"], data["cell"], data["pbc"]
    return geometry, str(data["model"]), born.transpose(0, 2, 1) / factor


@pytest.mark.parametrize("group", CASES)
def test_born_charges(group):
    config, _ = imported(reference(group[0])[1])
    potential = build_potential(config)
    options = {"cutoff": config.backbone.cutoff, "k_max": config.electrostatics.k_max}
    structures = [
        build_structure(*reference(name)[0], dtype="float64", **options) for name in group
    ]
    size = merge_sizes([size_of(structure) for structure in structures])

    @jax.jit
    def born(params, structure):
        wanted = frozenset({"born_charges"})
        return outputs(potential, params, structure, None, wanted, "published")["born_charges"]

    for name, structure in zip(group, structures, strict=True):
        _, model, expected = reference(name)
        params = jax.tree.map(lambda leaf: leaf.astype("float64"), imported(model)[1])
        found = born(params, pad_structure(structure, size))[: len(expected)]
        expected = expected * config.charges.scale
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
