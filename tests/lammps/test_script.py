"""Input files of LAMMPS: where jles is put, and what is read from them."""

import numpy as np
import pytest

from jles.errors import InputError
from jles.lammps.image_flags import image_flags
from jles.lammps.script import (
    check_axes,
    check_energies,
    commands_of_jles,
    divide,
    ghost_cutoff,
    read_script,
    restart_of,
    skin_of,
    with_reports,
)

FILE = """units metal # fix
read_data water.data
pair_style none
variable text string &
fix
neighbor 0.5 bin
fix 1 all nve
run 10
minimize 0 1e-3 5 5""".splitlines()


def test_jles_comes_before_the_first_fix_of_a_box():
    script = divide(FILE, "in.lammps")
    assert script.before == FILE[:6]
    assert script.after == FILE[6:]
    assert not script.sets_ghosts


def test_a_fix_before_the_box_stays_there():
    lines = ["fix p all property/atom mol", *FILE]
    assert divide(lines, "in.lammps").before == lines[:7]


@pytest.mark.parametrize(
    "command",
    [
        "include ${rest}",
        "python integrate invoke",
        "mdi engine",
        "dynamical_matrix all regular 1e-4",
        "third_order all regular 1e-4",
    ],
)
def test_jles_comes_before_any_command_that_may_run(command):
    lines = [*FILE[:6], command, *FILE[6:]]
    script = divide(lines, "in.lammps")
    assert script.before == FILE[:6]
    report = "info communication out overwrite here"
    assert with_reports(script.after, "here")[:2] == [report, command]


def test_files_that_are_included_are_part_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box").write_text("read_data a\n")
    (tmp_path / "in").write_text("include box\ninclude ${x}\nrun 1\n")
    assert read_script(tmp_path / "in") == ["read_data a", "include ${x}", "run 1"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["units metal", "run 1"], "in: has no read_data, read_restart or create_box"),
        (["read_data a"], "in: has no run or minimize"),
        (["read_data a", "run 1", "clear"], "in: line 3: clear; simulate one system per file"),
        (["read_data a", "run_style respa 2 2", "run 1"], "in: line 2: a run_style other than"),
        (["read_data a", 'if "1" then "run_style respa 2 2"'], "in: line 2: a run_style other"),
    ],
)
def test_files_without_a_place_for_jles(lines, message):
    with pytest.raises(InputError, match=message):
        divide(lines, "in")


@pytest.mark.parametrize(
    "line", ["run_style verlet # not respa", "run_style ${style}", 'print "run_style respa 2"']
)
def test_other_run_styles_are_accepted(line):
    """One in a variable may be verlet; the end of the run tells."""
    lines = [FILE[0], line, *FILE[1:]]
    assert divide(lines, "in").before == lines[:7]


def test_general_triclinic_boxes_are_refused_in_a_field(tmp_path):
    header = "text\n\n1 atoms\n{}\n\nAtoms\n\n1 1 0 0 0\n"
    (tmp_path / "general").write_text(header.format("0 9 0 avec\n-6 1 0 bvec\n0 0 6 cvec"))
    (tmp_path / "usual").write_text(header.format("0 9 xlo xhi\n0 6 ylo yhi\n0 6 zlo zhi"))
    check_axes([f"read_data {tmp_path}/usual", "read_data ${name}"], "in")
    for line in (f"read_data {tmp_path}/general", "lattice custom 1 triclinic/general"):
        with pytest.raises(InputError, match="in: line 2: --field or --born-charges in a gene"):
            check_axes(["units metal", line], "in")


def test_the_restart_of_a_file_is_found():
    assert restart_of(["units metal", "read_restart a.* remap # old"]) == (2, "a.* remap")
    assert restart_of(["read_restart ${name}", "read_data a"]) is None


def test_energies_of_atoms_are_refused_in_a_field():
    lines = [*FILE, "compute e all pe/atom"]
    check_energies(lines, "in", field=False)
    with pytest.raises(InputError, match="in: line 10: compute pe/atom with --field"):
        check_energies(lines, "in", field=True)


def test_every_run_is_preceded_by_a_report():
    report = "info communication out overwrite here"
    assert with_reports(FILE[6:], "here") == [FILE[6], report, FILE[7], report, FILE[8]]


def test_a_changed_ghost_cutoff_is_reported():
    report = "info communication out overwrite here"
    lines = ["comm_modify &", "cutoff 3", "print a", 'if "1" then "run 1"', "print b"]
    expected = [*lines[:2], report, "print a", report, *lines[3:]]
    assert with_reports(lines, "here") == expected


def test_ghosts_and_skin():
    assert divide([*FILE[:2], "comm_modify mode single cutoff 8", *FILE[2:]], "in").sets_ghosts
    assert not divide([*FILE, "comm_modify mode single cutoff 8"], "in").sets_ghosts
    assert skin_of(FILE) == 0.5
    assert skin_of(["neighbor ${skin} bin"]) == 2.0
    assert ghost_cutoff("Comm style = brick\nCommunication cutoff = 6.4\n") == 6.4
    assert ghost_cutoff("Communication cutoff for type 1 = 3") is None


def test_commands_follow_the_model():
    assert "d_latent_charge writedata no" in commands_of_jles(charges=True, ghosts=None)
    short = commands_of_jles(charges=False, ghosts=8.5)
    assert short.splitlines()[-1] == "comm_modify cutoff 8.5"
    assert "latent" not in short
    born = commands_of_jles(charges=True, ghosts=None, born_charges=True)
    assert "fix jles_born all property/atom d2_born_charge 9 writedata no" in born
    assert "current_y atom d2_born_charge[4]*vx+d2_born_charge[5]*vy" in born


@pytest.mark.parametrize(("dtype", "bits"), [(np.int32, 10), (np.int64, 21)])
def test_image_flags_of_both_sizes(dtype, bits):
    flags = np.array([[0, -3, 2], [511, -512, -1]])
    x, y, z = (flags + 2 ** (bits - 1)).T
    packed = x | y << bits | z << 2 * bits
    np.testing.assert_array_equal(image_flags(packed.astype(dtype)), flags)
