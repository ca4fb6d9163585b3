"""How should a model be told the charge of a molecule?

Run:     python experiments/charged_molecules.py --out results/charged_molecules
Needs:   4g-hdnnp-n2p2, the published models carbon_chain_les and ag_cluster_les, and those of
         charged dimers with lode-charged-dimers (JLES_DATA); 1 core, 3 minutes a model.
Writes:  one model directory for each way, results.json, charged_molecules.png in --out.
Expect:  force errors on C10H2 / C10H3+ of 129.5 meV/angstrom for a short-range network, 78.0
         with charge equilibration (Ko et al., Nat. Commun. 12, 398) and 5.8 with an embedding
         of the charge and ten thousand frames (Unke et al., Nat. Commun. 12, 7273). Ag3+ is a
         triangle, Ag3- a chain (Ko et al.).

The chain of ten carbon atoms ends in two hydrogen atoms, or in three with a charge of +1 e. The
proton at one end changes the bonds at the other, far beyond the cutoff. The ways compared are a
short-range model, charges without constraint as published (`free`), charges shifted to the
total charge, charges of least energy that sum to it, and the total charge embedded with the
elements, without and with latent charges. All see the same 70 frames.
"""

import ase.io
import numpy as np
from ase import Atoms
from ase.optimize import BFGS
from common import error_of, imported, options, run, trained, training_seconds, write_results

from jles.data.sets import data_set
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure

CHAIN = "4g-hdnnp-n2p2/Carbon_chain_4G.xyz"
WAYS = {
    "short range": {"charges": None},
    "free": {"charges": {"total": "free"}},
    "shift": {"charges": {"total": "shift"}},
    "equilibrated": {"charges": {"kind": "equilibrated"}},
    "embedded, short range": {"charges": None, "state": {}},
    "embedded, free": {"charges": {"total": "free"}, "state": {}},
    "embedded, shift": {"charges": {"total": "shift"}, "state": {}},
}
EPOCHS = 600
SETTINGS = {
    "epochs": EPOCHS,
    "batch_size": 5,
    "loss": {"energy": {0: 1.0, EPOCHS // 2: 100.0}, "forces": 1.0},
    "optimizer": {"learning_rate": 1e-2},
    "validate_every": 20,
    "checkpoint_every": 200,
    "data": {"max_buckets": 1},
}
BACKBONE = {"cutoff": 4.23, "l_max": 3, "body_order": 3, "n_radial_basis": 8, "n_atom_basis": 3}


def split(out):
    """Files of 70 training and 10 validation frames, and the 24 test frames."""
    frames = ase.io.read(data_set(CHAIN), ":")
    order = np.random.default_rng(5).permutation(len(frames))
    parts = {"train": order[:70], "valid": order[70:80], "test": order[80:]}
    out.mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        ase.io.write(out / f"{name}.extxyz", [frames[n] for n in chosen], format="extxyz")
    return out / "train.extxyz", out / "valid.extxyz", ase.io.read(out / "test.extxyz", ":")


def errors(model, frames):
    """Force and energy errors of each charge state, and what the latent charges sum to.

    Energies are compared per atom, less their mean difference: a published model comes without
    the energies of its elements.
    """
    latent = model.config.charges is not None
    found = model.predict(frames, want=("energy", "forces", *(("charges",) if latent else ())))
    charges = np.array([frame.info["total_charge"] + 0.0 for frame in frames])
    record = {"forces_rmse_mev_per_angstrom": force_rmse(found, frames)}
    per_atom = [
        (out.energy - frame.get_potential_energy()) / len(frame)
        for out, frame in zip(found, frames, strict=True)
    ]
    for charge in np.unique(charges):
        chosen = np.flatnonzero(charges == charge)
        own = {
            "forces_rmse_mev_per_angstrom": force_rmse(
                [found[n] for n in chosen], [frames[n] for n in chosen]
            ),
            "energy_spread_mev_per_atom": 1e3 * float(np.std([per_atom[n] for n in chosen])),
        }
        if latent:
            sums = [float(np.sum(found[n].charges)) for n in chosen]
            own["sum_of_charges_e"] = [float(np.mean(sums)), float(np.std(sums))]
        record[f"charge {charge:g}"] = own
    if model.config.element_energies:
        record["energy_rmse_mev_per_atom"] = 1e3 * float(np.sqrt(np.mean(np.square(per_atom))))
    return record


def force_rmse(found, frames):
    """meV/angstrom."""
    pairs = [(frame.get_forces(), out.forces) for out, frame in zip(found, frames, strict=True)]
    return 1e3 * error_of(pairs)["rmse"]


def relaxed_silver(model):
    """Energy (eV) and distances (angstrom) of Ag3 relaxed from a triangle and from a chain."""
    starts = {
        "triangle": [[0, 0, 0], [2.7, 0, 0], [1.35, 2.34, 0]],
        "chain": [[0, 0, 0], [2.7, 0, 0], [5.4, 0.1, 0]],
    }
    record = {}
    for charge in (1.0, -1.0):
        for shape, positions in starts.items():
            atoms = Atoms("Ag3", positions, info={"total_charge": charge})
            atoms.calc = model.calculator()
            BFGS(atoms, logfile=None).run(fmax=0.005, steps=100)
            distances = sorted(
                float(d) for d in atoms.get_all_distances()[[0, 0, 1], [1, 2, 2]]
            )
            record[f"{shape}, charge {charge:+g}"] = {
                "energy_ev": float(atoms.get_potential_energy()),
                "distances_angstrom": distances,
            }
    return record


def draw(path, models, frames):
    """Force errors along the chain, from the end with fewer hydrogens."""
    figure, axes = new_figure(columns=2, rows=1, width=4.2, height=3.2)
    places = {}
    for name, model in models.items():
        found = model.predict(frames)
        places[name] = [along_chain(frames, found, charge) for charge in (0.0, 1.0)]
    styles = {
        "short range": (INK, ":"),
        "free": (INK, "-"),
        "shift": (SECOND, "-"),
        "equilibrated": (SECOND, "--"),
        "embedded, short range": (ACCENT, ":"),
        "embedded, free": (ACCENT, "-"),
        "embedded, shift": (ACCENT, "--"),
    }
    titles = ("C$_{10}$H$_2$", "C$_{10}$H$_3^+$")
    for number, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for name, values in places.items():
            color, line = styles[name]
            axis.plot(range(1, 11), values[number], line, color=color, label=name)
        axis.set(title=title, xlabel="carbon atom along the chain", ylim=(0, 300))
    axes[0].set_ylabel("force RMSE (meV/Å)")
    axes[0].legend(frameon=False, fontsize=7, loc="upper right")
    save_figure(figure, path)


def along_chain(frames, found, charge):
    """Force errors (meV/angstrom) of the carbon atoms from the end with fewer hydrogens."""
    rows = []
    for frame, out in zip(frames, found, strict=True):
        if frame.info["total_charge"] != charge:
            continue
        carbon = np.flatnonzero(frame.numbers == 6)
        places = frame.positions[carbon]
        axis = np.linalg.svd(places - places.mean(axis=0))[2][0]
        order = carbon[np.argsort(places @ axis)]
        hydrogen = frame.positions[frame.numbers == 1]
        near = [
            np.sum(np.linalg.norm(hydrogen - frame.positions[n], axis=1) < 1.6) for n in order
        ]
        if near[0] > near[-1]:
            order = order[::-1]
        rows.append(np.mean((out.forces - frame.get_forces())[order] ** 2, axis=1))
    return 1e3 * np.sqrt(np.mean(rows, axis=0))


def main(chosen):
    out = chosen.out
    train, valid, test = split(out)
    data = SETTINGS["data"] | {"train": str(train), "valid": str(valid)}
    results, models = {"trained here": {}, "published": {}}, {}
    for name, way in list(WAYS.items())[:: 3 if chosen.smoke else 1]:
        folder = out / name.replace(", ", "_").replace(" ", "_")
        settings = SETTINGS | {"data": data, "model": {"backbone": BACKBONE, **way}}
        models[name] = trained(settings, folder, chosen.smoke)
        record = errors(models[name], test) | {"seconds": training_seconds(folder)}
        results["trained here"][name] = record
        print(name, record, flush=True)
    published = results["published"]
    everything = ase.io.read(data_set(CHAIN), ":")
    published["carbon_chain_les"] = errors(imported("seeds/carbon_chain_les.pth"), everything)
    published["ag_cluster_les"] = relaxed_silver(imported("seeds/ag_cluster_les.pth"))
    for pair in ("CC", "CP", "CA"):
        frames = ase.io.read(data_set(f"lode-charged-dimers/{pair}.xyz"), ":")
        for kind in ("les", "sr"):
            name = f"dimer_{pair}_{kind}"
            published[name] = errors(imported(f"seeds/{name}.pth"), frames)
    draw(out / "charged_molecules.png", models, test)
    write_results(out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/charged_molecules"))
