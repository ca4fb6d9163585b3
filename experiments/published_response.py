"""Born charges of published models against DFT, by the published and the exact formula.

Run:     python experiments/published_response.py --out results/published_response
Needs:   water-rpbe-d3, superionic-water-bec, water_v1, superionic_fit, superionic_finetune
         and pbtio3_phase_4 (JLES_DATA); a few minutes on 2 cores.
Writes:  results.json and born_MODEL_MODE.png in --out.
Expect:  the figures of arXiv 2504.05169 show Born charges of liquid water from water_v1,
         trained on energies and forces only, with R2 around 0.98. The exact Born charges of a
         crystal and of its supercells agree to 1e-6 e; those of the published formula do not.

DFT matrices of the superionic set are the transposes of those that the published fine-tuning
compared with.
"""

import ase.io
import numpy as np
from common import born_arrays, born_errors, imported, options, run, write_results
from lead_titanate import EPSILON_INFINITY, tetragonal

from jles.data.sets import data_set
from jles.models.config import ScreeningConfig
from jles.pictures import born_charge_picture

CASES = {
    "water_v1": ("water-rpbe-d3/ef_bec.xyz", 1.78),
    "superionic_fit": ("superionic-water-bec/S-2cc-T2000K-BEC.xyz", 3.1),
    "superionic_finetune": ("superionic-water-bec/S-2cc-T2000K-BEC.xyz", 3.1),
}


def supercells(repeats) -> dict[str, dict[str, float]]:
    """Born charges (e) of Ti along the polar axis in supercells of displaced PbTiO3.

    `differs` is the largest difference between exact Born charges of the supercell and of the
    single cell, over all elements of all atoms.
    """
    model = imported("pbtio3_phase_4.pth", "float64", ScreeningConfig(EPSILON_INFINITY, "Ti"))
    crystal = tetragonal()
    crystal.rattle(0.05, seed=1)
    found, small = {}, None
    for repeat in repeats:
        atoms = crystal * ((repeat,) * 3)
        exact, published = (
            model.predict(atoms, ("born_charges",), born_mode=mode).born_charges
            for mode in ("exact", "published")
        )
        small = exact if small is None else small
        titanium = int(np.argmax(atoms.numbers == 22))
        found[f"{repeat}x{repeat}x{repeat}"] = {
            "exact": float(exact[titanium, 2, 2]),
            "published": float(published[titanium, 2, 2]),
            "differs": float(np.abs(exact - np.tile(small, (repeat**3, 1, 1))).max()),
        }
    return found


def main(chosen):
    out = chosen.out
    cases = {"water_v1": CASES["water_v1"]} if chosen.smoke else CASES
    results = {}
    for name, (file, epsilon) in cases.items():
        model = imported(f"{name}.pth", screening=ScreeningConfig(epsilon, "H"))
        frames = ase.io.read(data_set(file), ":1" if chosen.smoke else ":")
        for mode in ("published", "exact"):
            outs = model.predict(frames, ("born_charges",), born_mode=mode)
            charges = born_arrays(frames, outs)
            row = born_errors(*charges)
            residual = np.array([o.acoustic_sum for o in outs]) / len(frames[0])
            row["acoustic_sum_per_atom"] = float(np.sqrt(np.mean(residual**2)))
            results[f"{name}, {mode}"] = row
            born_charge_picture(out / f"born_{name}_{mode}.png", *charges)
    repeats = (1, 2) if chosen.smoke else (1, 2, 3)
    write_results(out, results | {"supercells": supercells(repeats)})


if __name__ == "__main__":
    run(main, options(__doc__, "results/published_response"))
