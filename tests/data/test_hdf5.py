"""HDF5 files of others: units, signs, periodic directions; ambiguous ones are refused."""

import warnings

import h5py
import numpy as np
import pytest

from jles.data.frames import LabelKeys
from jles.data.shards.sources import frames_of, vars_of
from jles.units import BOHR, HARTREE
from tests.support.messages import message_of


def test_groups_of_conformations_are_read_in_their_units(tmp_path):
    path = tmp_path / "set.hdf5"
    rng = np.random.default_rng(0)
    places = rng.normal(size=(2, 3, 3)) * 3.0
    with h5py.File(path, "w") as file:
        group = file.create_group("subset/water")
        group["atomic_numbers"] = np.array([8, 1, 1])
        for name, values, unit in (
            ("conformations", places, "bohr"),
            ("dft_total_energy", np.array([-76.0, -75.0]), "hartree"),
            ("dft_total_gradient", places, "hartree/bohr"),
        ):
            group[name] = values
            group[name].attrs["units"] = unit
    keys = LabelKeys(energy="dft_total_energy", forces="dft_total_gradient")
    first, second = frames_of(path, keys)
    np.testing.assert_allclose(first.positions, places[0] * BOHR)
    np.testing.assert_allclose(first.labels["forces"], -places[0] * HARTREE / BOHR)
    assert second.labels["energy"] == pytest.approx(-75.0 * HARTREE)
    with h5py.File(path, "r+") as file:
        cell = file.create_dataset("subset/water/cell", data=[20.0 * np.eye(3)] * 2)
        cell.attrs["units"] = "bohr"
    crystals = list(frames_of(path, keys))
    np.testing.assert_allclose([one.cell for one in crystals], [20.0 * BOHR * np.eye(3)] * 2)
    assert all(one.pbc.all() for one in crystals)
    with h5py.File(path, "r+") as file:
        file["subset/water/total_charge"] = np.zeros(3)
    line = message_of(lambda: list(frames_of(path, keys)))
    assert "/subset/water/total_charge has 3 rows" in line
    assert "2 frames" in line
    with h5py.File(path, "r+") as file:
        del file["subset/water/total_charge"]
        file["subset/water/conformations"].attrs["units"] = "furlong"
    assert "furlong" in message_of(lambda: list(frames_of(path, keys)))


def hdf5(path, unit=("", ""), **values):
    """Three frames of water with more values; `unit` is that of one of them."""
    good = {
        "atomic_numbers": [8, 1, 1],
        "conformations": np.random.default_rng(0).normal(size=(3, 3, 3)),
    }
    with h5py.File(path, "w") as file:
        for key, value in (good | values).items():
            file[key] = value
            if key == unit[0]:
                file[key].attrs["units"] = unit[1]
    return path


CELLS = np.tile(np.diag([8.0, 9.0, 20.0]), (3, 1, 1))


@pytest.mark.parametrize("rows", [[1, 1, 0], [[True, False, True], [False] * 3, [True] * 3]])
def test_periodic_directions_of_hdf5_are_read(tmp_path, rows):
    frames = list(frames_of(hdf5(tmp_path / "set.h5", cell=CELLS, pbc=rows), LabelKeys()))
    expected = np.broadcast_to(np.asarray(rows, bool), (3, 3))
    np.testing.assert_array_equal([frame.pbc for frame in frames], expected)


@pytest.mark.parametrize("unread", [True, False])
def test_a_charge_of_hdf5_that_is_not_read_has_a_warning(tmp_path, unread):
    also = {} if unread else {"total_charge": [1.0] * 3}
    path = hdf5(tmp_path / "set.h5", charge=[0, -1, 0], **also)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(frames_of(path, LabelKeys()))
    assert [("'charge'" in str(one.message)) for one in caught] == [True] * unread
    frames = frames_of(path, LabelKeys(total_charge="charge"))
    assert [frame.total_charge for frame in frames] == [0.0, -1.0, 0.0]


UNITS = {
    ("energy", "Hartree"): HARTREE,
    ("forces", "hartree / bohr"): HARTREE / BOHR,
    ("stress", "hartree/bohr**3"): HARTREE / BOHR**3,
    ("dipole_ref", "e*bohr"): BOHR,
    ("quadrupole_ref", "e bohr^2"): BOHR**2,
    ("bec", "e"): 1.0,
    ("polarizability_ref", "e^2*bohr^2/hartree"): BOHR**2 / HARTREE,
    ("total_charge", "e"): 1.0,
    ("energy", "bohr"): None,
    ("energy", "hartree/bohr"): None,
    ("forces", "hartree"): None,
    ("conformations", "ev"): None,
    ("cell", "e*bohr"): None,
    ("total_charge", "hartree"): None,
    ("energy", "hartree^x"): None,
}


@pytest.mark.parametrize(("key", "unit"), UNITS)
def test_units_of_hdf5_have_the_dimension_of_the_label(tmp_path, key, unit):
    name = dict(zip(vars_of(LabelKeys()).values(), vars_of(LabelKeys()), strict=True)).get(key)
    shapes = {"energy": (), "total_charge": (), "forces": (3, 3), "dipole": (3,)}
    shape = (3, 3, 3) if name == "born_charges" else shapes.get(name, (3, 3))
    values = {} if key == "conformations" else {key: np.ones((3, *shape))}
    path = hdf5(tmp_path / "set.h5", unit=(key, unit), **values)
    if UNITS[key, unit] is None:
        line = message_of(lambda: list(frames_of(path, LabelKeys())))
        assert f"/{key} has the unit '{unit}', which is not converted to" in line
        return
    frame = next(frames_of(path, LabelKeys()))
    found = frame.total_charge if name == "total_charge" else frame.labels[name]
    np.testing.assert_allclose(found, UNITS[key, unit])


def test_gradients_of_hdf5_are_forces_with_the_other_sign(tmp_path):
    for key, sign in (("gradient", -1), ("dft_gradients", -1), ("gradients_x", 1)):
        path = hdf5(tmp_path / "set.h5", **{key: np.ones((3, 3, 3))})
        assert next(frames_of(path, LabelKeys(forces=key))).labels["forces"][0, 0] == sign


def test_hdf5_takes_no_index(tmp_path):
    path = hdf5(tmp_path / "set.h5")
    line = message_of(lambda: list(frames_of(f"{path}@0:1", LabelKeys())))
    assert line == f"{path}@0:1: HDF5 takes no @INDEX; give {path}"


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        # Three frames: (3, 3) could be one cell, or the lengths of three.
        ("cell", np.eye(3) * 8.0, "it must be (3, 3, 3), a cell for every frame"),
        ("atomic_numbers", [8, 1], "it must be (3, 2, 3), positions of every frame"),
        ("atomic_numbers", [8, 300, 1], "atom 1 has no element (atomic number 300)"),
        ("atomic_numbers", [b"O", b"H", b"H"], "it must hold atomic numbers"),
        ("energy", [b"a", b"b", b"c"], "it must hold numbers"),
        ("pbc", [1, 1, 2], "/pbc is not true or false"),
        ("pbc", [[1, 1, 0]], "its shape is (1, 3)"),
    ],
)
def test_values_of_hdf5_that_are_wrong_or_ambiguous_are_named(tmp_path, name, values, words):
    path = hdf5(tmp_path / "set.h5", **{name: values})
    line = message_of(lambda: list(frames_of(path, LabelKeys())))
    assert line.startswith(str(path))
    assert words in line
