"""Reading frames: all forms of labels, and one-line errors for damaged files."""

import gzip
import re
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from hypothesis import given
from hypothesis import strategies as st

from jles.data.frames import (
    Frame,
    LabelKeys,
    check_elements,
    frame_from_atoms,
    read_frames,
)
from jles.data.offsets import fit_element_energies, offset_energy
from jles.data.splits import split_frames
from jles.errors import InputError, InputWarning
from tests.support.paths import data_path

STRESS = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])


def water(rng, n=2, **results):
    """n water molecules in a box, with results of a calculator if given."""
    atoms = Atoms("OHH" * n, rng.random((3 * n, 3)) * 6, cell=6 * np.eye(3), pbc=True)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.fixture
def labelled(rng):
    """Two frames with energy and forces."""
    return [
        water(rng, energy=-10.0 - n, forces=rng.normal(size=(6, 3)), stress=STRESS)
        for n in range(2)
    ]


def written(folder, frames, name="data.extxyz"):
    path = folder / name
    write(path, frames)
    return path


def refused(path, *words, **options):
    """The one-line error message of reading, which contains all `words`."""
    with pytest.raises(InputError) as caught:
        read_frames(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message
    return message


@pytest.mark.parametrize("name", ["data.extxyz", "data.xyz", "data.traj"])
def test_labels_survive_a_file_of_any_format(tmp_path, labelled, name):
    frames = read_frames(written(tmp_path, labelled, name), need=("energy", "forces"))
    for n, (frame, atoms) in enumerate(zip(frames, labelled, strict=True)):
        results = atoms.calc.results
        np.testing.assert_allclose(frame.labels["energy"], results["energy"])
        np.testing.assert_allclose(frame.labels["forces"], results["forces"], atol=1e-8)
        np.testing.assert_allclose(frame.labels["stress"], STRESS)
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-8)
        np.testing.assert_array_equal(frame.numbers, atoms.numbers)
        assert frame.pbc.all()
        assert frame.total_charge == 0.0
        assert frame.source == f"{tmp_path / name}, frame {n}"


@pytest.mark.parametrize(
    "value",
    [STRESS, STRESS.ravel(), np.array([1.0, 2, 3, 4, 5, 6])],
    ids=["3x3", "nine", "voigt"],
)
def test_stress_is_symmetric_3x3_whatever_its_form(tmp_path, rng, value):
    atoms = water(rng)
    atoms.info["virial_stress"] = value
    keys = LabelKeys(stress="virial_stress")
    np.testing.assert_allclose(frame_from_atoms(atoms, keys).labels["stress"], STRESS)
    if value.ndim == 1:
        (frame,) = read_frames(written(tmp_path, atoms), keys)
        np.testing.assert_allclose(frame.labels["stress"], STRESS)


def test_names_of_labels_come_from_the_keys(tmp_path, rng):
    atoms = water(rng)
    forces, charges = rng.normal(size=(6, 3)), rng.normal(size=(6, 3, 3))
    atoms.info |= {"REF_energy": -3.0, "mu": [1.0, 2.0, 3.0], "q": -2, "alpha": np.arange(9.0)}
    atoms.arrays |= {"REF_forces": forces, "apt": charges.reshape(6, 9)}
    keys = LabelKeys(
        energy="REF_energy",
        forces="REF_forces",
        dipole="mu",
        total_charge="q",
        born_charges="apt",
        polarizability="alpha",
    )
    (frame,) = read_frames(written(tmp_path, atoms), keys)
    assert frame.labels["energy"] == -3.0
    assert frame.total_charge == -2.0
    np.testing.assert_allclose(frame.labels["forces"], forces, atol=1e-8)
    np.testing.assert_allclose(frame.labels["dipole"], [1, 2, 3])
    np.testing.assert_allclose(frame.labels["born_charges"], charges, atol=1e-8)
    np.testing.assert_allclose(frame.labels["polarizability"], np.arange(9.0).reshape(3, 3))


def test_frames_may_have_any_subset_of_the_labels(tmp_path, rng):
    frames = [
        water(rng, energy=1.0),
        water(rng, forces=np.zeros((6, 3))),
        water(rng),
        Atoms("H", [[0, 0, 0]]),
    ]
    read = read_frames(written(tmp_path, frames), need=("energy", "forces"))
    assert [set(frame.labels) for frame in read] == [{"energy"}, {"forces"}, set(), set()]
    assert not read[3].pbc.any()


def test_nan_throughout_means_not_computed_but_only_for_what_codes_leave_out(tmp_path, rng):
    atoms = water(rng, energy=1.0)
    atoms.info["stress"] = np.full(9, np.nan)
    assert set(read_frames(written(tmp_path, atoms))[0].labels) == {"energy"}
    atoms.info["stress"] = np.append(np.zeros(8), np.nan)
    refused(written(tmp_path, atoms), "frame 0", "stress", "not finite")


def test_a_range_of_frames_is_selected_as_in_ase(tmp_path, labelled):
    path = written(tmp_path, labelled)
    (frame,) = read_frames(f"{path}@1:")
    assert frame.labels["energy"] == -11.0
    refused(f"{path}@2", "selects no frames")


def test_a_charge_under_another_name_is_reported(tmp_path, rng):
    atoms = water(rng)
    atoms.info["charge"] = -1
    path = written(tmp_path, atoms)
    with pytest.warns(InputWarning, match="'charge' .* is read from 'total_charge'"):
        assert read_frames(path)[0].total_charge == 0.0
    assert read_frames(path, LabelKeys(total_charge="charge"))[0].total_charge == -1.0


def test_a_needed_label_in_no_frame_names_the_keys_that_are_there(tmp_path, rng):
    atoms = water(rng)
    atoms.info["Energy_dft"] = 1.0
    path = written(tmp_path, atoms)
    keys = LabelKeys(energy="energy_dft")
    refused(path, "'energy_dft'", "did you mean 'Energy_dft'?", keys=keys, need=["energy"])
    refused(path, "'forces'", "keys present: Energy_dft", need=["forces"])


def test_missing_empty_and_unknown_files(tmp_path):
    refused(tmp_path / "nothing.xyz", "no such file")
    for name in ("empty.xyz", "empty.traj"):
        (tmp_path / name).touch()
        refused(tmp_path / name, "empty")
    (tmp_path / "blank.xyz").write_text("\n\n")
    refused(tmp_path / "blank.xyz", "no frames")
    (tmp_path / "notes.txt").write_text("some words\n")
    refused(tmp_path / "notes.txt", "not a file format")
    (tmp_path / "binary.xyz").write_bytes(b"\xff\xfe\x00\x01")
    refused(tmp_path / "binary.xyz", "not a text file")


def test_every_cut_through_the_last_frame_is_seen(tmp_path, labelled):
    path = written(tmp_path, labelled)
    text = path.read_text()
    half = text.index("\n6\n") + 1
    cut = tmp_path / "cut.xyz"
    # Everything from the second frame's first line to the last but one digit of the file.
    for end in [*range(half + 1, len(text) - 2, 37), *range(len(text) - 60, len(text) - 1)]:
        cut.write_text(text[:end])
        refused(cut, "frame 1")
    for end in (half, len(text) - 1, len(text)):
        cut.write_text(text[:end])
        assert len(read_frames(cut)) == 1 + (end > half)


def test_frames_after_a_blank_line_are_not_lost(tmp_path, labelled):
    path = written(tmp_path, labelled)
    text = path.read_text()
    path.write_text(text.replace("\n6\n", "\n\n6\n"))
    refused(path, "frame 1 (line 9)", "blank line")
    for name in ("data", "data.XYZ"):
        shutil.copy(path, tmp_path / name)
        refused(tmp_path / name, "frame 1 (line 9)", "blank line")
    with gzip.open(tmp_path / "data.xyz.gz", "wb") as file:
        file.write(path.read_bytes())
    refused(tmp_path / "data.xyz.gz", "frame 1 (line 9)", "blank line")
    path.write_text(text + "\n \n")
    assert len(read_frames(path)) == 2


@pytest.mark.parametrize("value", ['"T T"', '"F F F F"', "[T, T, no]", "yes"])
def test_a_wrong_pbc_is_refused(tmp_path, value):
    """ASE takes any word for true, and does not name the frame."""
    path = tmp_path / "frames.xyz"
    frame = '1\nLattice="5 0 0 0 5 0 0 0 5" pbc={}\nH 0 0 0\n'
    path.write_text("".join(map(frame.format, ('"T 1 F"', "[True, false, 0]", value))))
    words = f"frame 2 \\(line 7\\): pbc is {re.escape(value)}; give T or F three times"
    with pytest.raises(InputError, match=words):
        read_frames(path)
    path.write_text("".join(map(frame.format, ("T", '"F F T"', "{T F T}"))))
    assert [list(map(int, frame.pbc)) for frame in read_frames(path)][2] == [1, 0, 1]


def test_wrong_counts_and_wrong_lines_are_refused_with_their_frame(tmp_path, labelled):
    path = written(tmp_path, labelled)
    text = path.read_text()
    for wrong in ("5", "7", "0", "-1", "six"):
        path.write_text(text.replace("\n6\n", f"\n{wrong}\n"))
        refused(path, "frame 1")
    path.write_text(re.sub(r"(?m)^O +\S+ ", "O   oops ", text, count=1))
    refused(path, "frame 0", "oops")
    path.write_text(re.sub(r"(?m)^O ", "Qq ", text, count=1))
    refused(path, "frame 0", "Qq")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, rng, bad):
    forces = np.zeros((6, 3))
    forces[4, 1] = bad
    refused(
        written(tmp_path, [water(rng), water(rng, forces=forces)]),
        "frame 1",
        "forces",
        "atom 4",
    )
    refused(written(tmp_path, water(rng, energy=bad)), "frame 0", "energy", "not finite")
    atoms = water(rng)
    atoms.positions[2, 0] = bad
    refused(written(tmp_path, atoms), "frame 0", "position of atom 2")
    atoms = water(rng)
    atoms.info["total_charge"] = bad
    refused(written(tmp_path, atoms), "total_charge")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("energy_", [1.0, 2.0], ("energy", "(2,)", "()")),
        ("stress_", [1.0, 2.0, 3.0, 4.0], ("stress", "(4,)", "(6,)")),
        ("dipole_ref", [1.0, 2.0], ("dipole", "(2,)", "(3,)")),
        ("energy_", "low", ("'energy_'", "low", "numeric")),
        ("total_charge", [1.0, 2.0], ("'total_charge' is [1.0, 2.0]", "one number")),
        ("total_charge", True, ("'total_charge' is True", "one number")),
        ("total_charge", -1e30, ("'total_charge' is -1e+30", "all nuclei, 20 e")),
    ],
)
def test_wrong_shapes_are_refused_in_words(rng, key, value, words):
    atoms = water(rng)
    atoms.info[key] = value
    with pytest.raises(InputError) as caught:
        frame_from_atoms(atoms, LabelKeys(energy="energy_", stress="stress_"), "x, frame 9")
    for word in ("x, frame 9", *words):
        assert word in str(caught.value)


def test_absurd_values_are_refused(tmp_path, rng):
    """They would overflow when they are squared."""
    refused(written(tmp_path, water(rng, energy=1e30)), "frame 0", "'energy'", "1e+30", "eV")


def test_a_periodic_cell_without_volume_is_refused(tmp_path, rng):
    atoms = water(rng)
    atoms.cell[2] = atoms.cell[1]
    refused(written(tmp_path, [water(rng), atoms]), "frame 1", "volume", "pbc")


def test_an_atom_without_an_element_is_refused(tmp_path, rng):
    atoms = water(rng)
    atoms.numbers[3] = 0
    refused(written(tmp_path, atoms), "frame 0", "atom 3", "no element")


def test_elements_the_model_has_not_seen_are_named(rng):
    frame = frame_from_atoms(water(rng), source="w.xyz, frame 2")
    check_elements([frame], (1, 8))
    with pytest.raises(InputError, match="w.xyz, frame 2: element O .*H, C of the model"):
        check_elements([frame], (1, 6), "of the model")


# Splits ------------------------------------------------------------------------------------


def bare(n_frames):
    return [
        Frame(
            np.array([1], np.int32),
            np.zeros((1, 3)),
            np.eye(3),
            np.zeros(3, bool),
            source=str(n),
        )
        for n in range(n_frames)
    ]


@given(n=st.integers(2, 60), seed=st.integers(0, 99), fraction=st.floats(0.01, 0.9))
def test_a_split_is_a_partition_in_file_order_and_the_same_every_time(n, seed, fraction):
    frames = bare(n)
    count = max(1, round(fraction * n))
    if count == n:
        count = n - 1
        fraction = count
    train, valid = split_frames(frames, fraction, seed)
    assert len(valid) == count
    assert sorted(train + valid, key=lambda f: int(f.source)) == frames
    for part in (train, valid):
        order = [int(frame.source) for frame in part]
        assert order == sorted(order)
    assert split_frames(frames, count, seed) == (train, valid)


def test_seeds_draw_different_splits_and_impossible_ones_are_refused():
    frames = bare(40)
    assert split_frames(frames, 10, 0) != split_frames(frames, 10, 1)
    assert split_frames(frames, 0, 0) == (frames, [])
    for wrong in (40, -1, 1.5, 0.999):
        with pytest.raises(InputError, match="validation"):
            split_frames(frames, wrong, 0)


# Element energies --------------------------------------------------------------------------


def molecule(energies, symbols, labelled=True):
    atoms = Atoms(symbols, np.arange(len(Atoms(symbols)))[:, None] * np.ones(3))
    labels = {"energy": np.array(offset_energy(atoms.numbers, energies))} if labelled else {}
    return Frame(atoms.numbers, atoms.positions, np.eye(3), atoms.pbc, labels)


def test_element_energies_are_recovered_from_independent_compositions():
    energies = {"H": -13.6, "C": -1030.5, "O": -2040.25}
    frames = [molecule(energies, s) for s in ("H2O", "CH4", "CO2", "C2H6O", "H2")]
    frames.append(molecule(energies, "C6H6", labelled=False))
    fitted = fit_element_energies(frames, (1, 6, 8))
    assert fitted == pytest.approx(energies, rel=1e-10)


def test_one_composition_gives_the_solution_of_least_norm():
    frames = [molecule({"H": -1.0, "O": -8.0}, s) for s in ("H2O", "H4O2")]
    fitted = fit_element_energies(frames, (1, 8, 79))
    total = -10.0
    assert fitted["H"] * 2 + fitted["O"] == pytest.approx(total)
    assert fitted == pytest.approx({"H": 2 * total / 5, "O": total / 5, "Au": 0.0})


def test_without_energies_offsets_are_zero_and_strangers_are_refused():
    frames = [molecule({}, "H2O", labelled=False)]
    assert fit_element_energies(frames, (1, 8)) == {"H": 0.0, "O": 0.0}
    with pytest.raises(InputError, match="element O"):
        fit_element_energies(frames, (1,))


# Shared data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "labels"),
    [
        ("water-rpbe-d3/ef.xyz", 41, {"energy", "forces"}),
        ("spice-bec/water.xyz", None, {"energy", "forces", "dipole", "born_charges"}),
        ("coulomb-reference/mad15_2d_subset.xyz", 5, {"energy", "forces"}),
    ],
)
def test_named_sets_have_their_labels(name, count, labels):
    frames = read_frames(data_path(name))
    assert count in {None, len(frames)}
    assert all(set(frame.labels) == labels for frame in frames)
    assert all(np.isfinite(value).all() for f in frames for value in f.labels.values())
