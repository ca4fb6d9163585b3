"""Do forces of distorted SrTiO3 contain the Born charges of the crystal?

Run:     python experiments/strontium_titanate.py --out results/strontium_titanate
Needs:   neuralil-srtio3 (JLES_DATA); one core, half an hour for five trainings.
Writes:  models with charges, with dipoles, and without long range, which see atoms within two
         cutoffs or one ("near"); results.json, strontium_titanate.png.
Expect:  Z* of Sr 2.56, of Ti 7.26, of O -5.73 along Ti-O and -2.15 across (LDA, Ghosez,
         Michenaud and Gonze, Phys. Rev. B 58, 6224 (1998); quoted, not checked).

The 150 cells of 135 atoms are strongly distorted: their forces are 2.5 to 6 eV/angstrom (RMS),
with a net force of 0.3 eV/angstrom on a cell. The cutoff is below half the cell of 12.04
angstrom. Energies and forces give charges divided by sqrt(epsilon_infinity); 5.3 is the
measured one.
"""

import numpy as np
from ase import Atoms
from common import (
    divided,
    error_of,
    options,
    run,
    settings_of_few,
    trained,
    training_seconds,
    write_results,
)

from jles.models.config import ScreeningConfig
from jles.pictures import ACCENT, INK, new_figure, parity_axis, save_figure
from jles.predict.model import load_model

FILE = "neuralil-srtio3/SrTiO3.xyz"
TEST, VALID = 30, 10
EPOCHS = 60
EPSILON_INFINITY = 5.3
CONSTANT = 12.04069779 / 3.0  # angstrom, of the cells of the data
PUBLISHED = {"Sr": 2.56, "Ti": 7.26, "O along Ti-O": -5.73, "O across": -2.15}
PAINN = {
    "kind": "painn", "cutoff": 4.5, "n_atom_basis": 64, "n_interactions": 2, "degree": 1,
    "avg_num_neighbors": 29.0,
}  # fmt: skip
NEAR = PAINN | {"n_interactions": 1}
SHIFT = {"total": "shift"}
CASES = {
    "charges": {"backbone": PAINN, "charges": SHIFT},
    "dipoles": {"backbone": PAINN, "charges": SHIFT, "dipoles": {}},
    "near_charges": {"backbone": NEAR, "charges": SHIFT},
    "near_dipoles": {"backbone": NEAR, "charges": SHIFT, "dipoles": {}},
    "without": {"backbone": PAINN, "charges": None},
}
DRAWN = "near_dipoles"
"""The model whose forces and Born charges are drawn."""


def settings(case: str, files: dict) -> dict:
    """Training settings of one case."""
    return settings_of_few(files, CASES[case], EPOCHS)


def crystal() -> Atoms:
    """The ideal cell: Sr, Ti, the O along Ti-O of the first axis, two O across it."""
    corners = [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Atoms("SrTiO3", CONSTANT * np.array(corners), cell=[CONSTANT] * 3, pbc=True)


def errors(model, frames) -> tuple[dict, list]:
    """Errors of forces (meV/angstrom) and energies (meV/atom); pairs of forces."""
    found = model.predict(frames, want=("energy", "forces"))
    pairs = [(a.get_forces(), r.forces) for a, r in zip(frames, found, strict=True)]
    energy = [
        (r.energy - a.get_potential_energy()) / len(a)
        for a, r in zip(frames, found, strict=True)
    ]
    forces = error_of(pairs)
    by_temperature = {}
    for kelvin in sorted({int(a.info["T"]) for a in frames}):
        chosen = [p for a, p in zip(frames, pairs, strict=True) if int(a.info["T"]) == kelvin]
        one = error_of(chosen)
        by_temperature[f"{kelvin} K"] = {k: 1e3 * one[k] for k in ("rmse", "mae")}
    return {
        "force_rmse": 1e3 * forces["rmse"],
        "force_mae": 1e3 * forces["mae"],
        "force_r2": forces["r2"],
        "forces_by_temperature": by_temperature,
        "energy_rmse": 1e3 * float(np.sqrt(np.mean(np.square(energy)))),
        "energy_mae": 1e3 * float(np.mean(np.abs(energy))),
    }, pairs


def named(z) -> dict:
    """Born charges (e) of the atoms of `crystal` by the names of `PUBLISHED`."""
    return {
        "Sr": float(np.trace(z[0]) / 3.0),
        "Ti": float(np.trace(z[1]) / 3.0),
        "O along Ti-O": float(z[2, 0, 0]),
        "O across": float(z[2, 1, 1]),
    }


def born_charges(folder) -> dict:
    """Born charges (e) of the ideal crystal, with the acoustic sum rule and before it.

    Energies leave the common sign open. It is chosen so that Ti is positive: the sign of its
    latent charge can be that of its Born charge or the opposite one.
    """
    screening = ScreeningConfig(EPSILON_INFINITY)
    model = load_model(folder, "float64", screening=screening)
    found = model.predict(crystal(), want=("born_charges",))
    z = np.asarray(found.born_charges)
    z = z * np.sign(np.trace(z[1]))
    return named(z - z.mean(axis=0)) | {
        "before the sum rule": named(z),
        "acoustic_sum": float(np.abs(np.asarray(found.acoustic_sum)).max()),
    }


def draw(path, forces, born: dict) -> None:
    """Forces of the test frames, and Born charges beside the published ones."""
    figure, (left, right) = new_figure(4.2, 3.8, columns=2)
    reference, predicted = (np.concatenate([np.ravel(x) for x in part]) for part in forces)
    parity_axis(left, reference, predicted, "forces", "eV/Å")
    places = np.arange(len(PUBLISHED))
    bars = right.bar(places - 0.2, list(PUBLISHED.values()), 0.36, color=INK, label="LDA")
    right.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    own = [born[name] for name in PUBLISHED]
    bars = right.bar(places + 0.2, own, 0.36, color=ACCENT, label="from forces, trained here")
    right.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    right.set_xticks(places, [name.replace(" ", "\n", 1) for name in PUBLISHED])
    right.set_ylabel("Born charge (e)")
    right.margins(y=0.12)
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    out = chosen.out
    files, test = divided(FILE, TEST, VALID, out)
    results, forces, born = {"published_born_charges": PUBLISHED}, {}, {}
    for case in CASES:
        model = trained(settings(case, files), out / case, chosen.smoke)
        results[case], pairs = errors(model, test[:2] if chosen.smoke else test)
        results[case]["training_seconds"] = training_seconds(out / case)
        forces[case] = list(zip(*pairs, strict=True))
        if model.config.charges is not None:
            born[case] = results[case]["born_charges"] = born_charges(out / case)
        print(case, results[case], flush=True)
    draw(out / "strontium_titanate.png", forces[DRAWN], born[DRAWN])
    write_results(out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/strontium_titanate"))
