"""Does a published latent-charge model see aluminium below the surface that gold sits on?

Run:     python experiments/gold_on_oxide.py --out results/gold_on_oxide
Needs:   4g-hdnnp-n2p2 (JLES_DATA), seeds/au2mgo_les.pth and au2mgo_sr.pth (published models);
         one core, three minutes.
Writes:  results.json and gold_on_oxide.png in --out.
Expect:  energy of the flat less that of the upright Au2, relaxed: 934.8 meV on MgO(001), -66.9
         meV with Al in the fifth layer (DFT of the data, Nat. Commun. 12, 398 (2021)); 931.3
         and -70.6 meV of the published latent-charge model (arXiv 2408.15165).

The aluminium is at least 11 angstrom from the gold, beyond the receptive field of 5.5 angstrom:
without latent charges the two surfaces are the same. The slab stays as DFT has it, as in the
data.
"""

import ase.io
import numpy as np
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from common import imported, options, run, write_results

from jles.data.sets import data_set
from jles.pictures import ACCENT, SECOND, new_figure, save_figure

SHAPES = {"upright": 1, "flat": 3}
SURFACES = ("undoped", "doped")
MODELS = {"latent charges": "seeds/au2mgo_les.pth", "short range": "seeds/au2mgo_sr.pth"}
TOLERANCE = 5e-3


def geometry(shape: str, surface: str):
    """Au2 on the slab, relaxed by DFT, with its DFT energy."""
    name = f"4g-hdnnp-n2p2/Au2MgO_dft_optimized_{SHAPES[shape]}-{surface}.xyz"
    return ase.io.read(data_set(name))


def gold(atoms) -> np.ndarray:
    """Which atoms are gold."""
    return atoms.numbers == 79


def relaxed(model, atoms, steps: int):
    """The gold relaxed by the model; the slab stays."""
    moved = atoms.copy()
    moved.set_constraint(FixAtoms(mask=~gold(atoms)))
    moved.calc = model.calculator()
    with BFGS(moved, logfile=None) as search:
        search.run(fmax=TOLERANCE, steps=steps)
    return moved


def distance_to_surface(atoms) -> float:
    """Height of the lowest gold atom over the layer that it sits on, angstrom.

    The slab is above the gold in the data.
    """
    z = atoms.positions[:, 2]
    return float(z[~gold(atoms)].min() - z[gold(atoms)].max())


def lifted(atoms, distances):
    """Copies with the gold moved away from the surface as a whole."""
    copies = []
    for distance in distances:
        copy = atoms.copy()
        copy.positions[gold(copy), 2] -= distance
        copies.append(copy)
    return copies


def of_model(model, lifts, steps: int) -> dict:
    """Differences between flat and upright (meV), relaxed geometries, energy against height."""
    record = {"at_dft_geometries_mev": {}, "relaxed_mev": {}, "geometry": {}, "curves_ev": {}}
    for surface in SURFACES:
        start = {shape: geometry(shape, surface) for shape in SHAPES}
        at_dft = {s: model.predict(atoms).energy for s, atoms in start.items()}
        end = {shape: relaxed(model, atoms, steps) for shape, atoms in start.items()}
        energy = {shape: atoms.get_potential_energy() for shape, atoms in end.items()}
        for name, values in (("at_dft_geometries_mev", at_dft), ("relaxed_mev", energy)):
            record[name][surface] = 1e3 * float(values["flat"] - values["upright"])
        for shape in SHAPES:
            both = np.flatnonzero(gold(end[shape]))
            record["geometry"][f"{shape}, {surface}"] = {
                "distance_to_surface": [
                    distance_to_surface(one) for one in (start[shape], end[shape])
                ],
                "bond": [
                    float(one.get_distance(*both, mic=True))
                    for one in (start[shape], end[shape])
                ],
                "largest_force": float(np.abs(end[shape].get_forces()).max()),
            }
            curve = [out.energy for out in model.predict(lifted(start[shape], lifts))]
            record["curves_ev"][f"{shape}, {surface}"] = [float(e) for e in curve]
    return record


def draw(path, results: dict, lifts) -> None:
    """Energy against height, relative to the upright geometry of the same surface."""
    figure, axes = new_figure(4.2, 3.4, columns=2)
    for axis, name in zip(axes, MODELS, strict=True):
        curves = results[name]["curves_ev"]
        for surface, color in zip(SURFACES, (ACCENT, SECOND), strict=True):
            zero = curves[f"upright, {surface}"][int(np.argmin(np.abs(lifts)))]
            for shape, line in zip(SHAPES, ("-", "--"), strict=True):
                energy = np.array(curves[f"{shape}, {surface}"]) - zero
                axis.plot(lifts, energy, line, color=color, label=f"{shape}, {surface}")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("Au$_2$ moved away from the surface (Å)")
        axis.set_ylabel("energy (eV)")
        axis.set_ylim(-0.2, 1.6)
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    lifts = np.array([0.0, 1.0]) if chosen.smoke else np.arange(-0.4, 6.01, 0.2)
    steps = 2 if chosen.smoke else 60
    reference = {
        surface: 1e3
        * float(
            geometry("flat", surface).get_potential_energy()
            - geometry("upright", surface).get_potential_energy()
        )
        for surface in SURFACES
    }
    results = {"dft_mev": reference, "lifts_angstrom": lifts.tolist()}
    for name, checkpoint in MODELS.items():
        results[name] = of_model(imported(checkpoint), lifts, steps)
    draw(chosen.out / "gold_on_oxide.png", results, lifts)
    write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/gold_on_oxide"))
