"""Shards on disk: every frame comes back as it was; damage and other versions are named."""

import gzip
import os

import h5py
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st

from jles.cli.main import main
from jles.data.frames import LabelKeys, read_frames
from jles.data.shards.build import build_shards
from jles.data.shards.layout import INDEX, is_shards, read_index
from jles.data.shards.sources import frames_of
from jles.data.shards.stored import StoredFrames, open_frames
from jles.data.survey import survey
from jles.data.xyz import check_xyz
from jles.errors import InputError
from jles.structures.batch import build_structure, merge_sizes, size_of
from jles.structures.distances import distance_range
from jles.structures.neighbors import find_neighbors
from jles.structures.planned import planned_size, slab_extent
from tests.support.messages import message_of
from tests.support.small_systems import labelled, mixed_frames, rattled, write_frames

SMALL = 700
"""Bytes of a shard of a few frames."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Crystals, clusters, a slab; some without forces; one file with states of the atoms."""
    folder = tmp_path_factory.mktemp("files")
    slab = labelled(rattled(40, count=5), ("energy", "forces"))
    slab.pbc = [True, True, False]
    bare = rattled(41, count=4)
    states = labelled(rattled(42, count=3, pbc=False))
    states.info["total_charge"] = 1.0
    states.arrays["state"] = np.array([0, 1, 2])
    return [
        write_frames(folder / "a.xyz", [*mixed_frames(7), slab, bare]),
        write_frames(folder / "b.xyz", [states, *mixed_frames(4, seed=20)]),
    ]


@pytest.fixture(scope="module")
def frames(files):
    return [frame for file in files for frame in read_frames(file)]


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "shards"
    build_shards(files, out, cutoffs=(3.0, 2.0, 4.5), shard_bytes=SMALL)
    return out


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the shards that may be damaged."""
    out = tmp_path / "copy"
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def same(one, other):
    """Whether two frames are equal, bit for bit."""
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.labels.keys() == other.labels.keys()
    for name, value in one.labels.items():
        np.testing.assert_array_equal(other.labels[name], value)
        assert np.shape(other.labels[name]) == np.shape(value)
    assert (one.source, one.total_charge) == (other.source, other.total_charge)
    assert one.gives_charge == other.gives_charge
    assert (one.state is None) == (other.state is None)
    if one.state is not None:
        np.testing.assert_array_equal(np.asarray(one.state, float), other.state)


def test_every_frame_comes_back_bit_for_bit(frames, folder):
    stored = StoredFrames(folder)
    assert is_shards(folder)
    assert len(stored) == len(frames)
    assert len(stored.index.shards) > 5
    for n, frame in enumerate(frames):
        same(frame, stored.read(n))
        outline = stored[n]
        np.testing.assert_array_equal(outline.numbers, np.sort(frame.numbers))
        np.testing.assert_array_equal(outline.cell, frame.cell)
        assert outline.labels.keys() == frame.labels.keys()
        assert outline.source == frame.source
        if "energy" in frame.labels:
            assert outline.labels["energy"] == frame.labels["energy"]
    part = stored.take(np.array([5, 2]))
    same(frames[2], part.read(1))


def test_commands_see_the_frames_of_the_files(files, frames, folder):
    for frame, stored in zip(frames, open_frames(folder, LabelKeys()), strict=True):
        same(frame, stored)
    of_files, of_shards = survey(files), survey([str(folder)])
    np.testing.assert_array_equal(of_shards.distances, of_files.distances)
    assert of_shards._replace(distances=0) == of_files._replace(distances=0)
    assert "must stand alone" in message_of(survey, [str(folder), files[0]])
    assert f"{folder}: is a directory of shards, which" in message_of(read_frames, folder)


def test_neighbours_are_counted_for_every_cutoff(frames, folder):
    stored = StoredFrames(folder)
    assert stored.index.cutoffs == (2.0, 3.0, 4.5)
    tables = [find_neighbors(f.positions, f.cell, f.pbc, 3.0) for f in frames]
    for cutoff in (3.0, 2.5):  # the second has the bounds of the first
        most, edges = stored.counts(cutoff)
        assert most.tolist() == [table.mask.sum(axis=1).max() for table in tables]
        assert edges.tolist() == [table.mask.sum() for table in tables]
    assert "--cutoff 5" in message_of(stored.counts, 5.0)


def test_distances_are_those_of_the_structures(frames, folder):
    structures = [
        build_structure(f.numbers, f.positions, f.cell, f.pbc, cutoff=3.0, k_max=None,
                        dtype=np.float64)
        for f in frames
    ]  # fmt: skip
    expected = distance_range(structures).record()
    found = StoredFrames(folder).distance_range(3.0).record()
    assert found["shortest"] == pytest.approx(expected["shortest"], abs=1e-4)
    assert found["sparsest"] == pytest.approx(expected["sparsest"], abs=1e-4)


@pytest.mark.parametrize("method", ["direct", "mesh"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), skew=st.floats(0.0, 6.0), open_axis=st.integers(-1, 2))
def test_planned_sizes_hold_the_structures(method, seed, skew, open_axis):
    """Without positions, for skewed crystals and slabs."""
    atoms = rattled(seed, count=5)
    cell = atoms.cell.array + skew * atoms.cell.array[[1, 2, 0]] * [[1.0], [0.0], [0.0]]
    pbc = np.arange(3) != open_axis
    sums = {"k_max": 2.0, "method": method}
    given = (atoms.positions, cell, pbc)
    built = size_of(build_structure(atoms.numbers, *given, cutoff=3.0, **sums))
    planned = planned_size(5, built.neighbors, cell, pbc, slab_extent(*given), **sums)
    assert merge_sizes([built, planned]) == planned


# Damage ------------------------------------------------------------------------------------


def test_a_shard_that_was_cut_off_or_is_gone_is_named(copy):
    path = sorted(copy.glob("shard-*"))[2]
    path.write_bytes(path.read_bytes()[:-10])
    assert f"{path}: " in message_of(read_index, copy)
    path.unlink()
    assert f"{path}: no such file" in message_of(read_index, copy)


def test_a_flipped_bit_is_found_when_its_frame_is_read(copy, frames):
    """And by `check`; all other frames can be read."""
    stored = StoredFrames(copy)
    place = int(np.flatnonzero(stored.column("shard") == 1)[0])
    with h5py.File(copy / "shard-00001.h5", "r") as file:
        offset = file["positions"].id.get_offset()
    path = copy / "shard-00001.h5"
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))
    line = message_of(stored.read, place)
    assert str(path) in line
    assert frames[place].source in line
    assert str(path) in message_of(StoredFrames(copy).check)
    for n in set(range(len(frames))) - {place}:
        stored.read(n)


@pytest.mark.parametrize("name", [INDEX, "shard-00000.h5"])
def test_another_version_is_named(copy, name):
    with h5py.File(copy / name, "r+") as file:
        file.attrs.modify("version", 9)
    line = message_of(lambda: StoredFrames(copy).read(0))
    assert f"{copy / name}: version 9 of jles-shards; this jles reads version 1" in line


def test_another_format_is_named(copy):
    with h5py.File(copy / INDEX, "r+") as file:
        file.attrs["format"] = "pictures"
    assert "not a file of jles-shards" in message_of(read_index, copy)


def test_a_damaged_index_is_named(copy):
    data = (copy / INDEX).read_bytes()
    (copy / INDEX).write_bytes(data[: len(data) // 2])
    assert f"{copy / INDEX}: damaged" in message_of(read_index, copy)
    assert "jles data build" in message_of(read_index, copy.parent)


def test_nothing_is_left_of_a_build_that_fails(files, tmp_path):
    bad = tmp_path / "bad.xyz"
    atoms = rattled(0, count=3)
    atoms.positions[1] = atoms.positions[0]
    write_frames(bad, [rattled(1, count=2), atoms])
    line = message_of(build_shards, [files[0], str(bad)], tmp_path / "out")
    assert f"{bad}, frame 1: atom 0 and atom 1" in line
    assert [path.name for path in tmp_path.iterdir()] == ["bad.xyz"]
    assert "exists already" in message_of(build_shards, files, tmp_path)


@pytest.mark.parametrize("state", ["liquid", np.array([0.5, 1.0, 1.0]), np.array([1, 2])])
def test_states_that_are_no_labels_of_atoms_are_refused(state, tmp_path):
    """Instead of a model that misses them later."""
    atoms = rattled(3, count=3)
    atoms.info["state"] = state
    file = write_frames(tmp_path / "a.xyz", [rattled(1, count=2), atoms])
    line = message_of(build_shards, [file], tmp_path / "out")
    assert f"{file}, frame 1: 'state' is " in line
    assert "it must be 3 integers, one for each atom, or one; --labels state=NAME" in line
    build_shards([file], tmp_path / "out", LabelKeys(state="unused"))
    assert StoredFrames(tmp_path / "out").read(1).state is None


# Other sources -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["db", "json", "json.gz", "aselmdb"])
def test_databases_give_values_and_data(tmp_path, suffix):
    """The same for shards and for frames in memory."""
    if suffix == "aselmdb":
        pytest.importorskip("ase_db_backends")
    path = tmp_path / f"set.{suffix.removesuffix('.gz')}"
    rows = connect(path, type="aselmdb") if suffix == "aselmdb" else connect(path)
    for n in range(3):
        atoms = rattled(n, count=2, pbc=False)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * n, forces=np.full((2, 3), n))
        rows.write(atoms, data={"my_bec": np.full((2, 9), n), "charge": float(n)}, label=n)
    rows.close() if suffix == "aselmdb" else None
    if suffix == "json.gz":
        plain, path = path, tmp_path / "set.json.gz"
        path.write_bytes(gzip.compress(plain.read_bytes()))
    keys = LabelKeys(born_charges="my_bec", total_charge="charge", state="label")
    for frames_in in (frames_of, read_frames):
        for n, frame in enumerate(frames_in(path, keys)):
            places = rattled(n, count=2, pbc=False).positions
            np.testing.assert_allclose(frame.positions, places)
            assert frame.labels["energy"] == -n
            assert frame.labels["born_charges"].shape == (2, 3, 3)
            assert (frame.total_charge, frame.source) == (n, f"{path}, frame {n}")
            assert frame.state == n
        assert n == 2
    for index, charges in (("1:", [1, 2]), ("-1", [2]), ("label>0", [1, 2]), ("1:1", [])):
        if charges:
            found = read_frames(f"{path}@{index}", keys)
            assert [frame.total_charge for frame in found] == charges
        else:
            assert "selects no frames" in message_of(read_frames, f"{path}@{index}", keys)
    assert "steps of 1" in message_of(read_frames, f"{path}@::2", keys)


def test_a_damaged_lmdb_file_is_one_line(tmp_path, capfd):
    pytest.importorskip("lmdb")
    path = tmp_path / "set.aselmdb"
    path.write_bytes(b"no database" * 9)
    for read_all in (lambda: list(frames_of(path, LabelKeys())), lambda: read_frames(path)):
        assert "set.aselmdb: cannot be read as LMDB" in message_of(read_all)
    assert capfd.readouterr().err == ""
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_charge_of_zero_is_remembered(tmp_path):
    atoms = [rattled(n, count=3, pbc=False) for n in range(3)]
    atoms[1].info["total_charge"] = 0.0
    atoms[2].info["total_charge"] = -1.0
    build_shards([write_frames(tmp_path / "a.xyz", atoms)], tmp_path / "out")

    def given():
        return [
            frame.has("total_charge") for frame in open_frames(tmp_path / "out", LabelKeys())
        ]

    assert given() == [False, True, True]
    with h5py.File(tmp_path / "out" / INDEX, "r+") as file:
        del file["frames/gives_charge"]  # an older index
    assert given() == [False, False, True]


def test_the_digest_tells_data_apart(tmp_path):
    """Also those that differ in the index alone, as by the key of the total charge."""
    atoms = rattled(0, count=3, pbc=False)
    atoms.info |= {"total_charge": 1.0, "q": -1.0}
    file = write_frames(tmp_path / "a.xyz", [atoms])
    digests = []
    for name, key in (("one", "total_charge"), ("again", "total_charge"), ("other", "q")):
        build_shards([file], tmp_path / name, LabelKeys(total_charge=key))
        digests.append(StoredFrames(tmp_path / name).digest())
    assert digests[0] == digests[1] != digests[2]


def test_a_label_that_is_asked_for_must_be_there(files, tmp_path, capsys):
    out = str(tmp_path / "shards")
    assert main(["data", "build", *files, "-o", out, "--labels", "energy=REF_energy"]) == 2
    assert "no frame has 'REF_energy' (the label energy)" in capsys.readouterr().err
    for name in ("total_charge", "state"):
        assert main(["data", "build", *files, "-o", out, "--labels", f"{name}=Q"]) == 2
        assert f"no frame has 'Q' (the label {name})" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_frames_are_stored_once(files, tmp_path):
    file, out = files[0], tmp_path / "out"
    for twice in ([file, file], [f"{file}@0:3", f"{file}@2:4"], [file, f"{file}@0"]):
        line = message_of(build_shards, twice, out)
        assert line == f"{twice[1]}: names frames that an earlier file has; name each once"
    assert len(build_shards([f"{file}@0:3", f"{file}@3:4"], out)) == 4


def test_a_directory_is_no_file_of_structures(folder, tmp_path, capsys):
    for place, words in ((folder, "is a directory of shards"), (tmp_path, "without index.h5")):
        out = str(tmp_path / "out")
        assert main(["data", "build", str(place), "-o", out]) == 2
        assert words in capsys.readouterr().err


def test_a_file_without_frames_is_refused(tmp_path):
    (tmp_path / "none.h5").touch()
    for name in ("none.h5", "missing.xyz"):
        with pytest.raises(InputError, match=name):
            list(frames_of(tmp_path / name, LabelKeys()))


def test_long_files_are_checked_line_by_line(tmp_path):
    """The check of an XYZ file holds one frame in memory."""
    path = tmp_path / "many.xyz"
    block = "1\n\nH 0.0 0.0 0.0\n"
    path.write_text(block * 3 + "\n\n")
    check_xyz(path)
    assert len(read(path, ":")) == 3
    path.write_text(block * 3 + "\n" + block)
    assert "frame 3 (line 10): blank line" in message_of(check_xyz, path)


def test_the_command_builds_and_checks(files, tmp_path, capsys):
    out = str(tmp_path / "shards")
    assert main(["data", "build", *files, "-o", out, "--cutoff", "3"]) == 0
    assert "14 frames" in capsys.readouterr().out
    assert main(["data", "check", out]) == 0
    assert "checksums are right" in capsys.readouterr().out
    with open(os.path.join(out, "shard-00000.h5"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    assert main(["data", "check", out]) == 2
    assert "shard-00000.h5" in capsys.readouterr().err
