"""Born charges for phonopy: index order, symmetry, units, and refused inputs."""

import numpy as np
import pytest
from ase.io import read, write
from jax import numpy as jnp

from jles.cli.main import main
from jles.errors import InputError
from jles.models.config import DirectCharges, ScalarPolarizability
from jles.models.store import save_model
from jles.observables.born_charges import born_charges
from jles.predict.phonopy_born import nac_params, write_born
from jles.units import COULOMB_CONSTANT
from tests.support.small_systems import (
    rattled,
    small_backbone,
    small_config,
    small_model,
    write_frames,
)

DIELECTRIC = np.array([[3.0, 0.2, -0.1], [0.2, 4.0, 0.3], [-0.1, 0.3, 5.0]])
TETRAGONAL = np.diag([5.0, 5.0, 6.0])
OPTIONS = ["--dtype", "float64", "--epsilon-infinity", "2.5"]
QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def phonopy():
    reason = "phonopy is not installed: its reader and its correction are what is tested here"
    return pytest.importorskip("phonopy", reason=reason)


def crystal(phonopy, symbols, fractional, cell):
    """A one-cell Phonopy object without forces, so that only the correction remains."""
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = PhonopyAtoms(symbols=symbols, scaled_positions=fractional, cell=cell)
    phonon = phonopy.Phonopy(atoms, supercell_matrix=np.eye(3, dtype=int), primitive_matrix="P")
    phonon.force_constants = np.zeros((len(symbols), len(symbols), 3, 3))
    return phonon


@pytest.fixture(scope="module")
def low(phonopy):
    """Two atoms in a triclinic cell, no symmetry."""
    cell = np.array([[4.0, 0.3, 0.1], [-0.4, 5.0, 0.2], [0.6, 0.7, 6.0]])
    places = [[0.0, 0.0, 0.0], [0.4, 0.45, 0.55]]
    return crystal(phonopy, ["Mg", "O"], places, cell)


@pytest.fixture(scope="module")
def turned(phonopy):
    """P4: four atoms that a quarter turn takes into one another, and one on the axis."""
    first = np.array([0.13, 0.29, 0.1])
    places = [np.linalg.matrix_power(QUARTER_TURN, n).astype(int) @ first for n in range(4)]
    return crystal(phonopy, ["O"] * 4 + ["Mg"], [*places, [0.0, 0.0, 0.37]], TETRAGONAL)


def read_back(phonon, path, charges, dielectric):
    from phonopy.file_IO import parse_BORN

    independent = phonon.primitive_symmetry.get_independent_atoms()
    write_born(path, charges, dielectric, independent)
    return independent, parse_BORN(phonon.primitive, filename=path)


def test_phonopy_reads_what_was_written_untransposed(low, rng, tmp_path):
    charges = rng.normal(size=(2, 3, 3))
    independent, params = read_back(low, tmp_path / "BORN", charges, DIELECTRIC)
    assert list(independent) == [0, 1]
    np.testing.assert_allclose(params["born"], charges, atol=1e-11)
    np.testing.assert_allclose(params["dielectric"], DIELECTRIC, atol=1e-11)
    np.testing.assert_allclose(params["factor"], COULOMB_CONSTANT, atol=1e-11)


def test_phonopy_turns_independent_charges_into_all(turned, rng, tmp_path):
    one, turns = (
        rng.normal(size=(3, 3)),
        [np.linalg.matrix_power(QUARTER_TURN, n) for n in range(4)],
    )
    axial = np.array([[1.1, 0.4, 0.0], [-0.4, 1.1, 0.0], [0.0, 0.0, 1.7]])
    charges = np.array([*(turn @ one @ turn.T for turn in turns), axial])
    dielectric = np.diag([3.0, 3.0, 4.0])
    independent, params = read_back(turned, tmp_path / "BORN", charges, dielectric)
    assert list(independent) == [0, 4]
    np.testing.assert_allclose(params["born"], charges, atol=1e-11)


def test_the_first_index_is_the_field_and_the_factor_is_the_constant_of_coulomb(low, rng):
    # Opposite to one another: phonopy itself imposes the acoustic sum rule.
    flow = jnp.asarray(rng.normal(size=(3, 3)) * np.array([1.0, -1.0])[:, None, None])
    places = jnp.asarray(low.primitive.positions)
    charges = born_charges(lambda r, field: jnp.einsum("a,iab,ib", field, flow, r), places)
    low.nac_params = nac_params(charges, DIELECTRIC) | {"method": "wang"}
    masses, volume = low.primitive.masses, low.primitive.volume
    for direction in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, -0.7, 0.5]):
        low.dynamical_matrix.run([0.0, 0.0, 0.0], q_direction=low.primitive.cell @ direction)
        felt = np.einsum("a,iab->ib", direction, flow)
        pairs = np.einsum("ia,jb->iajb", felt, felt) / (direction @ DIELECTRIC @ direction)
        pairs /= np.sqrt(masses[:, None, None, None] * masses[None, None, :, None])
        expected = 4.0 * np.pi * COULOMB_CONSTANT / volume * pairs.reshape(6, 6)
        found = low.dynamical_matrix.dynamical_matrix
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("charges", "dielectric", "message"),
    [
        (np.zeros((2, 3)), DIELECTRIC, r"born_charges: must be \(atoms, 3, 3\).*got \(2, 3\)"),
        (np.zeros((0, 3, 3)), DIELECTRIC, r"born_charges: .*got \(0, 3, 3\)"),
        (np.full((2, 3, 3), np.nan), DIELECTRIC, "born_charges: holds NaN"),
        ("many", DIELECTRIC, "born_charges: must be an array of numbers"),
        (np.zeros((2, 3, 3)), 3.2, r"epsilon_infinity: must be \(3, 3\).*times the identity"),
        (
            np.zeros((2, 3, 3)),
            np.full((3, 3), np.inf),
            "epsilon_infinity: holds NaN or infinity",
        ),
        (
            np.zeros((2, 3, 3)),
            DIELECTRIC + np.eye(3, k=1),
            "epsilon_infinity: must be symmetric",
        ),
        (np.zeros((2, 3, 3)), np.diag([3.0, 2.0, 0.9]), "eigenvalue is 0.9.*at least 1"),
        (np.zeros((2, 3, 3)), -DIELECTRIC, "eigenvalue is -5.*at least 1"),
    ],
)
def test_wrong_input_is_named(charges, dielectric, message):
    with pytest.raises(InputError, match=message) as info:
        nac_params(charges, dielectric)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("places", [[], [0, 2], [-1], [1, 0], [0.5], 0])
def test_wrong_independent_atoms_are_refused(places, tmp_path):
    with pytest.raises(
        InputError, match="independent_atoms: must be ascending indices among 2 atoms"
    ):
        write_born(tmp_path / "BORN", np.zeros((2, 3, 3)), DIELECTRIC, places)
    assert list(tmp_path.iterdir()) == []


# --- from the command line


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A model with a polarizability, one without, and a crystal without symmetry."""
    folder = tmp_path_factory.mktemp("born")
    backbone = small_backbone(l_max=0, body_order=1)
    plain = small_config(backbone=backbone, charges=DirectCharges(hidden=(), scale=1.0))
    polarizable = plain.replace(polarizability=ScalarPolarizability(hidden=()))
    for name, config in (("plain", plain), ("polarizable", polarizable)):
        save_model(folder / name, config, small_model(config)[1], {}, {})
    atoms = rattled(0, count=2)
    atoms.arrays["bec"] = np.tile(np.eye(3).ravel(), (2, 1))
    write_frames(folder / "crystal.xyz", [atoms])
    write_frames(folder / "two.xyz", [atoms, atoms])
    return folder


def phonopy_reads(path, atoms):
    from phonopy.file_IO import parse_BORN
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array)
    return parse_BORN(cell, filename=path)


@pytest.fixture(scope="module")
def predicted(stored, tmp_path_factory):
    """Predictions of both models, and the files for phonopy that are written with them."""
    found = {}
    for name in ("plain", "polarizable"):
        folder, data = tmp_path_factory.mktemp(name), stored / "crystal.xyz"
        born, out = folder / "BORN", folder / "out.xyz"
        command = ["predict", stored / name, data, "-o", out, "--phonopy-born", born, *OPTIONS]
        assert main(list(map(str, command))) == 0
        found[name] = read(out), born
    return found


@pytest.mark.usefixtures("phonopy")
@pytest.mark.parametrize("name", ["plain", "polarizable"])
def test_predict_writes_what_phonopy_reads(name, predicted):
    """Born charges of the output; its dielectric tensor, or that of the command line."""
    atoms, born = predicted[name]
    params = phonopy_reads(born, atoms)
    np.testing.assert_allclose(params["born"].reshape(2, 9), atoms.arrays["bec"], atol=1e-7)
    epsilon = atoms.info.get("epsilon_infinity", 2.5 * np.eye(3))
    np.testing.assert_allclose(params["dielectric"], np.reshape(epsilon, (3, 3)), atol=1e-7)
    np.testing.assert_allclose(np.trace(params["dielectric"]), 7.5, atol=1e-7)


@pytest.mark.long
@pytest.mark.usefixtures("phonopy")
def test_evaluate_writes_the_same_born_file_as_predict(stored, predicted, tmp_path):
    _, born = predicted["plain"]
    places = [stored / "plain", stored / "crystal.xyz", "--out", tmp_path]
    command = ["evaluate", *places, "--phonopy-born", *OPTIONS]
    assert main(list(map(str, command))) == 0
    assert (tmp_path / "BORN").read_text(encoding="utf-8") == born.read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.usefixtures("phonopy")
def test_evaluate_writes_a_born_file_of_a_crystal_without_labels(stored, tmp_path, capsys):
    write(tmp_path / "bare.xyz", rattled(0, count=2), format="extxyz")
    out = tmp_path / "out"
    command = ["evaluate", stored / "polarizable", tmp_path / "bare.xyz", "--out", out]
    assert main([*map(str, command), "--phonopy-born"]) == 0
    assert [path.name for path in out.iterdir()] == ["BORN"]
    assert phonopy_reads(out / "BORN", rattled(0, count=2))["born"].shape == (2, 3, 3)
    assert "nothing to compare: " in capsys.readouterr().out


@pytest.mark.usefixtures("phonopy")
@pytest.mark.parametrize(
    ("data", "words"),
    [("two.xyz", ["two.xyz", "one crystal", "2 frame(s)"]), ("crystal.xyz", ["--epsilon-inf"])],
)
def test_a_born_file_that_cannot_be_is_refused(data, words, stored, tmp_path, capsys):
    out = str(tmp_path / "out.xyz")
    born = str(tmp_path / "BORN")
    command = ["predict", str(stored / "plain"), str(stored / data), "-o", out]
    assert main([*command, "--phonopy-born", born]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert list(tmp_path.iterdir()) == []
