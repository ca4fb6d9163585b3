"""`check_data`: every kind of mistake in a data set is found, and sound sets raise no doubt."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import write

from jles.cli.main import main
from jles.data.check.labels import by_element
from jles.data.check.report import text
from jles.data.check.run import check_data
from jles.data.frames import LabelKeys, read_frames
from jles.errors import InputError
from tests.support.paths import data_path


def crystals(count=8, seed=0):
    """Argon that vibrates, with energies and forces of one force field."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Ar", cubic=True, a=3.6).repeat((2, 2, 2))
        atoms.positions += rng.normal(0.0, 0.015, atoms.positions.shape)
        atoms.calc = LennardJones(sigma=2.2, epsilon=0.3, rc=5.0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info["energy"] = energy
        atoms.arrays["forces"] = forces
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def sound():
    return crystals()


def checked(tmp_path, frames, **keys):
    path = tmp_path / "set.xyz"
    write(path, [atoms.copy() for atoms in frames], format="extxyz")
    return check_data([str(path)], LabelKeys(**keys))


def texts(check, serious):
    return " | ".join(remark.text for remark in check.remarks if remark.serious == serious)


def changed(frames, key, change):
    made = [atoms.copy() for atoms in frames]
    for atoms in made:
        store = atoms.info if key in atoms.info else atoms.arrays
        store[key] = change(store[key])
    return made


def test_a_sound_set_raises_no_doubt(tmp_path, sound):
    check = checked(tmp_path, sound)
    assert check.remarks == []
    assert check.work.ratio == pytest.approx(1.0, abs=0.1)
    assert check.survey.frames == len(sound)


@pytest.mark.parametrize(
    ("key", "factor", "words"),
    [
        ("energy", 1 / 27.2114, "energies were in hartree and forces in eV/angstrom"),
        ("forces", 1 / 51.4221, "energies were in eV and forces in hartree/bohr"),
        ("forces", -1.0, "gradients"),
    ],
)
def test_units_that_do_not_fit_together_are_named(tmp_path, sound, key, factor, words):
    check = checked(tmp_path, changed(sound, key, lambda value: factor * value))
    assert words in texts(check, serious=True)


@pytest.mark.parametrize(
    ("factor", "words", "serious"),
    [(1 / 0.529177, "in bohr", False), (0.4, "in nm", False), (0.1, "in angstrom?", True)],
)
def test_positions_in_other_units_are_doubted(tmp_path, sound, factor, words, serious):
    made = [atoms.copy() for atoms in sound]
    for atoms in made:
        atoms.set_cell(factor * atoms.cell.array, scale_atoms=True)
    # Bonds of 2.5 angstrom: argon's covalent radius is 1.06.
    assert words in texts(checked(tmp_path, made), serious)


def test_large_forces_are_doubted(tmp_path, sound):
    made = changed(sound, "forces", lambda forces: 1e3 * forces)
    assert "kcal/mol" in texts(checked(tmp_path, made), serious=False)


def test_duplicates_are_doubtful_and_with_other_labels_serious(tmp_path, sound):
    check = checked(tmp_path, [*sound, sound[0]])
    assert "1 frames are duplicates" in texts(check, serious=False)
    assert not check.serious
    other = sound[0].copy()
    other.info["energy"] += 1.0
    assert "other labels" in texts(checked(tmp_path, [*sound, other]), serious=True)


def test_every_broken_frame_is_counted_and_the_others_are_used(tmp_path, sound):
    made = [atoms.copy() for atoms in sound]
    made[1].positions[3] = np.nan
    made[2].arrays["forces"][4, 0] = np.inf
    made[4].positions[0] = made[4].positions[1]
    check = checked(tmp_path, made)
    serious = texts(check, serious=True)
    assert "2 frames cannot be used" in serious
    assert "frame 1: position of atom 3" in serious
    assert "frame 4: atom 0 and atom 1" in serious
    assert len(check.frames) == len(sound) - 3


def test_a_file_that_was_cut_off_is_serious(tmp_path, sound):
    path = tmp_path / "cut.xyz"
    write(path, sound, format="extxyz")
    path.write_text(path.read_text()[:-200])
    serious = texts(check_data([str(path)]), serious=True)
    assert "cut off" in serious
    assert "(no frame of it was read)" in serious


def test_short_pairs_net_forces_and_far_energies_are_doubtful(tmp_path, sound):
    made = [atoms.copy() for atoms in [*sound, *crystals(seed=1)]]
    made[2].positions[0] = made[2].positions[1] + [0.6, 0.0, 0.0]
    made[5].info["energy"] += 5.0
    for atoms in made:
        atoms.arrays["forces"] = atoms.arrays["forces"] + [0.1, 0.0, 0.0]
    doubts = texts(checked(tmp_path, made), serious=False)
    assert "frame 2 (Ar 0 and Ar 1, 0.60 angstrom)" in doubts
    assert "net forces" in doubts
    assert "frame 5 (+0.1" in doubts


def test_missing_cells_are_doubtful_and_wires_serious(tmp_path, sound):
    made = [atoms.copy() for atoms in sound]
    made[0].set_cell(None)
    made[0].pbc = False
    made[1].pbc = False
    made[2].pbc = (True, False, False)
    check = checked(tmp_path, made)
    doubts = texts(check, serious=False)
    assert "1 of 8 frames have no cell" in doubts
    assert "have a cell but pbc F F F" in doubts
    assert "periodic in one direction" in texts(check, serious=True)


def test_labels_under_other_names_are_suggested(tmp_path, sound):
    made = [atoms.copy() for atoms in sound]
    for atoms in made:
        atoms.info["REF_energy"] = atoms.info.pop("energy")
        atoms.arrays["dft_force"] = atoms.arrays.pop("forces")
    doubts = texts(checked(tmp_path, made), serious=False)
    assert "--labels energy=REF_energy" in doubts
    assert "--labels forces=dft_force" in doubts
    assert checked(tmp_path, made, energy="REF_energy", forces="dft_force").remarks == []


def test_a_key_that_is_named_must_be_there(tmp_path, sound):
    """A charge that is not found would be zero without a word."""
    made = [atoms.copy() for atoms in sound]
    for atoms in made:
        atoms.info["qtotal"] = 0
    serious = texts(checked(tmp_path, made, total_charge="q_total"), serious=True)
    assert "no frame has 'q_total' (the label total_charge); did you mean 'qtotal'?" in serious
    assert checked(tmp_path, made, total_charge="qtotal").remarks == []
    for atoms in made:
        atoms.info["charge"] = 0
    assert "total_charge=charge" in texts(checked(tmp_path, made), serious=False)


def test_statistics_by_element():
    frames = read_frames(f"{data_path('water-rpbe-d3/ef_bec.xyz')}@:3")
    hydrogen, oxygen = by_element(frames)
    forces = np.concatenate([f.labels["forces"][f.numbers == 8] for f in frames])
    assert oxygen["force_rms"] == pytest.approx(np.sqrt(np.mean(forces**2)))
    assert oxygen["atoms"] == 192
    assert oxygen["born"] == pytest.approx(-2.0 * hydrogen["born"], abs=0.01)


def test_forces_that_no_frame_has_are_a_dash(tmp_path, sound):
    bare = [atoms.copy() for atoms in sound]
    for atoms in bare:
        del atoms.info["energy"], atoms.arrays["forces"]
        atoms.arrays["bec"] = np.ones((len(atoms), 9))
    check = checked(tmp_path, bare)
    rows = [line.split() for line in text(check) if line.startswith("Ar ")]
    assert rows[0][2:] == ["-", "-", "+1.00", "±", "0.00"]
    assert "no frame has the label forces; training needs it unless" in texts(check, True)


def test_the_command_says_what_is_wrong_and_draws(tmp_path, sound, capsys):
    path, picture = tmp_path / "set.xyz", tmp_path / "set.png"
    write(path, sound, format="extxyz")
    assert main(["data", "check", str(path), "-o", str(picture)]) == 0
    assert "nothing is wrong or doubtful" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    write(path, changed(sound, "forces", lambda forces: -forces), format="extxyz")
    assert main(["data", "check", str(path)]) == 1
    assert "problem: energies change by -" in capsys.readouterr().out


def test_wrong_options_are_one_line(tmp_path, sound, capsys):
    path = tmp_path / "set.xyz"
    write(path, sound, format="extxyz")
    assert main(["data", "check", str(path), "-o", "picture.xyz"]) == 2
    assert main(["data", "check", str(path), "--labels", "enrgy=E"]) == 2
    assert "did you mean 'energy'" in capsys.readouterr().err
    assert main(["data", "check", "absent.xyz"]) == 1
    assert "absent.xyz: no such file" in capsys.readouterr().out


def test_frames_that_are_read_strictly_stop_at_the_first_error(tmp_path, sound):
    path = tmp_path / "set.xyz"
    broken = sound[1].copy()
    broken.positions[0] = np.nan
    write(path, [sound[0], broken], format="extxyz")
    with pytest.raises(InputError, match="frame 1"):
        read_frames(path)
