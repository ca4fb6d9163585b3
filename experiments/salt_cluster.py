"""Does the force on a sodium ion change when another one, far away in the cluster, is missing?

Run:     python experiments/salt_cluster.py --out results/salt_cluster
Needs:   seeds/nacl_cluster_les.pth (published model, JLES_DATA); one core, 15 seconds.
Writes:  the relaxed cluster, results.json and salt_cluster.png in --out.
Expect:  different minima of the energy for Na9Cl8+ and Na8Cl8+ when one Na is moved, as in DFT;
         the same minimum for a short-range model (Ko et al., Nat. Commun. 12, 398 (2021)).

The published structures are not in the data. The cluster here is a rod of rock salt of 2 x 2 x
4 atoms with one more Na on one end, relaxed by the model. The atom removed is that one; the
atom moved is a Na at the other end, outside the cutoff of 5.3 angstrom. The model has no
input for the total charge.
"""

import ase.io
import numpy as np
from ase import Atoms
from ase.optimize import BFGS
from common import imported, options, run, write_results
from scipy.interpolate import make_interp_spline

from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure

SPACING = 2.75  # angstrom, between neighbours at the start
TOLERANCE = 5e-3
SHIFTS = np.arange(-0.4, 0.61, 0.05)


def rod() -> Atoms:
    """Na8Cl8 with one more Na, the last atom, on the end of a Cl; the rod lies along z."""
    places = [(i, j, k) for k in range(4) for i in range(2) for j in range(2)]
    symbols = ["Na" if sum(place) % 2 == 0 else "Cl" for place in places]
    top = next(p for p, s in zip(places, symbols, strict=True) if p[2] == 3 and s == "Cl")
    positions = SPACING * np.array([*places, (*top[:2], 4)], float)
    return Atoms([*symbols, "Na"], positions)


def relaxed(model, atoms, steps: int) -> Atoms:
    """The cluster relaxed by the model."""
    atoms = atoms.copy()
    atoms.calc = model.calculator()
    with BFGS(atoms, logfile=None) as search:
        search.run(fmax=TOLERANCE, steps=steps)
    return atoms


def far_sodium(atoms) -> int:
    """The Na farthest from the last atom."""
    away = np.linalg.norm(atoms.positions - atoms.positions[-1], axis=1)
    return int(np.argmax(np.where(atoms.numbers == 11, away, 0.0)))


def path(atoms, moved: int, shifts) -> list[Atoms]:
    """Copies with one atom shifted outwards along the rod (angstrom)."""
    copies = []
    for shift in shifts:
        copy = Atoms(atoms.numbers, atoms.positions)
        copy.positions[moved, 2] -= shift
        copies.append(copy)
    return copies


def scan(model, atoms, moved: int, shifts) -> dict:
    """Energies (eV) along the path, the place of the minimum, and latent charges (e)."""
    found = model.predict(path(atoms, moved, shifts), want=("energy", "forces", "charges"))
    energies = np.array([f.energy for f in found])
    curve = make_interp_spline(shifts, energies, min(3, len(shifts) - 1))
    fine = np.linspace(shifts[0], shifts[-1], 2001)
    start = found[int(np.argmin(np.abs(shifts)))]
    charges = np.asarray(start.charges)
    charges = charges * np.sign(charges[atoms.numbers == 11].mean())
    return {
        "energies_ev": (energies - energies.min()).tolist(),
        "minimum_angstrom": float(fine[np.argmin(curve(fine))]),
        "outward_force_at_start_ev_per_angstrom": float(-start.forces[moved, 2]),
        "mean_charge_Na": float(charges[atoms.numbers == 11].mean()),
        "mean_charge_Cl": float(charges[atoms.numbers == 17].mean()),
        "charge_of_moved": float(charges[moved]),
        "sum_of_charges": float(charges.sum()),
    }


def draw(file, results: dict, shifts) -> None:
    """Energy against the place of the Na, and the cluster seen from the side."""
    figure, (left, right) = new_figure(4.2, 3.4, columns=2)
    for name, color in (("Na9Cl8+", ACCENT), ("Na8Cl8+", SECOND)):
        record = results[name]
        label = name.replace("9", "$_9$").replace("8", "$_8$").replace("+", "$^+$")
        energies = 1e3 * np.array(record["energies_ev"])
        left.plot(shifts, energies, "o-", color=color, markersize=3, label=label)
        left.axvline(record["minimum_angstrom"], color=color, linewidth=0.8, linestyle=":")
    left.set(xlabel="Na moved outwards (Å)", ylabel="energy (meV)")
    left.legend(frameon=False, fontsize=8)
    atoms = results["cluster"]
    for z, color, size, label in ((11, INK, 6, "Na"), (17, "#2e7d46", 11, "Cl")):
        chosen = atoms.numbers == z
        right.plot(
            atoms.positions[chosen, 2], atoms.positions[chosen, 0], "o", color=color,
            markersize=size, alpha=0.7, label=label,
        )  # fmt: skip
    for number, text in ((results["moved"], "moved"), (len(atoms) - 1, "removed")):
        z, x = atoms.positions[number, [2, 0]]
        right.annotate(text, (z, x), (0, 14), textcoords="offset points", fontsize=8)
    right.set(xlabel="along the rod (Å)", ylabel="across (Å)", aspect="equal", ylim=(-3, 7.5))
    right.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)
    save_figure(figure, file)


def main(chosen):
    shifts = np.array([-0.2, 0.0, 0.2]) if chosen.smoke else SHIFTS
    model = imported("seeds/nacl_cluster_les.pth", "float64")
    cluster = relaxed(model, rod(), 2 if chosen.smoke else 200)
    moved = far_sodium(cluster)
    results = {
        "largest_force_ev_per_angstrom": float(np.abs(cluster.get_forces()).max()),
        "distance_moved_removed_angstrom": float(cluster.get_distance(moved, len(cluster) - 1)),
        "Na9Cl8+": scan(model, cluster, moved, shifts),
        "Na8Cl8+": scan(model, cluster[:-1], moved, shifts),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    ase.io.write(chosen.out / "cluster.extxyz", cluster)
    draw(
        chosen.out / "salt_cluster.png", results | {"cluster": cluster, "moved": moved}, shifts
    )
    write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/salt_cluster"))
