"""What do MPI ranks of LAMMPS cost and save, and is its dynamics that of `jles md`?

Run:     python experiments/lammps_ranks.py --out results/lammps_ranks
Needs:   jles[lammps], water_v1.pth (published models), water-rpbe-d3; 5 minutes on one core.
Writes:  input files, logs and results.json in --out.
Expect:  energies of one and two ranks and of `jles md` agree to rounding.
         Processor time of a rank halves with two ranks, because water_v1 passes no messages.
         The drift of the total energy is that of `jles md`.

The first frame of the data set is repeated to 1,536 atoms (`--repeat 4` for 12,288) and starts
with drawn velocities, the same in both programs. Ranks share the cores that the script may use.
"""

import re
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.io.lammpsdata import write_lammps_data
from ase.md.velocitydistribution import thermalize_momenta
from common import duration, imported, options, run, simulated, write_results

from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.files import write_atomically

TIMESTEP = 0.5
EVERY = 2
INPUT = """units metal
atom_style atomic
read_data start.data
pair_style none
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
fix 1 all nve
timestep {timestep}
thermo_style custom step pe etotal press
thermo {every}
thermo_modify format float %.15g
run {steps}
"""
NUMBERS = re.compile(
    r"a step (?P<milliseconds>\S+) ms in the model "
    r"\((?P<processor>\S+) ms of processor time\), "
    r"(?P<mpi>\S+) ms in MPI \(medians\), (?P<sums>\d+) bytes of structure factor, "
    r"(?P<forces>\d+) of forces"
)


def start_of(repeat: int):
    """Water with velocities; the first frame repeated along each direction."""
    atoms = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), index=0).repeat(repeat)
    thermalize_momenta(atoms, 300.0, exact_temperature=True, rng=np.random.default_rng(0))
    return atoms


def lammps_run(out: Path, ranks: int, dtype: str) -> tuple[np.ndarray, dict]:
    """Rows of the log (step, energy, total energy, pressure); times and bytes of a rank."""
    log = f"{dtype}_{ranks}.log"
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "jles", "lammps", "model"]
    done = subprocess.run(
        [*command, "in.water", "--dtype", dtype, "--options", "-log", log],
        cwd=out,
        capture_output=True,
        text=True,
        check=True,
    )
    found = NUMBERS.search(done.stdout).groupdict()
    rows = [line.split() for line in (out / log).read_text().splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[0].isdigit()]
    return np.array(rows, float), {name: float(value) for name, value in found.items()}


def drift_of(steps, energies, atoms: int) -> dict:
    """Slope (meV per atom and ps) and spread (meV per atom) of the total energy."""
    times, values = 1e-3 * TIMESTEP * steps, 1e3 * energies / atoms
    slope, first = np.polyfit(times, values, 1)
    return {"drift": slope, "spread": float(np.std(values - slope * times - first))}


def main(chosen):
    out, steps = chosen.out, 10 if chosen.smoke else chosen.steps
    out.mkdir(parents=True, exist_ok=True)
    atoms, results = start_of(1 if chosen.smoke else chosen.repeat), {}
    imported("water_v1.pth").save(out / "model")
    text = INPUT.format(timestep=1e-3 * TIMESTEP, every=EVERY, steps=steps)
    write_atomically(out / "in.water", text)
    layout = {"specorder": ["H", "O"], "masses": True, "atom_style": "atomic"}
    write_lammps_data(out / "start.data", atoms, units="metal", velocities=True, **layout)
    model, dtype = imported("water_v1.pth", chosen.dtype), chosen.dtype
    config = {
        **duration(1e-3 * TIMESTEP * min(steps, chosen.md_steps), TIMESTEP),
        "dtype": dtype,
        "velocities": {"source": "file"},
        "record": {"thermo": EVERY, "positions": 0},
    }
    simulated(model, atoms, config, out / "md")
    trajectory = open_run(out / "md")
    conserved = trajectory.read("thermo", "conserved")
    energy = trajectory.read("thermo", "potential_energy").values
    taken = EVERY * np.arange(len(energy))
    results["jles md"] = drift_of(taken, conserved.values, len(atoms))
    for ranks in chosen.ranks:
        rows, cost = lammps_run(out, ranks, dtype)
        difference = 1e3 * np.abs(rows[: len(energy), 1] - energy) / len(atoms)
        results[f"{ranks} ranks"] = {
            "first difference from jles md (meV/atom)": float(difference[0]),
            "largest difference from jles md (meV/atom)": float(difference.max()),
            **drift_of(rows[:, 0], rows[:, 2], len(atoms)),
            **cost,
        }
    write_results(out, {"atoms": len(atoms), "steps": steps, "dtype": dtype, **results})


if __name__ == "__main__":
    parser = options(__doc__, "results/lammps_ranks")
    parser.add_argument("--steps", type=int, default=100, help="of 0.5 fs")
    parser.add_argument("--md-steps", type=int, default=100, help="of them also in jles md")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=2, help="2 for 1,536 atoms")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    run(main, parser)
