"""Do energies and forces alone teach Born charges and polarizabilities, and does the ladder pay?

Run:     python experiments/electrical_response.py --out results/electrical_response
Needs:   water-rpbe-d3, batio3-allegro-pol, sio2-allegro-pol, dipeptides-spice, spice-bec,
         ionic-crystals-phonopy (JLES_DATA); one core, about five minutes a model and system.
Writes:  SYSTEM/RUNG/ (models), results.json, table.md, and pictures in --out.
Expect:  water, Born charges: 0.022 e RMSE with charges, dipoles and induced dipoles
         (arXiv 2605.05746). Dipeptides, charges alone: dipole R2 0.987, quadrupole 0.910, Born
         charges 0.943 and 0.085 e (arXiv 2507.14302). Born charges and polarizabilities are never
         trained on.
"""

import argparse
from pathlib import Path

from common import trained

from jles.data.sets import data_set

RUNGS = {
    "q": {},
    "q+u": {"dipoles": {}},
    "q+u+Q": {"dipoles": {}, "quadrupoles": {}},
    "q+alpha": {"polarizability": {}},
    "q+kappa": {"charge_softness": {}},
    "q+u+alpha": {"dipoles": {}, "polarizability": {}},
    "q+u+Q+kappa+alpha": {
        "dipoles": {},
        "quadrupoles": {},
        "charge_softness": {},
        "polarizability": {"kind": "tensor"},
    },
}

# Files, cutoff, epochs, held-out fraction, dielectric constant of the electrons (section 7).
SYSTEMS = {
    "water": (("water-rpbe-d3/ef.xyz", "water-rpbe-d3/ef_bec.xyz"), 4.5, 120, 0.2, 1.78),
    "BaTiO3": (("batio3-allegro-pol/BaTiO3.xyz",), 5.0, 250, 0.2, None),
    "SiO2": (("sio2-allegro-pol/SiO2.xyz",), 5.0, 150, 0.2, None),
    "dipeptides": (("dipeptides-spice/train.xyz",), 4.5, 60, 0.1, 1.0),
    "SPICE": (
        tuple(
            f"spice-bec/{name}.xyz"
            for name in ("des370k_dimers", "des370k_monomers", "dipeptides", "pubchem", "water")
        ),
        4.5,
        80,
        0.15,
        1.0,
    ),
    "MgO": (("ionic-crystals-phonopy/MgO.xyz",), 5.0, 150, 0.1, None),
    "NaCl": (("ionic-crystals-phonopy/NaCl.xyz",), 5.5, 150, 0.1, None),
}


def settings(system: str, rung: str) -> dict:
    """The training file of one model."""
    files, cutoff, epochs, held_out, _ = SYSTEMS[system]
    return {
        "data": {"train": [str(data_set(f)) for f in files], "valid_fraction": held_out},
        "model": {
            "backbone": {
                "cutoff": cutoff, "l_max": 3, "body_order": 3, "n_rbf": 6, "n_radial_basis": 8,
            },
            "electrostatics": {"sigma": 1.0, "k_max": 3.14},
            **RUNGS[rung],
        },
        "epochs": epochs,
        "batch_size": 1,
        "loss": {"energy": {0: 1.0, int(0.6 * epochs): 30.0}, "forces": 1.0},
        "optimizer": {"learning_rate": 1e-2},
        "validate_every": 10,
        "checkpoint_every": 10,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/electrical_response"))
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), choices=RUNGS)
    chosen = parser.parse_args()
    for rung in chosen.rungs:
        for system in chosen.systems:
            trained(settings(system, rung), chosen.out / system / rung)


if __name__ == "__main__":
    main()
