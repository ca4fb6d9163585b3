"""Exported programs: any numbers of atoms and neighbours, in a process that has only JAX.

Programs whose argument is a `Structure` are on the page docs/devices.md: JAX puts numbers into
one while it exports, which the type checks of the tests refuse.
"""

import subprocess
import sys

import jax
import numpy as np
import pytest
from ase import Atoms
from jax import export as jax_export

import jles
from jles.errors import InputError
from jles.models.potential import build_potential
from jles.predict.export import flat_arrays
from jles.predict.model import Model
from tests.support.small_systems import random_params

HIDDEN = {"hidden": [4]}
BACKBONE = {
    "cutoff": 3.0,
    "n_rbf": 3,
    "n_radial_basis": 2,
    "n_atom_basis": 2,
    "l_max": 0,
    "body_order": 1,
}
WANT = ("energy", "forces", "born_charges", "current")
LOADER = """
import sys
sys.modules["jles"] = None  # importing it fails
import jax
import numpy as np
from jax.export import deserialize
jax.config.update("jax_enable_x64", True)
program, arrays, results = sys.argv[1:]
loaded = deserialize(bytearray(open(program, "rb").read()))
found = loaded.call(dict(np.load(arrays)))
assert not [name for name in sys.modules if name.startswith("jles.")]
np.savez(results, **found)
"""


def crystal(repeat=1, pbc=True):
    places = [[0.1, 0.2, 0.1], [0.9, 0.7, 0.3], [-0.7, 0.9, 0.2], [1.9, 2.1, 1.8]]
    atoms = Atoms("OHHO", places, cell=[3.8, 3.9, 4.0], pbc=pbc).repeat((repeat, 1, 1))
    atoms.rattle(0.05, seed=repeat)
    return atoms


def model_of(**config):
    small = {"elements": ["H", "O"], "energy": HIDDEN, "charges": HIDDEN, "backbone": BACKBONE}
    potential = build_potential(small | config)
    return Model(potential.config, random_params(potential), dtype="float64")


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def exported(model):
    return jles.export(model, crystal(2), WANT)


def inputs(model, atoms):
    """Arrays for a program with "current", and the velocities in them."""
    structure = model.structure(atoms)
    velocities = np.random.default_rng(0).normal(size=structure.positions.shape)
    return flat_arrays(structure) | {"velocities": velocities}


def check(found, model, atoms, arrays):
    expected = model.predict(atoms, ("energy", "forces", "born_charges"))
    count, moved = len(atoms), arrays["velocities"][: len(atoms)]
    drift = moved.mean(axis=0)
    current = np.einsum("iab,ib->a", expected.born_charges, moved - drift)
    current += atoms.info.get("total_charge", 0.0) * drift
    np.testing.assert_allclose(found["energy"], expected.energy, rtol=1e-10)
    np.testing.assert_allclose(found["forces"][:count], expected.forces, atol=1e-10)
    np.testing.assert_allclose(found["born_charges"][:count], expected.born_charges, atol=1e-10)
    np.testing.assert_allclose(found["current"], current, atol=1e-10)


@pytest.mark.parametrize("repeat", [1, 2])
def test_another_process_computes_the_same_without_jles(model, exported, tmp_path, repeat):
    atoms = crystal(repeat)
    arrays = inputs(model, atoms)
    files = [tmp_path / name for name in ("program", "arrays.npz", "results.npz")]
    files[0].write_bytes(exported.serialize())
    np.savez(files[1], **arrays)
    command = [sys.executable, "-c", LOADER, *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    check(np.load(files[2]), model, atoms, arrays)


@pytest.mark.parametrize("charge", [0.0, 2.0])
def test_the_current_is_that_of_jax_md(model, exported, charge):
    atoms = crystal()
    atoms.info["total_charge"] = charge
    arrays = inputs(model, atoms)
    found = exported.call(arrays)["current"]
    with jax.enable_x64(True):
        places, velocities = atoms.positions, arrays["velocities"][: len(atoms)]
        neighbors = jles.jax_md.neighbor_list(model, atoms)[0].allocate(places)
        current_fn = jax.jit(jles.jax_md.current_fn(model, atoms))
        expected = current_fn(places, velocities, neighbor=neighbors)
    assert len(arrays["velocities"]) > len(atoms)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_cell_larger_than_the_example_gives_no_numbers(model, exported):
    found = exported.call(inputs(model, crystal(3)))
    assert all(np.isnan(value).all() for value in found.values())


@pytest.mark.parametrize("number", [2, 6, 9])
def test_an_element_that_the_model_does_not_know_gives_no_numbers(model, exported, number):
    arrays = inputs(model, crystal(2))
    arrays["numbers"] = np.array(arrays["numbers"])
    arrays["numbers"][3] = number
    assert all(np.isnan(value).all() for value in exported.call(arrays).values())


@pytest.mark.long
def test_clusters_with_response_in_a_field():
    polarizability = {"kind": "scalar"} | HIDDEN
    model = model_of(polarizability=polarizability, charge_softness=HIDDEN)
    molecule = crystal(pbc=False)
    molecule.set_cell(None)
    arrays = flat_arrays(model.structure(molecule))
    neighbors = arrays["neighbor_index"].shape[1] + 4
    exported = jles.export(model, molecule, field=True, neighbors=neighbors)
    for name in ("index", "shift", "mask"):
        slots = arrays[f"neighbor_{name}"]
        more = [(0, 0), (0, 4)] + [(0, 0)] * (slots.ndim - 2)
        arrays[f"neighbor_{name}"] = np.pad(slots, more)
    field = np.array([0.01, 0.0, -0.02])
    found = exported.call(arrays | {"field": field})
    expected = model.predict(molecule, field=field)
    np.testing.assert_allclose(found["energy"], expected.energy, rtol=1e-10)
    np.testing.assert_allclose(found["forces"][:4], expected.forces, atol=1e-10)


SUMS = {"cutoff": 3.0, "avg_num_neighbors": 20.0}
BACKBONES = {
    "mace": SUMS | {"hidden_irreps": "2x0e + 2x1o", "max_ell": 1, "correlation": 2},
    "nequip": SUMS | {"num_layers": 2, "l_max": 1, "num_features": 2, "invariant_neurons": 2},
    "allegro": SUMS | {"l_max": 1, "num_scalar_features": 2, "num_tensor_features": 2},
    "painn": SUMS | {"n_atom_basis": 2, "n_interactions": 2},
}


def model_with(kind):
    return model_of(backbone={"kind": kind} | BACKBONES[kind])


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_backbone_is_exported_for_any_numbers_of_atoms_and_neighbours(kind):
    program = jles.export(model_with(kind), crystal(2))
    shapes = {str(size) for array in program.in_avals for size in array.shape}
    assert {"atoms", "neighbors"} <= shapes


@pytest.mark.long
@pytest.mark.parametrize("kind", BACKBONES)
def test_the_program_of_every_backbone_computes_the_same(kind):
    model = model_with(kind)
    program = jles.export(model, crystal(2), WANT)
    for repeat in (1, 2):
        arrays = inputs(model, crystal(repeat))
        check(program.call(arrays), model, crystal(repeat), arrays)


def test_multipoles_are_arguments_and_results_of_programs():
    moments = jles.Multipoles(np.ones(2), np.ones((2, 3)))
    program = jax_export.export(jax.jit(lambda m: m._replace(dipoles=None)))(moments)
    found = jax_export.deserialize(program.serialize()).call(moments)
    assert isinstance(found, jles.Multipoles)
    assert found.dipoles is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"want": ("forces", "heat")}, "unknown 'heat'"),
        ({"want": ("polarizability",)}, "needs something that responds to a field"),
        ({"atoms": -1}, "atoms is -1; it must be a positive number, or None"),
        ({"neighbors": 0}, "neighbors is 0; it must be a positive number, or None"),
    ],
)
def test_refusals(model, options, message):
    with pytest.raises(InputError, match=message):
        jles.export(model, crystal(), **options)
