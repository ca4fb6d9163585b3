"""Do latent charges find the ions of an ionic liquid, and what do they do for its forces?

Run:     python experiments/ionic_liquid.py --out results/ionic_liquid
Needs:   neuralil-ean (JLES_DATA); one core, about ten minutes for three trainings.
Writes:  a model for each case, results.json and ionic_liquid.png in --out.
Expect:  errors below 2 meV/atom and 70 meV/angstrom, for a network trained on more frames of
         this liquid (Montes-Campos et al., J. Chem. Inf. Model. 62, 88 (2022)); latent Born
         charges of the ions of +1 and -1 e divided by sqrt(epsilon_infinity), 0.69 e for a
         refractive index of 1.45.

The frames hold 15 ethylammonium and 15 nitrate ions each. About half of them are quiet (forces
of 0.2 eV/angstrom RMS), the others strongly distorted (1 to 2 eV/angstrom); errors are given
for both. The forces of a frame do not sum to zero, by 0.3 to 2.3 eV/angstrom.
"""

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure

FILE = "neuralil-ean/EAN.xyz"
TEST, VALID = 12, 4
QUIET = 0.4  # eV/angstrom: quiet frames have smaller forces (RMS)
EPOCHS = 60
IDEAL = 0.69  # e, one elementary charge divided by the refractive index
PAINN = {"kind": "painn", "cutoff": 4.0, "n_interactions": 2, "avg_num_neighbors": 25.0}
CASES = {
    "with": {"backbone": PAINN, "charges": {"total": "shift"}},
    "without": {"backbone": PAINN, "charges": None},
    "one_interaction": {
        "backbone": PAINN | {"n_interactions": 1}, "charges": {"total": "shift"},
    },
}  # fmt: skip


def settings(case: str, files: dict) -> dict:
    """Training settings of one case."""
    return settings_of_few(files, CASES[case], EPOCHS) | {"checkpoint_every": 10}


def size_of_forces(atoms) -> float:
    """Root mean square of the reference forces, eV/angstrom."""
    return float(np.sqrt(np.mean(atoms.get_forces() ** 2)))


def errors(model, frames) -> dict:
    """Force errors (meV/angstrom) and energy errors (meV/atom) of quiet and other frames."""
    groups = {"all": frames}
    groups["quiet"] = [a for a in frames if size_of_forces(a) < QUIET]
    groups["distorted"] = [a for a in frames if size_of_forces(a) >= QUIET]
    record = {}
    for name, chosen in groups.items():
        if not chosen:
            continue
        found = model.predict(chosen, want=("energy", "forces"))
        pairs = list(zip(chosen, found, strict=True))
        forces = error_of([(a.get_forces(), r.forces) for a, r in pairs])
        energy = [(r.energy - a.get_potential_energy()) / len(a) for a, r in pairs]
        record[name] = {
            "frames": len(chosen),
            "force_rmse": 1e3 * forces["rmse"],
            "force_mae": 1e3 * forces["mae"],
            "force_r2": forces["r2"],
            "energy_rmse": 1e3 * float(np.sqrt(np.mean(np.square(energy)))),
            "energy_mae": 1e3 * float(np.mean(np.abs(energy))),
        }
    return record


def molecules(atoms) -> np.ndarray:
    """A number for each atom: that of the covalently bonded molecule it belongs to."""
    i, j = neighbor_list("ij", atoms, list(1.2 * covalent_radii[atoms.numbers]))
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(len(atoms), len(atoms)))
    return connected_components(graph, directed=False)[1]


def sums_of_ions(frames, charges) -> dict[str, np.ndarray]:
    """Sums of charges of atoms over the ions, by formula; cations are positive."""
    sums = {}
    for atoms, of_atoms in zip(frames, charges, strict=True):
        which = molecules(atoms)
        for number in range(which.max() + 1):
            name = atoms[which == number].get_chemical_formula()
            sums.setdefault(name, []).append(float(of_atoms[which == number].sum()))
    sign = np.sign(np.mean(sums["C2H8N"]))
    return {name: sign * np.array(values) for name, values in sums.items()}


def ion_charges(model, frames) -> dict[str, np.ndarray]:
    """Sums of latent charges (e) of the ions."""
    found = model.predict(frames, want=("charges",))
    return sums_of_ions(frames, [one.charges for one in found])


def ion_born_charges(model, frames) -> dict[str, np.ndarray]:
    """Latent Born charges (a third of the trace, e) of the ions in quiet frames.

    They, and not the sums of latent charges, are expected to be one elementary charge divided
    by the refractive index.
    """
    quiet = [atoms for atoms in frames if size_of_forces(atoms) < QUIET]
    found = model.predict(quiet, want=("born_charges",), sum_rule=True)
    traces = [np.trace(one.born_charges, axis1=1, axis2=2) / 3.0 for one in found]
    return sums_of_ions(quiet, traces)


def statistics(sums: dict) -> dict:
    """Number of ions, mean and standard deviation of their charges, by formula."""
    return {
        name: {"ions": len(x), "mean_e": float(np.mean(x)), "std_e": float(np.std(x))}
        for name, x in sums.items()
    }


def draw(path, results: dict, charges: dict) -> None:
    """Force errors with and without charges, and the Born charges of the ions."""
    figure, (left, right) = new_figure(4.4, 3.4, columns=2)
    groups = [name for name in ("quiet", "distorted") if name in results["with"]]
    for shift, (case, color) in enumerate((("with", ACCENT), ("without", SECOND))):
        values = [results[case][group]["force_mae"] for group in groups]
        bars = left.bar(
            np.arange(len(groups)) + 0.36 * shift, values, 0.34, color=color,
            label=case + " latent charges",
        )  # fmt: skip
        left.bar_label(bars, fmt="%.0f", fontsize=8)
    left.set_xticks(np.arange(len(groups)) + 0.18, [f"{name} frames" for name in groups])
    left.set_ylabel("force MAE (meV/Å)")
    left.legend(frameon=False, fontsize=8)
    for name, color, label in (
        ("C2H8N", ACCENT, "ethylammonium"), ("NO3", SECOND, "nitrate"),
    ):  # fmt: skip
        right.hist(charges[name], bins=30, color=color, alpha=0.8, label=label)
    for place in (-IDEAL, IDEAL):
        right.axvline(place, color=INK, linewidth=0.8, linestyle=":")
    right.set_xticks(np.arange(-1.0, 1.1, 0.5))
    right.set(xlabel="latent Born charge of an ion (e)", ylabel="ions")
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    out = chosen.out
    files, test = divided(FILE, TEST, VALID, out)
    results, born = {}, {}
    for case in CASES:
        model = trained(settings(case, files), out / case, chosen.smoke)
        results[case] = errors(model, test)
        results[case]["training_seconds"] = training_seconds(out / case)
        if model.config.charges is not None:
            born[case] = ion_born_charges(model, test)
            results[case]["ions"] = statistics(ion_charges(model, test))
            results[case]["born_ions"] = statistics(born[case])
        print(case, results[case], flush=True)
    draw(out / "ionic_liquid.png", results, born["with"])
    write_results(out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/ionic_liquid"))
