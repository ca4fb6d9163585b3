"""Do latent charges learnt from energies and forces give the dipole moments of dipeptides?

Run:     python experiments/dipeptides.py --out results/dipeptides
Needs:   dipeptides-spice (JLES_DATA); 2 cores, about half an hour.
Writes:  model/, results.json, dipeptides.png in --out.
Expect:  with 500 epochs 1.29 meV/atom, 53 meV/angstrom and R2 0.987 of the dipole on
         val_bec.xyz (arXiv 2507.14302).

The files contain dipoles, which the training does not read.
"""

import ase.io
import numpy as np
from common import options, run, trained, training_seconds, write_results

from jles.data.sets import data_set
from jles.pictures import new_figure, parity_axis, save_figure

SETTINGS = {
    "data": {"valid_fraction": 0.1, "split_seed": 0, "max_buckets": 3},
    "model": {
        "backbone": {"cutoff": 4.5, "l_max": 3, "body_order": 3, "n_rbf": 6, "n_atom_basis": 4},
        "charges": {"total": "shift"},
        "electrostatics": {"sigma": 1.0, "k_max": 3.14159},
    },
    "epochs": 500,
    "batch_size": 2,
    "loss": {"energy": {0: 5.0, 350: 100.0}, "forces": 1.0},
    "optimizer": {"learning_rate": 1e-2, "schedule": "cosine", "weight_decay": 0.02},
    "validate_every": 5,
    "checkpoint_every": 5,
}


def main(chosen):
    out = chosen.out
    train_file = str(data_set("dipeptides-spice/train.xyz"))
    settings = SETTINGS | {"data": SETTINGS["data"] | {"train": train_file}}
    model = trained(settings, out / "model", chosen.smoke)
    index = ":3" if chosen.smoke else ":"
    frames = ase.io.read(data_set("dipeptides-spice/val_bec.xyz"), index)
    results = model.predict(frames, want=("energy", "forces", "dipole", "charges"))
    atoms = np.array([len(a) for a in frames])
    energy = np.array([r.energy for r in results])
    energy_reference = np.array([a.get_potential_energy() for a in frames])
    forces = np.concatenate([r.forces for r in results])
    force_reference = np.concatenate([a.get_forces() for a in frames])
    dipole = np.array([r.dipole for r in results])
    truth = np.array([a.info["dipole_ref"] for a in frames])
    # Energies and forces do not determine the overall sign of the charges.
    dipole = dipole * np.sign(np.sum(dipole * truth))
    slope = float(np.sum(dipole * truth) / np.sum(dipole**2))
    residual = np.sum((dipole - truth) ** 2)
    numbers = {
        "frames": len(frames),
        "epochs": SETTINGS["epochs"],
        "energy_rmse_mev_per_atom": 1e3
        * float(np.sqrt(np.mean(((energy - energy_reference) / atoms) ** 2))),
        "force_rmse_mev_per_angstrom": 1e3
        * float(np.sqrt(np.mean((forces - force_reference) ** 2))),
        "dipole_r2": 1.0 - float(residual / np.sum((truth - truth.mean(axis=0)) ** 2)),
        "dipole_squared_correlation": float(
            np.corrcoef(dipole.ravel(), truth.ravel())[0, 1] ** 2
        ),
        "dipole_rmse_e_angstrom": float(np.sqrt(residual / truth.size)),
        "dipole_best_factor": slope,
        "training_seconds": training_seconds(out / "model"),
    }
    figure, axes = new_figure(4.2, 4.2, columns=2)
    parity_axis(axes[0], force_reference, forces, "forces", "eV/Å")
    parity_axis(axes[1], truth, dipole, "dipole", "e Å")
    axes[1].set_title(f"never a label: R² {numbers['dipole_r2']:.3f}", fontsize=9)
    save_figure(figure, out / "dipeptides.png")
    write_results(out, numbers)


if __name__ == "__main__":
    run(main, options(__doc__, "results/dipeptides"))
