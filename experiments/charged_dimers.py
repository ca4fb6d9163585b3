"""Does the energy of a model trained on dimers at short range follow 1/r beyond its cutoff?

Run:     python experiments/charged_dimers.py --out results/charged_dimers
Needs:   lode-charged-dimers (JLES_DATA); 2 cores, about 20 minutes for all six pairs.
Writes:  PAIR_with/, PAIR_without/ (models), results.json, charged_dimers.png in --out.
Expect:  for the pair CC beyond 12 angstrom, published errors of 5.8 meV and 8.3 meV/angstrom
         with latent charges, 566 meV and 63.5 meV/angstrom without (Cheng, npj Comput. Mater.
         11, 80).

All six pairs (C charged, P polar, A apolar) share one set of hyperparameters and have ten
training frames each. The far frames of the publication are not in the data: fragments of the
last frame are moved rigidly to 8-20 angstrom instead. The reference for CC is Coulomb's law in
the same periodic box for point charges of +1 and -1 e on the line of centres. Their distance
from the centres of mass is fitted to the net forces of the three outermost training frames; no
model enters the reference. A second reference takes the fragment charges that the model found.
The other pairs have no such reference: their curves are drawn, and the change from 12 to 20
angstrom is given.
"""

import ase.io
import numpy as np
from common import options, run, trained, write_results
from scipy.optimize import minimize_scalar

from jles.data.sets import data_set
from jles.electrostatics import Multipoles, lattice_sum
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure

PAIRS = ("CC", "CP", "CA", "PP", "PA", "AA")
FAR = np.arange(8.0, 20.01, 0.5)
SETTINGS = {
    "model": {
        "backbone": {
            "cutoff": 5.0,
            "l_max": 2,
            "body_order": 3,
            "n_rbf": 6,
            "n_radial_basis": 8,
            "n_atom_basis": 3,
        },
        "charges": {"total": "shift"},
        "electrostatics": {"sigma": 1.5, "k_max": 2.2},
    },
    "epochs": 1500,
    "batch_size": 1,
    "loss": {"energy": {0: 1.0, 900: 300.0}, "forces": 1.0},
    "optimizer": {"learning_rate": 1e-2},
    "validate_every": 50,
    "checkpoint_every": 500,
}


def moved(atoms, distance):
    """The frame with its second fragment moved rigidly; `distance` is between the centres."""
    second = fragments(atoms)[1]
    first_center, second_center = centers(atoms)
    axis = second_center - first_center
    new = atoms.copy()
    new.positions[second] += axis / np.linalg.norm(axis) * distance - axis
    return new


def fragments(atoms):
    """Indices of the atoms of the two fragments."""
    start = int(atoms.info["indexB"])
    indices = np.arange(len(atoms))
    return indices[:start], indices[start:]


def net_force(forces, atoms):
    """Force (eV/angstrom) on the second fragment as a whole."""
    return forces[fragments(atoms)[1]].sum(axis=0)


def centers(atoms):
    """Centres of mass of the two fragments."""
    masses = atoms.get_masses()
    return np.array(
        [np.average(atoms.positions[w], axis=0, weights=masses[w]) for w in fragments(atoms)]
    )


def point_law(atoms, charges, approach=0.0):
    """Energy and force on the second of two point charges in the periodic box of `atoms`.

    The charges are at the centres of mass, moved towards each other by `approach` in total.
    """
    places = centers(atoms)
    axis = (places[1] - places[0]) / np.linalg.norm(places[1] - places[0])
    places += 0.5 * approach * np.array([axis, -axis])
    moments = Multipoles(np.array(charges, np.float64))
    out = lattice_sum(moments, places, atoms.cell.array, pbc=True, sigma=0.5, k_max=12.0)
    return float(out.energy), charges[1] * np.asarray(out.field)[1]


def fitted_approach(frames, charges):
    """The `approach` of `point_law` that fits the net DFT forces of the outermost frames."""
    outer = sorted(frames, key=lambda a: float(a.info["distance"]))[-3:]

    def misfit(approach):
        return sum(
            np.sum((point_law(a, charges, approach)[1] - net_force(a.get_forces(), a)) ** 2)
            for a in outer
        )

    return float(minimize_scalar(misfit, bounds=(-3.0, 3.0), method="bounded").x)


def gauge(charges, frames):
    """Overall sign of the charges for which the charged fragments have the right sign."""
    atoms, found = frames[0], charges[0]
    first, second = fragments(atoms)
    expected = atoms.info["chargeA"] * found[first].sum()
    expected += atoms.info["chargeB"] * found[second].sum()
    return -1.0 if expected < 0 else 1.0


def evaluate(model, frames):
    """Energies and net forces of frames; and latent charges, or None without them."""
    latent = model.config.charges is not None
    want = ("energy", "forces", "charges") if latent else ("energy", "forces")
    results = model.predict(frames, want=want)
    energies = np.array([r.energy for r in results])
    forces = np.array([net_force(r.forces, a) for r, a in zip(results, frames, strict=True)])
    charges = [r.charges for r in results] if latent else None
    return energies, forces, charges


def one_pair(pair, out, smoke):
    """Numbers of a pair, and what its panel of the picture shows."""
    file = str(data_set(f"lode-charged-dimers/{pair}.xyz"))
    frames = ase.io.read(file, ":")
    # All ten frames are training frames; the same ones choose the best epoch.
    settings = SETTINGS | {"data": {"train": file, "valid": file}}
    models = {
        "with": trained(settings, out / f"{pair}_with", smoke),
        "without": trained(
            settings | {"model": settings["model"] | {"charges": None}},
            out / f"{pair}_without",
            smoke,
        ),
    }
    distances = [float(a.info["distance"]) for a in frames]
    last = frames[int(np.argmax(distances))]
    scan = [moved(last, distance) for distance in FAR]
    training = np.array([a.get_potential_energy() for a in frames])
    reference = np.array([net_force(a.get_forces(), a) for a in frames])
    curves, record = {}, {"longest_training_distance": max(distances)}
    for name, model in models.items():
        energies, forces, charges = evaluate(model, scan)
        fit, fit_forces, _ = evaluate(model, frames)
        curves[name] = (energies, forces)
        record[name] = {
            "training_energy_rmse_mev": 1e3 * float(np.std(fit - training)),
            "training_net_force_rmse": 1e3
            * float(np.sqrt(np.mean((fit_forces - reference) ** 2))),
            "energy_change_12_to_20_mev": 1e3 * float(energies[-1] - energies[FAR == 12.0][0]),
        }
        if charges is not None:
            found = gauge(charges, scan) * charges[-1]
            record["fragment_charges_e"] = [float(found[w].sum()) for w in fragments(last)]
    law = None
    # All curves are shifted to zero at the end of the training range.
    anchor = int(np.argmin(np.abs(FAR - max(distances))))
    fragment_charges = (float(last.info["chargeA"]), float(last.info["chargeB"]))
    if fragment_charges[0] * fragment_charges[1] != 0.0:
        law = judge(record, curves, scan, frames, fragment_charges, anchor)
    return record, ((distances, training), curves, law, anchor)


def judge(record, curves, scan, frames, charges, anchor):
    """Adds both models' errors beyond 12 angstrom; returns the energies of Coulomb's law."""
    approach = fitted_approach(frames, charges)
    record["charges_inside_centres_angstrom"] = approach
    laws = [point_law(a, charges, approach) for a in scan]
    law, law_forces = np.array([e for e, _ in laws]), np.array([f for _, f in laws])
    found = record["fragment_charges_e"]
    own = np.array([point_law(a, found, approach)[0] for a in scan])
    for name, (energies, forces) in curves.items():
        for label, end in (("12_to_15", 15.0), ("12_to_20", 20.0)):
            far = (FAR >= 12.0) & (end >= FAR)
            difference = (energies - energies[anchor]) - (law - law[anchor])
            record[name][f"energy_mae_mev_{label}"] = 1e3 * float(
                np.abs(difference[far]).mean()
            )
            error = float(np.abs(forces - law_forces)[far].mean())
            record[name][f"net_force_mae_mev_per_angstrom_{label}"] = 1e3 * error
    far = FAR >= 12.0
    energies = curves["with"][0]
    difference = (energies - energies[anchor]) - (own - own[anchor])
    record["with"]["energy_mae_mev_12_to_20_own_charges"] = 1e3 * float(
        np.abs(difference[far]).mean()
    )
    return law


def draw(path, pictures):
    """Energy against distance, one panel a pair, at most three in a row."""
    columns = min(3, len(pictures))
    rows = -(-len(pictures) // columns)
    figure, axes = new_figure(columns=columns, rows=rows, width=3.0, height=3.2)
    for axis, (pair, (data, curves, law, anchor)) in zip(axes, pictures.items(), strict=True):
        distances, energies = data
        zero = curves["with"][0][anchor]
        if law is not None:
            axis.plot(FAR, law - law[anchor], color=INK, linewidth=1.0, label="Coulomb's law")
        colors = {"with": ACCENT, "without": SECOND}
        for name, (values, _) in curves.items():
            axis.plot(
                FAR,
                values - values[anchor],
                "--",
                color=colors[name],
                linewidth=1.6,
                label=f"{name} latent charges",
            )
        axis.plot(distances, energies - zero, "o", color=INK, markersize=3, label="training")
        axis.set(title=pair, xlabel="distance of centres (Å)")
    for axis in axes[::columns]:
        axis.set_ylabel("energy (eV)")
    axes[0].legend(frameon=False, fontsize=7)
    save_figure(figure, path)


def main(chosen):
    out = chosen.out
    results, pictures = {}, {}
    for pair in PAIRS[:1] if chosen.smoke else PAIRS:
        results[pair], pictures[pair] = one_pair(pair, out, chosen.smoke)
        print(pair, results[pair], flush=True)
    draw(out / "charged_dimers.png", pictures)
    write_results(out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/charged_dimers"))
